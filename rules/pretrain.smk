rule pretrain:
    input:
        study.pretrain_tables(),
        lambda wildcards: [scans_table("pfc", name) for name in study.datasets("pretrain")],
        [ancient(table) for table in study.tested_scans_tables()],
    output:
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
        study.log("pretrain", "pretrain.log"),
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
        config_hash=study.hash("pretrain"),
        inputs=lambda wildcards: study.pretrain_state(),
    shell:
        "brainmass pretrain --config {params.config:q} --log {log:q}"
