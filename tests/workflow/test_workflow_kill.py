"""kill -9 at any stage, then the same command: same tables, no finished scan done again."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import study

pytestmark = pytest.mark.slow

SERIES_STAGES = ("timeseries", "connectivity", "pfc")


def kept(results: Path, stage: str) -> dict[str, float]:
    """Scans that an unfinished batch has kept, and how long they took."""
    entries = {}
    for file in results.glob(f"work/{stage}/*/*/*/*.json"):
        entry = json.loads(file.read_text())
        entries[entry["scan_id"]] = entry["seconds"]
    return entries


def recorded(results: Path, stage: str) -> dict[str, float]:
    """Seconds of every scan in the published manifests."""
    found = {}
    for file in results.glob(f"manifest/{stage}/*/*.parquet"):
        table = pq.ParquetFile(file).read(columns=["scan_id", "seconds"])
        found |= dict(zip(*(table[c].to_pylist() for c in table.column_names), strict=True))
    return found


def go_on_and_compare(
    folder: Path, reference: Path, before: dict[str, dict[str, float]], *targets: str
) -> None:
    done = study.snakemake(folder, "--cores", "2", *targets)
    assert done.returncode == 0, done.stderr[-5000:]
    ours, theirs = study.contents(folder / "results"), study.contents(reference / "results")
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    for stage, scans in before.items():
        after = recorded(folder / "results", stage)
        again = [s for s, seconds in scans.items() if after[s] != seconds]
        assert again == [], f"{stage}: finished scans were done again"


@pytest.mark.parametrize(
    ("stage", "whom"),
    [
        *((stage, "all") for stage in (*SERIES_STAGES, "pretrain", "finetune", "report")),
        # who dies matters where much is kept, and where one job is all there is
        ("pfc", "job"),
        ("pretrain", "snakemake"),
        ("pretrain", "job"),
    ],
)
def test_a_killed_run_goes_on(stage, whom, finished_study, ready_series, tmp_path):
    study.write_config(tmp_path, study.ready_series_config(ready_series))
    results = tmp_path / "results"

    def ready() -> bool:
        if stage in SERIES_STAGES:
            return len(kept(results, stage)) >= 3
        if stage == "pretrain":
            return any(results.glob("work/pretrain/*/*/*/step-*"))
        return any((results / "logs" / stage).glob("*.log"))

    assert study.kill_when(tmp_path, ready, whom), f"the run ended before {stage}"
    before = {s: kept(results, s) for s in SERIES_STAGES if kept(results, s)}
    go_on_and_compare(tmp_path, finished_study, before)


@pytest.fixture(scope="module")
def raw_study(tmp_path_factory):
    """Four synthetic participants from raw BIDS to FC, never interrupted."""
    folder = tmp_path_factory.mktemp("raw")
    study.write_config(folder, study.raw_bids_config())
    done = study.snakemake(folder, "--cores", "2", "connectivity")
    assert done.returncode == 0, done.stderr[-5000:]
    return folder


@pytest.mark.parametrize(
    ("stage", "whom"),
    [
        ("demo", "all"),
        ("scans", "all"),
        ("preprocess", "job"),
    ],
)
def test_a_killed_run_from_raw_bids_goes_on(stage, whom, raw_study, tmp_path):
    study.write_config(tmp_path, study.raw_bids_config())
    results = tmp_path / "results"

    def ready() -> bool:
        if stage == "preprocess":
            return len(kept(results, stage)) >= 1
        return any((results / "logs" / stage).glob("*.log"))

    assert study.kill_when(tmp_path, ready, whom, "connectivity"), f"ended before {stage}"
    before = {"preprocess": kept(results, "preprocess")} if stage == "preprocess" else {}
    go_on_and_compare(tmp_path, raw_study, before, "connectivity")


def test_a_scan_killed_between_two_steps_does_not_repeat_the_first(tmp_path, raw_study):
    study.write_config(tmp_path, study.raw_bids_config())
    results = tmp_path / "results"

    def steps() -> dict[str, float]:
        """Seconds of the motion estimates that are kept while their scans are worked on."""
        found = {}
        for file in results.glob("work/preprocess/*/*/*/steps/*/*/motion.npz"):
            with np.load(file, allow_pickle=False) as data:
                found[file.parents[1].name] = float(data["seconds"])
        return found

    assert study.kill_when(tmp_path, lambda: len(steps()) >= 1, "all", "connectivity")
    before = steps()
    assert before
    go_on_and_compare(tmp_path, raw_study, {}, "connectivity")
    after = {}
    for file in results.glob("preprocess/demo/*.parquet"):
        for row in pq.ParquetFile(file).read().to_pylist():
            after[row["scan_id"]] = dict(row["seconds_per_step"] or {}).get("motion")
    assert {scan: after[scan] for scan in before} == before
    assert not list(results.glob("work/preprocess/*/*/*/steps/*/*")), "kept after the end"
