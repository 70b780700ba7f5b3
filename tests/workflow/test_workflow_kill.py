"""kill -9 at any stage, then the same command: same tables, no finished scan done again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import study

pytestmark = pytest.mark.slow

SERIES_STAGES = ("timeseries", "connectivity", "pfc")
# in this order; each is made from those before it
MODEL_STAGES = ("pretrain", "finetune", "interpret", "report")


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
    folder: Path,
    reference: Path,
    before: dict[str, dict[str, float]],
    *targets: str,
    compared: tuple[str, ...] = ("",),
) -> None:
    """Run to the end; results below the folders `compared` must be those of the reference."""
    done = study.snakemake(folder, "--cores", "2", *targets)
    assert done.returncode == 0, done.stderr[-5000:]
    ours = study.contents(folder / "results")
    theirs = study.contents(reference / "results")
    theirs = {name: made for name, made in theirs.items() if name.startswith(compared)}
    assert theirs
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    for stage, scans in before.items():
        after = recorded(folder / "results", stage)
        again = [s for s, seconds in scans.items() if after[s] != seconds]
        assert again == [], f"{stage}: finished scans were done again"


def finished_before(stage: str, finished: Path, folder: Path) -> None:
    """Copy a finished study to `folder`, without `stage` and what is made from it."""
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    for later in MODEL_STAGES[MODEL_STAGES.index(stage) :]:
        for made in (later, f"logs/{later}", f"work/{later}"):
            shutil.rmtree(folder / "results" / made, ignore_errors=True)
        assert not list((folder / "results").rglob(f"*{later}*")), "nothing of it is left"


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
    if stage in MODEL_STAGES:
        finished_before(stage, finished_study, tmp_path)
    else:
        study.write_config(tmp_path, study.ready_series_config(ready_series))
    results = tmp_path / "results"

    def ready() -> bool:
        if stage in SERIES_STAGES:
            return len(kept(results, stage)) >= 3
        if stage == "pretrain":
            return any(results.glob("work/pretrain/*/*/*/step-*"))
        return any((results / "logs" / stage).glob("*.log"))

    # one run goes through all that comes after; the others stop where scans end
    targets = () if stage in ("timeseries", *MODEL_STAGES) else SERIES_STAGES
    assert study.kill_when(tmp_path, ready, whom, *targets), f"the run ended before {stage}"
    before = {s: kept(results, s) for s in SERIES_STAGES if kept(results, s)}
    made = (*targets, *(f"manifest/{s}" for s in targets), "scans", "manifest/scans")
    go_on_and_compare(
        tmp_path, finished_study, before, *targets, compared=made if targets else ("",)
    )


@pytest.fixture(scope="module")
def raw_study(tmp_path_factory):
    """Four synthetic participants from raw BIDS to FC, never interrupted."""
    folder = tmp_path_factory.mktemp("raw")
    study.write_config(folder, study.raw_bids_config())
    done = study.snakemake(folder, "--cores", "2", "connectivity")
    assert done.returncode == 0, done.stderr[-5000:]
    return folder


@pytest.mark.parametrize("stage", ["demo", "scans"])
def test_a_run_killed_while_scans_are_listed_goes_on(stage, raw_study, tmp_path):
    study.write_config(tmp_path, study.raw_bids_config())
    logs = tmp_path / "results" / "logs" / stage
    assert study.kill_when(tmp_path, lambda: any(logs.glob("*.log")), "all", "scans")
    done = study.snakemake(tmp_path, "--cores", "2", "scans")
    assert done.returncode == 0, done.stderr[-5000:]
    written = [file for file in (raw_study / "demo").rglob("*") if file.is_file()]
    assert len(written) > 8
    for file in written:
        assert (tmp_path / file.relative_to(raw_study)).read_bytes() == file.read_bytes(), file
    theirs = study.contents(raw_study / "results")
    ours = study.contents(tmp_path / "results")
    listed = {name for name in theirs if name.startswith("scans")}
    assert listed, theirs.keys()
    assert ours.keys() == listed
    assert all(ours[name] == theirs[name] for name in listed)


def test_a_preprocessing_job_that_is_killed_goes_on(raw_study, tmp_path):
    study.write_config(tmp_path, study.raw_bids_config())
    results = tmp_path / "results"
    assert study.kill_when(
        tmp_path, lambda: len(kept(results, "preprocess")) >= 1, "job", "connectivity"
    )
    before = {"preprocess": kept(results, "preprocess")}
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
