rule scans:
    input:
        study.scans_tables(),


rule scans_of_dataset:
    input:
        lambda wildcards: study.scans_inputs(wildcards.dataset),
    output:
        str(study.paths.scans("{dataset}")),
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
    shell:
        "brainmass scans --config {params.config} --dataset {wildcards.dataset} --log {log}"
