rule connectivity:
    input:
        study.tables("connectivity"),
        study.scans_tables(study.datasets("connectivity")),


rule connectivity_batch:
    input:
        study.table("timeseries"),
        # gives the participant of each run, to join runs; the rows are those that `timeseries` read
        lambda wildcards: (
            scans_table("timeseries", wildcards.dataset, wildcards.batch) if study.joins else []
        ),
        retried("connectivity"),
    output:
        table=study.table("connectivity"),
        manifest=study.manifest("connectivity"),
    log:
        study.log("connectivity", "{dataset}", "{batch}.log"),
    conda:
        "../envs/brainmass.yaml"
    threads: study.cpus("connectivity")
    resources:
        cpus_per_task=study.cpus("connectivity"),
        mem_mb=study.mem_mb("connectivity"),
        runtime=study.runtime("connectivity"),
    params:
        config=str(study.file),
        config_hash=lambda wildcards: study.hash("connectivity", wildcards.dataset),
    shell:
        "brainmass connectivity --config {params.config:q} --dataset {wildcards.dataset:q}"
        " --batch {wildcards.batch:q} --threads {resources.cpus_per_task} --log {log:q}"
