rule report:
    input:
        study.page("index"),


rule report_task:
    input:
        lambda wildcards: study.report_inputs(wildcards.task),
    output:
        page=report(
            study.page("{task}"),
            caption="../workflow/report/page.rst",
            category="Pages",
        ),
        figures=[
            report(
                str(study.paths.figure("{task}", figure)),
                caption=f"../workflow/report/{figure}.rst",
                category="Figures",
                subcategory="{task}",
            )
            for figure in FIGURES
        ],
    log:
        study.log("report", "{task}.log"),
    conda:
        "../envs/brainmass.yaml"
    threads: study.cpus("report")
    resources:
        cpus_per_task=study.cpus("report"),
        mem_mb=study.mem_mb("report"),
        runtime=study.runtime("report"),
    params:
        config=str(study.file),
        config_hash=lambda wildcards: study.hash("report", wildcards.task),
    shell:
        "brainmass report --config {params.config:q} --page {wildcards.task:q} --log {log:q}"


rule report_index:
    input:
        study.report_inputs("index"),
    output:
        report(
            study.page("index"),
            caption="../workflow/report/page.rst",
            category="Pages",
        ),
    log:
        study.log("report", "index.log"),
    conda:
        "../envs/brainmass.yaml"
    threads: study.cpus("report")
    resources:
        cpus_per_task=study.cpus("report"),
        mem_mb=study.mem_mb("report"),
        runtime=study.runtime("report"),
    params:
        config=str(study.file),
        config_hash=study.hash("report"),
        inputs=lambda wildcards: study.compared_state(),
    shell:
        "brainmass report --config {params.config:q} --page index --log {log:q}"


for task in study.config.tasks:

    rule:
        name:
            task
        input:
            study.page(task),
            study.deployed(task),
