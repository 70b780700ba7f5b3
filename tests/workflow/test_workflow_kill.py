"""kill -9 at any stage, then the same command: same tables, no finished scan done again."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import study

from brainmass_core.pipeline.fingerprints import WRITTEN

pytestmark = pytest.mark.slow

SERIES_STAGES = ("timeseries", "connectivity", "pfc")


def nightly(*values: str):
    """A case that only `make slow` runs: the others hold the same at another stage."""
    return pytest.param(*values, marks=pytest.mark.nightly)


def recorded(results: Path, stage: str) -> dict[str, float]:
    """Seconds of every scan in the published manifests."""
    found = {}
    for file in results.glob(f"manifest/{stage}/*/*.parquet"):
        table = pq.ParquetFile(file).read(columns=["scan_id", "seconds"])
        found |= dict(zip(*(table[c].to_pylist() for c in table.column_names), strict=True))
    return found


def begun(results: Path, stage: str) -> bool:
    """Whether a stage has done something that a kill should not destroy."""
    if stage in SERIES_STAGES:
        return len(study.kept(results, stage)) >= 3
    if stage == "pretrain":
        return any(results.glob("work/pretrain/*/*/*/step-*"))
    return any((results / "logs" / stage).glob("*.log"))


def killed_in(stage: str, whom: str, finished: Path, folder: Path) -> None:
    """A finished study without `stage`, which began and was killed.

    A kill that comes when the stage has ended already says nothing and is tried again.
    """
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        study.finished_before(stage, finished, folder)
        results = folder / "results"
        killed = study.kill_when(folder, lambda: begun(results, stage), whom, stage)  # noqa: B023
        if killed and begun(results, stage):
            return
    pytest.fail(f"{stage} always ended before it was killed")


def compare(folder: Path, reference: Path, leave_out: tuple[str, ...] = ()) -> None:
    """All results must be those of the reference, but for the stages that were not run."""
    ours, theirs = (
        {
            name: made
            for name, made in study.contents(where / "results").items()
            if not set(Path(name).parts) & set(leave_out)
        }
        for where in (folder, reference)
    )
    assert theirs
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def not_again(results: Path, before: dict[str, dict[str, float]]) -> None:
    """Scans that were finished before have the seconds they had, so nobody did them again."""
    for stage, scans in before.items():
        after = recorded(results, stage)
        again = [s for s, seconds in scans.items() if after[s] != seconds]
        assert again == [], f"{stage}: finished scans were done again"


@pytest.mark.parametrize(
    ("stage", "whom"),
    [
        ("pfc", "all"),
        nightly("pretrain", "all"),
        # who dies matters where much is kept, and where one job is all there is
        ("pfc", "job"),
        nightly("pretrain", "snakemake"),
        nightly("pretrain", "job"),
        *(nightly(s, "all") for s in ("timeseries", "connectivity", "finetune", "report")),
    ],
)
def test_a_killed_run_goes_on(stage, whom, finished_study, tmp_path):
    folder = tmp_path / "killed"
    killed_in(stage, whom, finished_study, folder)
    results = folder / "results"
    before = {s: recorded(results, s) for s in SERIES_STAGES}
    if stage in SERIES_STAGES:
        before[stage] |= study.kept(results, stage)
        assert len(before[stage]) >= 3
    # one run goes through all that comes after; the others stop where the killed stage ends
    to_the_end = (stage, whom) == ("pretrain", "all")
    study.succeed(folder, *(() if to_the_end else (stage,)))
    not_run = () if to_the_end else study.made_from(stage)[1:]
    compare(folder, finished_study, not_run)
    not_again(results, before)


@pytest.mark.parametrize("stage", [nightly("demo"), nightly("scans")])
def test_a_run_killed_while_scans_are_listed_goes_on(stage, raw_study, tmp_path):
    folder = tmp_path / "killed"
    if stage == "scans":  # the images are there already
        shutil.copytree(raw_study, folder)
        shutil.rmtree(folder / "results")
    else:
        study.write_config(folder, study.raw_bids_config())
    logs = folder / "results" / "logs" / stage
    assert study.kill_when(folder, lambda: any(logs.glob("*.log")), "all", "scans")
    study.succeed(folder, "scans")
    written = [
        file
        for file in (raw_study / "demo").rglob("*")
        # the record of what the maker wrote holds the times of its files
        if file.is_file() and file.name != WRITTEN
    ]
    assert len(written) > 8
    for file in written:
        assert (folder / file.relative_to(raw_study)).read_bytes() == file.read_bytes(), file
    theirs = study.contents(raw_study / "results")
    ours = study.contents(folder / "results")
    listed = {name for name in theirs if name.startswith("scans")}
    assert listed, theirs.keys()
    assert ours.keys() == listed
    assert all(ours[name] == theirs[name] for name in listed)


@pytest.mark.nightly
def test_a_run_killed_between_two_steps_of_a_scan_repeats_neither_scan_nor_step(
    raw_study, tmp_path
):
    study.write_config(tmp_path, study.raw_bids_config())
    results = tmp_path / "results"

    def steps() -> dict[str, float]:
        """Seconds of the motion estimates that are kept while their scans are worked on."""
        found = {}
        for file in results.glob("work/preprocess/*/*/*/steps/*/*/motion.npz"):
            with np.load(file, allow_pickle=False) as data:
                found[file.parents[1].name] = float(data["seconds"])
        return found

    def ready() -> bool:
        return len(study.kept(results, "preprocess")) >= 1 and len(steps()) >= 1

    assert study.kill_when(tmp_path, ready, "all", "connectivity")
    before, scans = steps(), study.kept(results, "preprocess")
    assert before
    assert scans
    study.succeed(tmp_path, "connectivity")
    compare(tmp_path, raw_study)
    not_again(results, {"preprocess": scans})
    after = {}
    for file in results.glob("preprocess/demo/*.parquet"):
        for row in pq.ParquetFile(file).read().to_pylist():
            after[row["scan_id"]] = dict(row["seconds_per_step"] or {}).get("motion")
    assert {scan: after[scan] for scan in before} == before
    assert not list(results.glob("work/preprocess/*/*/*/steps/*/*")), "kept after the end"
