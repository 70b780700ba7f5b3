# one encoder, or one for each fold of pretrain.folds
rule:
    name:
        "pretrain_fold" if study.config.folds else "pretrain"
    input:
        study.pretrain_tables(),
        lambda wildcards: [scans_table("pfc", name) for name in study.datasets("pretrain")],
        [ancient(table) for table in study.tested_scans_tables()],
    output:
        study.model_seen(),
        model=study.model(),
        config=study.model_file("config.json"),
        card=study.model_file("README.md"),
        history=study.model_file("history.parquet"),
        curves=report(
            study.model_file("loss.png"),
            caption="../workflow/report/pretrain.rst",
            category="Pre-training",
        ),
    log:
        study.pretrain_log(),
    conda:
        "../envs/brainmass.yaml"
    threads: study.cpus("pretrain")
    resources:
        **study.launch(),
        cpus_per_task=study.cpus("pretrain"),
        mem_mb=study.mem_mb("pretrain"),
        runtime=study.runtime("pretrain"),
    params:
        config=str(study.file),
        config_hash=lambda wildcards: study.pretrain_hash(wildcards.get("fold")),
        inputs=lambda wildcards: study.pretrain_state(),
    shell:
        "brainmass pretrain --config {params.config:q}"
        + (" --fold {wildcards.fold}" if study.config.folds else "")
        + " --log {log:q}"


if study.config.folds:

    rule pretrain:
        input:
            study.models(),
