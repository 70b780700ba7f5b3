"""One command from data to report."""

import pyarrow.parquet as pq
import study


def test_the_run_leaves_a_model_scores_and_a_report(finished_study):
    results = finished_study / "results"
    assert (results / "pretrain" / "brainmass" / "model.safetensors").exists()
    metrics = pq.ParquetFile(results / "finetune" / "diagnosis" / "metrics.parquet").read()
    auc = dict(zip(metrics["method"].to_pylist(), metrics["auc"].to_pylist(), strict=True))
    assert auc["fc_svm"] > 0.8, "the planted difference is strong"
    assert 0.2 < auc["chance"] < 0.8
    assert (results / "report" / "diagnosis.html").exists()


def test_a_second_run_does_nothing(finished_study):
    done = study.snakemake(finished_study, "--cores", "2")
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr


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


def test_a_second_study_gives_byte_identical_tables(finished_study, ready_series, tmp_path):
    study.write_config(tmp_path, study.ready_series_config(ready_series))
    done = study.snakemake(tmp_path, "--cores", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    ours, theirs = study.contents(tmp_path / "results"), study.contents(finished_study / "results")
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_snakemakes_own_report_is_written(finished_study):
    done = study.snakemake(finished_study, "--report", "snakemake-report.html")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (finished_study / "snakemake-report.html").stat().st_size > 100_000
