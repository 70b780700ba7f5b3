"""Every scan of a batch has one fate, whatever happens to the others, to the job or to the disk."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # workers import it by name

from batch_processes import (
    MEASURED_SCHEMA,
    SCHEMA,
    VECTOR,
    VECTOR_SCHEMA,
    called,
    items,
    job,
    measuring,
    process,
    vectors,
)

from brainmass_core.pipeline.batch import BatchError, run_batch
from brainmass_core.pipeline.manifest import read_manifest
from brainmass_core.pipeline.stores import kept_entries
from brainmass_core.tables import atomic_path, config_hash_of, read_table

pytestmark = pytest.mark.study  # scans are worked on in processes
# one stage that keeps files of each scan, and one with a journal
BOTH = pytest.mark.parametrize("stage", ["preprocess", "timeseries"])


def fates(results: Path, stage: str = "preprocess") -> dict[str, str]:
    manifest = job(results, stage=stage).manifest
    return {e.scan_id: e.status for e in read_manifest(manifest)}


def rows(results: Path, stage: str = "preprocess") -> list[dict]:
    return read_table(job(results, stage=stage).table, stage).to_pylist()


def comparable(results: Path, stage: str = "preprocess") -> tuple[bytes, list[dict]]:
    """The table's bytes and the manifest without its measurements."""
    one = job(results, stage=stage)
    entries = read_table(one.manifest, "manifest").to_pylist()
    measured = {"seconds", "peak_rss_mb", "log"}
    kept = [{k: v for k, v in e.items() if k not in measured} for e in entries]
    return one.table.read_bytes(), kept


def kept(results: Path, stage: str) -> list[str]:
    """Scans that are finished in an unpublished batch."""
    config = job(results, stage=stage).config
    return sorted(e.scan_id for e in kept_entries(config, stage, "demo", {0}))


@pytest.mark.parametrize("threads", [1, 2])
def test_every_scan_has_exactly_one_fate(tmp_path: Path, threads: int) -> None:
    kinds = {"scan_1": "failed", "scan_2": "excluded", "scan_3": "bug", "scan_4": "exit",
             "scan_5": "columns", "scan_6": "memory"}  # fmt: skip
    work = items(8, tmp_path / "calls", **kinds)
    entries = {e.scan_id: e for e in run_batch(job(tmp_path / "r", threads=threads), work, process)}
    expected = dict.fromkeys(work, "ok") | {f"scan-{i}": "failed" for i in (1, 3, 4, 5, 6)}
    assert fates(tmp_path / "r") == expected | {"scan-2": "excluded"}
    assert [r["scan_id"] for r in rows(tmp_path / "r")] == sorted(work)
    assert entries["scan-1"].remedy == "mend the sidecar"
    assert entries["scan-2"].step == "motion"
    assert entries["scan-3"].reason == "ZeroDivisionError: division by zero"
    assert "ZeroDivisionError" in Path(entries["scan-3"].log).read_text()
    assert entries["scan-4"].reason == "SystemExit: 3"
    assert "other" in entries["scan-5"].reason
    assert "mem_mb" in entries["scan-6"].remedy


def test_a_batch_without_scans_is_an_empty_table(tmp_path: Path) -> None:
    assert run_batch(job(tmp_path / "r"), {}, process) == []
    assert rows(tmp_path / "r") == []
    assert fates(tmp_path / "r") == {}
    published = job(tmp_path / "r").paths.batch("preprocess", "demo", 0)
    assert read_table(published, "preprocess").schema.names == SCHEMA.names


@pytest.mark.parametrize("threads", [1, 2])
def test_a_worker_that_dies_takes_only_its_own_scan(tmp_path: Path, threads: int) -> None:
    work = items(7, tmp_path / "calls", scan_1="killed", scan_5="killed")
    run_batch(job(tmp_path / "r", threads=threads), work, process)
    dead = {"scan-1", "scan-5"}
    assert fates(tmp_path / "r") == {s: "failed" if s in dead else "ok" for s in work}
    entry = next(r for r in rows(tmp_path / "r") if r["scan_id"] == "scan-1")
    assert "worker process died" in entry["reason"]
    count = called(tmp_path / "calls")
    assert all(count.count(s) <= 2 for s in work)


