rule demo:
    output:
        "{folder}/dataset_description.json",
    log:
        study.log("demo", "{folder}.log"),
    wildcard_constraints:
        folder="|".join(map(re.escape, study.demo_folders())) or "no-synthetic-data-set",
    conda:
        "../envs/brainmass.yaml"
    threads: study.cpus("scans")
    resources:
        cpus_per_task=study.cpus("scans"),
        mem_mb=study.mem_mb("scans"),
        runtime=study.runtime("scans"),
    params:
        config=str(study.file),
        dataset=lambda wildcards: study.demo_dataset(wildcards.folder),
    shell:
        "brainmass demo --config {params.config:q} --dataset {params.dataset:q} --log {log:q}"
        " -- {wildcards.folder:q}"
