rule finetune:
    input:
        [study.task_results(task) for task in study.config.tasks],


rule finetune_task:
    input:
        lambda wildcards: study.task_inputs(wildcards.task),
    output:
        study.task_results("{task}"),
    log:
        study.log("finetune", "{task}.log"),
    conda:
        "../envs/brainmass.yaml"
    threads: study.cpus("finetune")
    resources:
        cpus_per_task=study.cpus("finetune"),
        mem_mb=study.mem_mb("finetune"),
        runtime=study.runtime("finetune"),
    params:
        config=str(study.file),
        config_hash=lambda wildcards: study.hash("finetune", wildcards.task),
    shell:
        "brainmass finetune --config {params.config} --task {wildcards.task} --log {log}"