@BOTH
def test_results_do_not_depend_on_workers_or_order(tmp_path: Path, stage: str) -> None:
    work = items(6, tmp_path / "calls", scan_2="failed", scan_4="excluded")
    backwards = dict(reversed(work.items()))
    run_batch(job(tmp_path / "one", stage=stage), work, process)
    run_batch(job(tmp_path / "two", stage=stage, threads=2), backwards, process)
    assert comparable(tmp_path / "one", stage) == comparable(tmp_path / "two", stage)


def test_the_tables_carry_the_hash_of_their_configuration(tmp_path: Path) -> None:
    one = job(tmp_path / "r")
    run_batch(one, items(1, tmp_path / "calls"), process)
    for path in (one.paths.batch, one.paths.manifest):
        assert config_hash_of(path("preprocess", "demo", 0)) == one.config_hash


@pytest.mark.parametrize("threads", [1, 2])
def test_what_was_measured_before_the_end_stands_in_the_row(tmp_path: Path, threads: int) -> None:
    kinds = {"scan_0": "failed", "scan_1": "excluded", "scan_2": "bug", "scan_3": "odd"}
    calls = tmp_path / "calls"
    work = items(4, calls, **kinds)
    one = job(tmp_path / "r", MEASURED_SCHEMA, threads=threads)
    for _ in range(2):  # the second time, those that were excluded are taken from disk
        run_batch(one, work, measuring)
        for row in rows(tmp_path / "r"):
            odd = row["scan_id"] == "scan-3"
            assert row["mean_fd"] == 0.75
            assert row["n_volumes"] == (None if odd else 200)
            assert row["seconds_per_step"] == [("motion", 2.5)]
            assert row["seconds"] > 0
            assert row["peak_rss"] > 10
            assert row["reason"]
        assert [r["step"] for r in rows(tmp_path / "r")] == ["header", "motion", "", "motion"]
    assert called(calls).count("scan-1") == 1
    assert called(calls).count("scan-0") == 2


def test_a_scan_shows_its_own_memory_and_not_that_of_the_one_before(tmp_path: Path) -> None:
    one = job(tmp_path / "r")
    run_batch(one, items(2, tmp_path / "calls", scan_0="large"), process)
    large, small = read_manifest(one.paths.manifest("preprocess", "demo", 0))
    assert (large.scan_id, small.scan_id) == ("scan-0", "scan-1")
    assert large.peak_rss_mb > small.peak_rss_mb + 200  # of 300


# --- going on -------------------------------------------------------------------------------------


@BOTH
def test_a_finished_scan_is_not_done_again_and_a_failed_one_is(tmp_path: Path, stage: str) -> None:
    calls = tmp_path / "calls"
    work = items(4, calls, scan_1="sound-now", scan_2="excluded")
    run_batch(job(tmp_path / "r", stage=stage), work, process)
    assert fates(tmp_path / "r", stage)["scan-1"] == "failed"
    (tmp_path / "mended").touch()
    run_batch(job(tmp_path / "r", stage=stage), work, process)
    assert fates(tmp_path / "r", stage)["scan-1"] == "ok"
    assert called(calls) == sorted([*work, "scan-1"])


@BOTH
def test_a_grown_batch_works_only_on_what_is_new(tmp_path: Path, stage: str) -> None:
    calls = tmp_path / "calls"
    run_batch(job(tmp_path / "r", stage=stage), items(3, calls), process)
    run_batch(job(tmp_path / "r", stage=stage), items(5, calls), process)
    assert called(calls) == [f"scan-{i}" for i in range(5)]
    run_batch(job(tmp_path / "r", stage=stage), items(2, calls), process)
    assert [r["scan_id"] for r in rows(tmp_path / "r", stage)] == ["scan-0", "scan-1"]


@BOTH
def test_a_changed_item_is_done_again(tmp_path: Path, stage: str) -> None:
    work = items(3, tmp_path / "calls")
    run_batch(job(tmp_path / "r", stage=stage), work, process)
    work["scan-1"] = {**work["scan-1"], "value": 99.0}
    run_batch(job(tmp_path / "r", stage=stage), work, process)
    assert called(tmp_path / "calls").count("scan-1") == 2
    assert [r["value"] for r in rows(tmp_path / "r", stage)] == [0.0, 99.0, 2.0]


@BOTH
def test_a_changed_knob_starts_anew(tmp_path: Path, stage: str) -> None:
    work = items(2, tmp_path / "calls")
    first = job(tmp_path / "r", stage=stage)
    run_batch(first, work, process)
    section = first.config.preprocess.model_copy(update={"resolution": 4.0})
    other = first.config.model_copy(update={"preprocess": section})
    run_batch(type(first)(other, stage, "demo", 0, SCHEMA), work, process)
    assert called(tmp_path / "calls") == sorted([*work, *work])


