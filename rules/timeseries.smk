rule timeseries:
    input:
        study.tables("timeseries"),
        study.scans_tables(study.datasets("timeseries")),


rule timeseries_batch:
    input:
        lambda wildcards: study.timeseries_inputs(wildcards.dataset, wildcards.batch),
        lambda wildcards: scans_table("timeseries", wildcards.dataset, wildcards.batch),
        retried("timeseries"),
    output:
        table=study.table("timeseries"),
        manifest=study.manifest("timeseries"),
    log:
        study.log("timeseries", "{dataset}", "{batch}.log"),
    conda:
        "../envs/brainmass.yaml"
    threads: study.cpus("timeseries")
    resources:
        cpus_per_task=study.cpus("timeseries"),
        mem_mb=study.mem_mb("timeseries"),
        runtime=study.runtime("timeseries"),
    params:
        config=str(study.file),
        config_hash=lambda wildcards: study.hash("timeseries", wildcards.dataset),
        inputs=lambda wildcards: study.inputs("timeseries", wildcards.dataset, wildcards.batch),
    shell:
        "brainmass timeseries --config {params.config:q} --dataset {wildcards.dataset:q}"
        " --batch {wildcards.batch:q} --threads {resources.cpus_per_task} --log {log:q}"
