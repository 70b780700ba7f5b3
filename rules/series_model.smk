rule series_model:
    input:
        study.series_model_results(),


rule series_model_analysis:
    input:
        study.series_model_inputs(),
    output:
        table=study.series_model_file("{analysis}.parquet"),
        figure=report(
            study.series_model_file("{analysis}.png"),
            caption="../workflow/report/series_model.rst",
            category="Series model",
        ),
    log:
        study.log("series_model", "{analysis}.log"),
    conda:
        "../envs/brainmass.yaml"
    threads: study.cpus("series_model")
    resources:
        cpus_per_task=study.cpus("series_model"),
        mem_mb=study.mem_mb("series_model"),
        runtime=study.runtime("series_model"),
    params:
        config=str(study.file),
        config_hash=lambda wildcards: study.hash("series_model", wildcards.analysis),
    shell:
        "brainmass series_model --config {params.config:q} --analysis {wildcards.analysis:q} --log {log:q}"