def started(folder: Path, stage: str) -> subprocess.Popen:
    """A job of eight scans in its own process; the last five wait for a file `go`."""
    command = [sys.executable, str(Path(__file__).parent / "batch_processes.py"), folder, stage]
    with (folder / "stderr").open("a") as stderr:
        return subprocess.Popen(command, stderr=stderr)


def wait_until(holds: Callable[[], object], running: subprocess.Popen, seconds: int = 300) -> None:
    deadline = time.monotonic() + seconds  # ends a hang, and says nothing else
    while not holds():
        assert running.poll() is None, "the job has ended"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_scan_that_is_finished_is_found_by_another_deal_of_the_batches(tmp_path: Path) -> None:
    scans = items(4, tmp_path / "calls")
    first = job(tmp_path / "results")
    run_batch(first, scans, process)
    dealt = first.config.datasets["demo"].model_copy(update={"batches": 2, "role": "pretrain"})
    config = first.config.model_copy(update={"datasets": {"demo": dealt}, "seed": 99})
    for batch in (0, 1):
        part = {s: scans[s] for s in sorted(scans)[batch::2]}
        entries = run_batch(replace(first, config=config, batch=batch), part, process)
        assert [(e.scan_id, e.batch, e.status) for e in entries] == [(s, batch, "ok") for s in part]
        table = read_table(first.paths.batch("preprocess", "demo", batch), "preprocess")
        assert table["scan_id"].to_pylist() == list(part)
    assert called(tmp_path / "calls") == sorted(scans)


@BOTH
def test_a_killed_job_goes_on_where_it_was(tmp_path: Path, stage: str) -> None:
    running, results = started(tmp_path, stage), tmp_path / "results"
    wait_until(lambda: len(kept(results, stage)) == 3, running)
    wait_until(lambda: len(called(tmp_path / "calls")) == 5, running)
    workers = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert psutil.wait_procs(workers, timeout=300)[1] == []  # none goes on beside the next run
    finished = kept(results, stage)
    assert finished == ["scan-0", "scan-1", "scan-2"]
    assert not job(results, stage=stage).table.exists()

    (tmp_path / "go").touch()
    assert started(tmp_path, stage).wait() == 0
    count = called(tmp_path / "calls")
    assert all(count.count(s) == 1 for s in finished)
    run_batch(job(tmp_path / "whole", stage=stage), items(8, tmp_path / "others"), process)
    assert comparable(results, stage) == comparable(tmp_path / "whole", stage)


@BOTH
def test_two_jobs_of_one_batch_take_turns(tmp_path: Path, stage: str) -> None:
    first = started(tmp_path, stage)
    wait_until(lambda: len(called(tmp_path / "calls")) == 5, first)
    second = started(tmp_path, stage)
    wait_until(lambda: "waiting for it" in (tmp_path / "stderr").read_text(), second)
    (tmp_path / "go").touch()
    assert [p.wait() for p in (first, second)] == [0, 0]
    assert called(tmp_path / "calls") == [f"scan-{i}" for i in range(8)]
    assert not list((tmp_path / "results" / "work").rglob("*.lock"))


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "told"), [(0.5, False), (0.4, True), (0.0, True)])
def test_a_batch_with_many_failures_is_published_and_its_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, limit: float, told: bool
) -> None:
    work = items(4, tmp_path / "calls", scan_0="failed", scan_3="failed", scan_1="excluded")
    one = job(tmp_path / "r", max_failed_fraction=limit)
    run_batch(one, work, process)
    assert one.paths.batch("preprocess", "demo", 0).exists()
    assert sorted(fates(tmp_path / "r").values()) == ["excluded", "failed", "failed", "ok"]
    lines = re.findall(r"2 of 4 scans failed.*\n.*scan-0: t_r is 0, .*; mend", caplog.text)
    assert len(lines) == told
    assert len(re.findall(r"scan-\d failed .*: t_r is 0, .*; mend the", caplog.text)) == 2


