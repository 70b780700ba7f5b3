"""One command from data to report."""

import subprocess

import pandas as pd
import pyarrow.parquet as pq
import pytest
import study
from test_workflow_targets import planned

pytestmark = pytest.mark.slow


def test_the_run_leaves_a_model_scores_and_a_report(finished_study):
    results = finished_study / "results"
    assert (results / "pretrain" / "brainmass" / "model.safetensors").exists()
    metrics = pq.ParquetFile(results / "finetune" / "diagnosis" / "metrics.parquet").read()
    auc = dict(zip(metrics["method"].to_pylist(), metrics["auc"].to_pylist(), strict=True))
    assert auc["fc_svm"] > 0.8, "the planted difference is strong"
    assert 0.2 < auc["chance"] < 0.8
    assert (results / "report" / "diagnosis.html").exists()


def test_the_model_of_the_task_scores_files_as_it_scores_the_finished_results(
    finished_study, ready_series, tmp_path
):
    model = finished_study / "results" / "finetune" / "diagnosis" / "model"
    inputs = {"results": [str(finished_study / "results")], "files": [str(ready_series)]}
    inputs["files"] += ["--pattern", "*.1D", "--as-trained"]
    found = {}
    for name, arguments in inputs.items():
        out = tmp_path / f"{name}.tsv"
        command = ["brainmass", "predict", str(model), *arguments, "--out", str(out)]
        done = subprocess.run(
            command, env=study.environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found[name] = pd.read_csv(out, sep="\t", na_values="n/a")
        ids = found[name]["scan_id"].str.removeprefix("ready_")
        found[name] = found[name].assign(scan_id=ids).set_index("scan_id")
    assert len(found["files"]) == 32
    assert found["files"].loc["scan001", "status"] == "excluded"
    columns = ["status", "y_pred", "y_score"]
    pd.testing.assert_frame_equal(found["results"][columns], found["files"][columns])


def test_a_second_run_does_nothing(copied_study):
    assert "Nothing to be done" in study.succeed(copied_study)


def test_the_damaged_scan_is_recorded_and_shown(finished_study):
    page = (finished_study / "results" / "report" / "diagnosis.html").read_text()
    assert "ready_scan001" in page
    assert "20" in page
    assert "column" in page


def test_the_shards_hold_no_evaluation_participant(finished_study):
    results = finished_study / "results"
    scans = pq.ParquetFile(results / "scans" / "ready.parquet").read().to_pandas()
    unseen = set(scans.loc[scans["split"] == "test", "scan_id"])
    assert unseen
    for file in (results / "pfc" / "ready").glob("*.parquet"):
        shard = set(pq.ParquetFile(file).read(columns=["scan_id"])["scan_id"].to_pylist())
        assert not shard & unseen


def test_snakemakes_own_report_is_written(copied_study):
    done = study.snakemake(copied_study, "--report", "snakemake-report.html")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (copied_study / "snakemake-report.html").stat().st_size > 100_000


def test_a_changed_knob_reruns_what_depends_on_it_and_nothing_else(finished_study):
    knob = ("--config", "connectivity={'estimator': 'ledoit_wolf'}")
    jobs = planned(study.snakemake(finished_study, "--dry-run", "--cores", "1", *knob))
    assert "connectivity_batch" in jobs
    assert not jobs & {"scans_of_dataset", "timeseries_batch", "pfc_batch", "pretrain"}
