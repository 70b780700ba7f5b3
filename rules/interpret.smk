rule interpret:
    input:
        [study.interpret_results(task) for task in study.config.tasks],


rule interpret_task:
    input:
        lambda wildcards: study.interpret_inputs(wildcards.task),
    output:
        tables=study.interpret_results("{task}"),
        figures=[
            report(
                study.interpret_figure("{task}", name),
                caption=f"../workflow/report/interpret_{name}.rst",
                category="Regions",
                subcategory="{task}",
            )
            for name in MAPS
        ],
    log:
        study.log("interpret", "{task}.log"),
    conda:
        "../envs/brainmass.yaml"
    threads: study.cpus("interpret")
    resources:
        cpus_per_task=study.cpus("interpret"),
        mem_mb=study.mem_mb("interpret"),
        runtime=study.runtime("interpret"),
    params:
        config=str(study.file),
        config_hash=lambda wildcards: study.hash("interpret", wildcards.task),
    shell:
        "brainmass interpret --config {params.config:q} --task {wildcards.task:q} --log {log:q}"
