"""A short form of the fault drill (`make faults`): four kinds, and whether it notices harm."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import drill
import fault_study
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drill import Outcome, Reference
from faults import KINDS, Kind

pytestmark = pytest.mark.slow

SHORT = ("SIGKILL of a worker", "SIGTERM of Snakemake", "SIGSTOP of a worker", "bit flipped")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Path, Path, Reference]:
    """Folder of the studies, their data, and what an undisturbed one makes."""
    base = tmp_path_factory.mktemp("faults")
    folder, data = base / "run", base / "data"
    fault_study.write_data(data)
    return folder, data, Reference.of(folder, data)


@pytest.mark.parametrize(
    "name", [SHORT[0], *(pytest.param(name, marks=pytest.mark.nightly) for name in SHORT[1:])]
)
def test_after_a_fault_the_same_command_makes_the_same_tables_and_leaves_nothing(study, name):
    folder, data, reference = study
    outcome = drill.one(folder, data, KINDS[name], random.Random(name), reference)
    assert not outcome.wrong
    assert outcome.attempts >= 1, "the fault happened and the study was run again"


TABLE, MANIFEST = "pfc/ready/0.parquet", "manifest/pfc/ready/0.parquet"


def publish(folder: Path, value: int = 1, seconds: float = 2.0) -> None:
    """Write a table and a manifest, as a run does."""
    for name, column, content in ((TABLE, "fc", value), (MANIFEST, "seconds", seconds)):
        file = folder / "results" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"scan_id": ["a"], column: [content]}), file)


@pytest.fixture
def judge(tmp_path, monkeypatch) -> Callable[[Callable[[Path], object]], Outcome]:
    """How the drill judges a run after which a function has changed the folder."""
    monkeypatch.setattr(drill, "ORPHAN_SECONDS", 0.5)
    folder = tmp_path / "run"
    publish(folder)
    reference = Reference(fault_study.results(folder), fault_study.names(folder))

    def judged(harm: Callable[[Path], object]) -> Outcome:
        def finish(folder: Path) -> int:
            harm(folder)
            return 1

        monkeypatch.setattr(fault_study, "finish", finish)
        before = fault_study.recorded(folder)
        assert before, "a scan has been published"
        return drill.judged(folder, Kind(lambda _: True), reference, before)

    return judged


def test_a_run_that_changes_nothing_is_right(judge):
    assert judge(lambda folder: None) == Outcome("", 1, 0, pytest.approx(0, abs=60))


def test_another_time_stamp_of_a_file_is_right(judge):
    assert not judge(lambda folder: (folder / "results" / TABLE).touch()).wrong


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: publish(folder, value=2), f"other contents: ['{TABLE}']"),
        (lambda folder: (folder / "results" / TABLE).unlink(), f"other tables: ['{TABLE}']"),
        (lambda folder: (folder / "results" / ".x.tmp").touch(), "files left: ['.x.tmp']"),
        (lambda folder: publish(folder, seconds=3.0), "1 published scans were done again"),
    ],
    ids=["another value", "a table missing", "a file left", "a scan done again"],
)
def test_the_drill_notices(judge, harm, said):
    assert judge(harm).wrong == said


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen]]:
    """Processes that the test starts."""
    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("words", [["-"], ["-", "{folder}/results"]], ids=["folder", "words"])
def test_the_drill_notices_a_process_left(judge, started, words):
    def harm(folder: Path) -> None:
        command = [sys.executable, *(w.format(folder=folder) for w in words)]
        where = folder if len(words) == 1 else "/"
        started.append(subprocess.Popen(command, cwd=where, stdin=subprocess.PIPE))

    assert judge(harm).wrong.startswith("processes left: ['")


def test_a_run_that_does_not_end_well_is_wrong(judge):
    def harm(folder: Path) -> None:
        raise AssertionError("3 runs failed")

    assert judge(harm).wrong == "3 runs failed"


def test_failed_scans_of_an_undisturbed_run_are_found(tmp_path):
    file = tmp_path / "results" / MANIFEST
    file.parent.mkdir(parents=True)
    rows = {"scan_id": ["a", "b"], "status": ["ok", "failed"], "reason": [None, "not ready"]}
    pq.write_table(pa.table(rows), file)
    assert fault_study.failed(tmp_path) == ["b: not ready"]
