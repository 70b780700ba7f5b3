rule report:
    input:
        study.page("index"),


rule report_page:
    input:
        lambda wildcards: study.report_inputs(wildcards.page),
    output:
        page=report(
            study.page("{page}"),
            caption="../workflow/report/page.rst",
            category="Pages",
        ),
    log:
        study.log("report", "{page}.log"),
    wildcard_constraints:
        page="|".join(["index", *study.config.tasks]),
    conda:
        "../envs/brainmass.yaml"
    threads: study.cpus("report")
    resources:
        cpus_per_task=study.cpus("report"),
        mem_mb=study.mem_mb("report"),
        runtime=study.runtime("report"),
    params:
        config=str(study.file),
        config_hash=lambda wildcards: study.page_hash(wildcards.page),
    shell:
        "brainmass report --config {params.config} --page {wildcards.page} --log {log}"


for task in study.config.tasks:

    rule:
        name:
            task
        input:
            study.page(task),
