rule finetune:
    input:
        [study.all_task_results(task) for task in study.config.tasks],
        [study.deployed(task) for task in study.config.tasks],


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
        "brainmass finetune --config {params.config:q} --task {wildcards.task:q} --log {log:q}"


rule finetune_few_shot:
    input:
        lambda wildcards: study.task_inputs(wildcards.task),
    output:
        study.few_shot_results("{task}"),
    log:
        study.log("finetune", "{task}_few_shot.log"),
    conda:
        "../envs/brainmass.yaml"
    threads: study.cpus("finetune")
    resources:
        cpus_per_task=study.cpus("finetune"),
        mem_mb=study.mem_mb("finetune"),
        runtime=study.runtime("finetune"),
    params:
        config=str(study.file),
        config_hash=lambda wildcards: study.hash("few_shot", wildcards.task),
    shell:
        "brainmass finetune --config {params.config:q} --task {wildcards.task:q} --part few-shot"
        " --log {log:q}"


rule finetune_zero_shot:
    input:
        lambda wildcards: study.zero_shot_inputs(wildcards.task),
    output:
        study.zero_shot_results("{task}"),
    log:
        study.log("finetune", "{task}_zero_shot.log"),
    conda:
        "../envs/brainmass.yaml"
    threads: study.cpus("finetune")
    resources:
        cpus_per_task=study.cpus("finetune"),
        mem_mb=study.mem_mb("finetune"),
        runtime=study.runtime("finetune"),
    params:
        config=str(study.file),
        config_hash=lambda wildcards: study.hash("zero_shot", wildcards.task),
    shell:
        "brainmass finetune --config {params.config:q} --task {wildcards.task:q} --part zero-shot"
        " --log {log:q}"


rule finetune_model:
    input:
        lambda wildcards: study.deployed_inputs(wildcards.task),
    output:
        study.deployed_results("{task}"),
    log:
        study.log("finetune", "{task}_model.log"),
    conda:
        "../envs/brainmass.yaml"
    threads: study.cpus("finetune")
    resources:
        cpus_per_task=study.cpus("finetune"),
        mem_mb=study.mem_mb("finetune"),
        runtime=study.runtime("finetune"),
    params:
        config=str(study.file),
        config_hash=lambda wildcards: study.hash("model", wildcards.task),
    shell:
        "brainmass finetune --config {params.config:q} --task {wildcards.task:q} --part model"
        " --log {log:q}"
