"""Other batches, another split or other columns of people only regroup finished scans."""

import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import study

pytestmark = pytest.mark.slow


def estimates(results: Path) -> dict[str, tuple[int, bytes]]:
    """When each derivative was written, and what is in it."""
    folder = results / "preprocess" / "demo" / "derivatives"
    files = [f for f in folder.rglob("sub-*") if f.is_file()]
    return {str(f): (f.stat().st_mtime_ns, f.read_bytes()) for f in files}


def rows(results: Path) -> list[dict]:
    tables = (results / "preprocess" / "demo").glob("*.parquet")
    found = [row for t in tables for row in pq.ParquetFile(t).read().to_pylist()]
    damaged = [row["scan_id"] for row in found if row["status"] == "failed"]
    assert damaged == ["demo_sub-04_task-rest"], "it is tried again each time"
    return sorted((r for r in found if r["status"] == "ok"), key=lambda row: row["scan_id"])


@pytest.mark.nightly
def test_no_scan_is_registered_again_for_other_batches_or_another_split(tmp_path):
    config = study.raw_bids_config()
    study.write_config(tmp_path, config)
    study.succeed(tmp_path, "preprocess")
    results = tmp_path / "results"
    before, files = rows(results), estimates(results)
    assert len(before) == 3
    assert files

    config["datasets"]["demo"] |= {"batches": 3, "evaluation_fraction": 0.25, "role": "pretrain"}
    config["datasets"]["demo"]["phenotype"] = {"age_column": "age", "sex_column": "sex"}
    study.write_config(tmp_path, config | {"seed": 5})
    said = study.succeed(tmp_path, "preprocess")
    assert "preprocess_batch" in said, "the tables are made again"
    assert len(list((results / "preprocess" / "demo").glob("[012].parquet"))) == 3
    assert rows(results) == before, "with the seconds that the first run took"
    assert estimates(results) == files


STAGES = ("timeseries", "connectivity", "pfc")


def times(results: Path, stage: str) -> dict[str, float]:
    """Seconds of every scan that did not fail; another value means that it was computed again."""
    found = {}
    for file in (results / "manifest" / stage / "ready").glob("*.parquet"):
        for row in pq.ParquetFile(file).read().to_pylist():
            if row["status"] != "failed":
                found[row["scan_id"]] = row["seconds"]
    return found


def litter(results: Path) -> list[Path]:
    """Files of running jobs."""
    ends = {".lock", ".journal", ".tmp"}
    return [f for s in STAGES for f in (results / "work" / s).rglob("*") if f.suffix in ends]


@pytest.mark.nightly
def test_series_and_fc_are_only_regrouped_and_retry_computes_the_failed_scan_alone(tmp_path):
    data = study.write_ready_series(tmp_path / "data", n_participants=12)
    config = study.ready_series_config(data, max_failed_fraction=0.5)
    study.write_config(tmp_path, config)
    study.succeed(tmp_path, *STAGES)
    results = tmp_path / "results"
    before = {stage: times(results, stage) for stage in STAGES}
    assert [len(scans) for scans in before.values()] == [11, 11, len(before["pfc"])]
    assert before["pfc"]
    assert litter(results) == []

    config["datasets"]["ready"]["batches"] = 4
    study.write_config(tmp_path, config)
    study.succeed(tmp_path, *STAGES)
    assert {stage: times(results, stage) for stage in STAGES} == before
    names = {f.name.split(".")[0] for f in (results / "work").rglob("*-of-*")}
    assert names == {f"{batch}-of-4" for batch in range(4)}

    shutil.copy(data / "scan000.1D", data / "scan001.1D")
    with open(data / "scan001.1D", "a") as file:  # not a copy of one recording
        file.write("\t".join(["0.5"] * 20) + "\n")
    subprocess.run(["brainmass", "retry"], cwd=tmp_path, env=study.environment(), check=True)
    study.succeed(tmp_path, *STAGES)
    after = {stage: times(results, stage) for stage in STAGES}
    assert set(after["connectivity"]) - set(before["connectivity"]) == {"ready_scan001"}
    for stage in STAGES:  # a split may have changed
        common = before[stage].keys() & after[stage].keys()
        assert len(common) > 3
        assert [s for s in common if after[stage][s] != before[stage][s]] == []
    assert litter(results) == []


@pytest.mark.nightly
def test_after_retry_a_batch_is_made_again_though_all_later_results_are_there(tmp_path):
    data = study.write_ready_series(tmp_path / "data", n_participants=8)
    scan = data / "scan002.1D"
    header, first, *rows = scan.read_text().splitlines()
    scan.write_text("\n".join([header, first.replace(first.split()[0], "nan"), *rows]) + "\n")
    config = study.ready_series_config(data, max_failed_fraction=0.5)
    config["datasets"]["ready"]["batches"] = 1
    study.write_config(tmp_path, config)
    study.succeed(tmp_path, "connectivity")
    series = tmp_path / "results" / "timeseries" / "ready" / "0.parquet"
    right = study.contents(tmp_path / "results")
    for _ in range(2):  # nothing has changed but that it is tried again
        subprocess.run(["brainmass", "retry"], cwd=tmp_path, env=study.environment(), check=True)
        assert not series.exists(), "its batch has a failed scan"
        study.succeed(tmp_path, "connectivity")
        assert series.exists()
        assert study.contents(tmp_path / "results") == right
