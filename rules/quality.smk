rule quality:
    input:
        study.quality_pages(),


rule quality_batch:
    input:
        lambda wildcards: study.quality_inputs(wildcards.dataset, wildcards.batch),
        lambda wildcards: scans_table("quality", wildcards.dataset, wildcards.batch),
        retried("quality"),
    output:
        table=study.table("quality"),
        manifest=study.manifest("quality"),
    log:
        study.log("quality", "{dataset}", "{batch}.log"),
    conda:
        "../envs/brainmass.yaml"
    threads: study.cpus("quality")
    resources:
        cpus_per_task=study.cpus("quality"),
        mem_mb=study.mem_mb("quality"),
        runtime=study.runtime("quality"),
    params:
        config=str(study.file),
        config_hash=lambda wildcards: study.hash("quality", wildcards.dataset),
        inputs=lambda wildcards: study.inputs("quality", wildcards.dataset, wildcards.batch),
    shell:
        "brainmass quality --config {params.config:q} --dataset {wildcards.dataset:q}"
        " --batch {wildcards.batch:q} --threads {resources.cpus_per_task} --log {log:q}"


rule quality_dataset:
    input:
        lambda wildcards: study.cohort_inputs(wildcards.dataset),
    output:
        page=report(
            study.quality_page("{dataset}"),
            caption="../workflow/report/quality.rst",
            category="Quality",
        ),
        scans=study.quality_page("{dataset}", "scans.csv"),
    log:
        study.log("quality", "{dataset}.log"),
    conda:
        "../envs/brainmass.yaml"
    threads: study.cpus("quality")
    resources:
        cpus_per_task=study.cpus("quality"),
        mem_mb=study.mem_mb("quality"),
        runtime=study.runtime("quality"),
    params:
        config=str(study.file),
        config_hash=lambda wildcards: study.hash("quality", wildcards.dataset),
        groups=lambda wildcards: study.task_labels(wildcards.dataset),
    shell:
        "brainmass quality-dataset --config {params.config:q} --dataset {wildcards.dataset:q} --log {log:q}"