@BOTH
def test_a_batch_without_enough_memory_is_not_published_and_goes_on_with_more(
    tmp_path: Path, stage: str
) -> None:
    short = dict.fromkeys(("scan_0", "scan_1", "scan_3"), "memory")
    one = job(tmp_path / "r", stage=stage, max_failed_fraction=0.5)
    with pytest.raises(
        BatchError, match=r"3 of 4 scans failed for lack of memory.*raise resources"
    ):
        run_batch(one, items(4, tmp_path / "calls", **short), process)
    assert not one.table.exists()
    assert "scan-2" in kept(tmp_path / "r", stage)
    enough = job(tmp_path / "r", stage=stage, max_failed_fraction=0.75)
    run_batch(enough, items(4, tmp_path / "calls", **short), process)
    assert enough.table.exists()
    assert called(tmp_path / "calls").count("scan-2") == 1


def test_recorded_vectors_of_an_unpublished_batch_are_taken_over(tmp_path: Path) -> None:
    """Workers get the schema of the table by pickling, which loses a part of it."""
    short = dict.fromkeys(("scan_0", "scan_1", "scan_3"), "memory")
    work = items(4, tmp_path / "calls", **short)
    one = job(tmp_path / "r", VECTOR_SCHEMA, "connectivity", max_failed_fraction=0.5)
    with pytest.raises(BatchError, match="lack of memory"):
        run_batch(one, work, vectors)
    enough = job(tmp_path / "r", VECTOR_SCHEMA, "connectivity", max_failed_fraction=0.75)
    run_batch(enough, work, vectors)
    assert called(tmp_path / "calls").count("scan-2") == 1
    assert read_table(enough.table, "connectivity").schema.field("fc").type == VECTOR


@BOTH
@pytest.mark.parametrize("threads", [1, 2])
def test_a_full_disk_stops_the_batch_and_blames_no_scan(
    tmp_path: Path, stage: str, threads: int
) -> None:
    work = items(4, tmp_path / "calls", scan_2="full")
    with pytest.raises(BatchError, match=r"No space left on device.*finished scans are kept"):
        run_batch(job(tmp_path / "r", stage=stage, threads=threads), work, process)
    assert "scan-2" not in kept(tmp_path / "r", stage)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip(f"cannot mount a small tmpfs, needs root: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@BOTH
def test_a_really_full_disk_can_be_freed_and_the_batch_goes_on(
    tmp_path: Path, tiny_disk: Path, stage: str
) -> None:
    ballast = tiny_disk / "ballast"
    work = items(3, tmp_path / "calls")
    one = job(tiny_disk / "r", stage=stage)
    one.work.mkdir(parents=True)
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], capture_output=True)
    with pytest.raises(BatchError, match="No space left on device"):
        run_batch(one, work, process)
    assert not one.table.exists()
    ballast.unlink()
    run_batch(one, work, process)
    assert set(fates(tiny_disk / "r", stage).values()) == {"ok"}


@BOTH
def test_a_read_only_disk_is_named(tmp_path: Path, tiny_disk: Path, stage: str) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    with pytest.raises(BatchError, match=r"cannot write below .*tiny/r.*Read-only file system"):
        run_batch(job(tiny_disk / "r", stage=stage), items(1, tmp_path / "calls"), process)


def test_a_results_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "r").touch()
    with pytest.raises(BatchError, match="cannot write below"):
        run_batch(job(tmp_path / "r"), items(1, tmp_path / "calls"), process)


@BOTH
def test_scan_ids_may_hold_slashes(tmp_path: Path, stage: str) -> None:
    item = items(1, tmp_path / "calls")["scan-0"] | {"scan_id": "demo_a/b"}
    run_batch(job(tmp_path / "r", stage=stage), {"demo_a/b": item}, process)
    assert fates(tmp_path / "r", stage) == {"demo_a/b": "ok"}


# --- files of killed jobs -------------------------------------------------------------------------


@pytest.mark.parametrize("killed", [True, False])
def test_after_a_kill_the_next_job_removes_temporary_derivatives(
    tmp_path: Path, killed: bool
) -> None:
    one = job(tmp_path / "r", stage="timeseries")
    with atomic_path(one.table.parent / "derivatives" / "sub-01" / "bold.tsv") as ours:
        nobody = ours.name.replace(f"-{os.getpid()}.", f"-{2**22 + 1}.")
        left = ours.with_name(nobody)
        left.touch()
    if killed:
        one.lock.parent.mkdir(parents=True)
        one.lock.touch()
    run_batch(one, items(2, tmp_path / "calls"), process)
    assert left.exists() != killed
