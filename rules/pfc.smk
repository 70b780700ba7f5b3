rule pfc:
    input:
        study.tables("pfc"),
        study.scans_tables(study.datasets("pfc")),


rule pfc_batch:
    input:
        study.table("timeseries"),
        lambda wildcards: scans_table("pfc", wildcards.dataset),
        retried("pfc"),
    output:
        table=study.table("pfc"),
        manifest=study.manifest("pfc"),
    log:
        study.log("pfc", "{dataset}", "{batch}.log"),
    conda:
        "../envs/brainmass.yaml"
    threads: study.cpus("pfc")
    resources:
        cpus_per_task=study.cpus("pfc"),
        mem_mb=study.mem_mb("pfc"),
        runtime=study.runtime("pfc"),
    params:
        config=str(study.file),
        config_hash=lambda wildcards: study.hash("pfc", wildcards.dataset),
        inputs=lambda wildcards: study.inputs("pfc", wildcards.dataset),
    shell:
        "brainmass pfc --config {params.config:q} --dataset {wildcards.dataset:q}"
        " --batch {wildcards.batch:q} --threads {resources.cpus_per_task} --log {log:q}"
