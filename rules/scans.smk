rule scans:
    input:
        study.scans_tables(),


rule scans_of_dataset:
    input:
        lambda wildcards: study.scans_inputs(wildcards.dataset),
    output:
        # `update`: keeps the table if listing fails; otherwise every batch would be made again
        update(str(study.paths.scans("{dataset}"))),
    log:
        study.log("scans", "{dataset}.log"),
    conda:
        "../envs/brainmass.yaml"
    threads: study.cpus("scans")
    resources:
        cpus_per_task=study.cpus("scans"),
        mem_mb=study.mem_mb("scans"),
        runtime=study.runtime("scans"),
    params:
        config=str(study.file),
        config_hash=lambda wildcards: study.hash("scans", wildcards.dataset),
        inputs=lambda wildcards: study.inputs("scans", wildcards.dataset),
    shell:
        "brainmass scans --config {params.config:q} --dataset {wildcards.dataset:q} --log {log:q}"
