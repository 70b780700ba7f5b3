"""A scan that crashes its worker or never ends is one failed scan, with one thread as well."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # workers import it by name

import hazards
from batch_processes import items, job

from brainmass_core.pipeline.batch import BatchError, run_batch
from brainmass_core.pipeline.kept import Job
from brainmass_core.pipeline.workers import Died, TimedOut, WorkerError, in_processes

pytestmark = pytest.mark.study


def with_limit(one: Job, seconds: float) -> Job:
    config = one.config.model_copy(update={"scan_timeout": seconds})
    return dataclasses.replace(one, config=config)


@pytest.mark.parametrize("threads", [1, 2])
def test_native_code_that_crashes_costs_its_own_scan(tmp_path: Path, threads: int) -> None:
    kinds = {"scan_1": "segfault", "scan_2": "abort", "scan_4": "exit", "scan_5": "killed"}
    work = items(7, tmp_path / "calls", **kinds)
    entries = run_batch(job(tmp_path / "r", threads=threads), work, hazards.process)
    assert [e.status for e in entries] == ["ok", "failed", "failed", "ok", "failed", "failed", "ok"]
    causes = {1: "SIGSEGV", 2: "SIGABRT", 4: "exit status 0", 5: "SIGKILL"}
    for number, cause in causes.items():
        assert f"the worker process died ({cause})" in entries[number].reason
        assert "resources.preprocess.mem_mb" in entries[number].remedy


def test_a_scan_that_hangs_is_stopped_with_the_programs_it_started(tmp_path: Path) -> None:
    work = items(4, tmp_path / "calls", scan_1="hangs", scan_2="deaf")
    one = job(tmp_path / "r", threads=2)
    sound = {s: work[s] for s in ("scan-0", "scan-3")}
    run_batch(one, sound, hazards.process)  # so that no slow disk can make them late below
    entries = run_batch(with_limit(one, 10.0), work, hazards.process)
    assert [e.status for e in entries] == ["ok", "failed", "failed", "ok"]
    for entry in entries[1:3]:
        assert entry.reason == "not finished after 10 s (scan_timeout); it was stopped"
        assert "raise scan_timeout" in entry.remedy
    program = int((tmp_path / "program").read_text())
    assert not psutil.pid_exists(program) or (
        psutil.Process(program).status() == psutil.STATUS_ZOMBIE
    )


def test_scans_after_a_crash_are_worked_on_where_the_job_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRAINMASS_SEEN", "yes")
    calls = {"a": (), "b": ()}
    found = dict(in_processes(os.getcwd, calls, 1))
    assert found == dict.fromkeys(calls, str(tmp_path))
    assert dict(in_processes(os.getenv, {"a": ("BRAINMASS_SEEN",)}, 1)) == {"a": "yes"}


def test_what_a_call_raises_reaches_the_caller_and_its_end_is_told_apart() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-folder"):
        list(in_processes(os.listdir, {"a": ("/no-such-folder",)}, 1))
    assert list(in_processes(os._exit, {"a": (3,)}, 1)) == [("a", Died(3))]
    assert Died(-11).cause == "SIGSEGV"
    ((_, outcome),) = in_processes(hazards.time.sleep, {"a": (1000,)}, 1, timeout=0.5)
    assert outcome == TimedOut(0.5)


def test_a_worker_that_cannot_start_blames_no_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.context.ForkServerProcess.start", refuse)
    with pytest.raises(WorkerError, match=r"could not start.*temporarily unavailable"):
        list(in_processes(os.getcwd, {"a": ()}, 1))
    one = job(tmp_path / "r")
    with pytest.raises(BatchError, match=r"could not start.*finished scans are kept"):
        run_batch(one, items(2, tmp_path / "calls"), hazards.process)
    assert not list(one.work.glob("*.json"))


def test_workers_end_when_their_socket_has_no_room_for_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr("multiprocessing.forkserver.ensure_running", refuse)
    assert dict(in_processes(os.getppid, {"a": ()}, 1)) == {"a": os.getpid()}
