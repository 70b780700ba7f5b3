rule preprocess:
    input:
        study.tables("preprocess"),
        study.scans_tables(study.datasets("preprocess")),


rule preprocess_batch:
    input:
        lambda wildcards: scans_table("preprocess", wildcards.dataset, wildcards.batch),
        retried("preprocess"),
    output:
        table=study.table("preprocess"),
        manifest=study.manifest("preprocess"),
    log:
        study.log("preprocess", "{dataset}", "{batch}.log"),
    conda:
        "../envs/brainmass.yaml"
    threads: study.cpus("preprocess")
    resources:
        cpus_per_task=study.cpus("preprocess"),
        mem_mb=study.mem_mb("preprocess"),
        runtime=study.runtime("preprocess"),
    params:
        config=str(study.file),
        config_hash=lambda wildcards: study.hash("preprocess", wildcards.dataset),
        inputs=lambda wildcards: study.inputs("preprocess", wildcards.dataset, wildcards.batch),
    shell:
        "brainmass preprocess --config {params.config:q} --dataset {wildcards.dataset:q}"
        " --batch {wildcards.batch:q} --threads {resources.cpus_per_task} --log {log:q}"
