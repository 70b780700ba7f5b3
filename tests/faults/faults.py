"""Faults that befall a running study, each at a random moment.

A fault gets the running Snakemake (a `Run`) and does its harm. Where no process is there to be
harmed, it says so by returning False, and the drill tries another moment.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fault_study
import psutil

WAIT = 0.01  # s between looks at a condition


@dataclass
class Run:
    """A study that is running.

    Attributes
    ----------
    disk : Path, optional
        Mount point of the study's own file system, if it has one.
    """

    folder: Path
    snakemake: subprocess.Popen
    chance: random.Random
    disk: Path | None = None

    @property
    def results(self) -> Path:
        """The results folder."""
        return self.folder / "results"

    def below(self, *words: str) -> list[psutil.Process]:
        """Running descendants of Snakemake whose command line contains one of the words."""
        found = []
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self.snakemake.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    line = " ".join(process.cmdline())
                    if any(word in line for word in words):
                        found.append(process)
        return found

    def forked(self) -> list[psutil.Process]:
        """Workers that have begun, without the server from which they are forked.

        A worker leads a process group as soon as it has begun; until then only the limit of its
        start counts, which is 15 minutes.
        """
        found = {process.pid: process for process in self.below(*WORKER)}
        workers = []
        for process in found.values():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if process.ppid() in found and os.getpgid(process.pid) == process.pid:
                    workers.append(process)
        return workers

    def until(self, condition: Callable[[], object]) -> bool:
        """Wait for a condition; False if the run ends before."""
        while self.snakemake.poll() is None:
            if condition():
                return True
            time.sleep(WAIT)
        return False


# words in the command lines of jobs, of their workers, and of the processes that train
JOB = ("bin/brainmass ",)
WORKER = ("multiprocessing.forkserver", "multiprocessing.spawn")
RANK = ("pretrain.launch.worker",)


def _signalled(words: tuple[str, ...], number: int) -> Callable[[Run], bool]:
    def fault(run: Run) -> bool:
        if not run.until(lambda: run.below(*words)):
            return False
        hit = False
        for process in run.chance.sample(found := run.below(*words), k=min(1, len(found))):
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
                hit = True
        return hit

    return fault


def kill_everything(run: Run) -> bool:
    """SIGKILL for Snakemake and all that it started, as if the machine had gone down."""
    below = run.below("")
    run.snakemake.kill()
    for process in below:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return True


def _snakemake(number: int) -> Callable[[Run], bool]:
    def fault(run: Run) -> bool:
        run.snakemake.send_signal(number)
        return True

    return fault


def stop_a_worker(run: Run) -> bool:
    """SIGSTOP: the scan's time limit ends it. Ranks of training have none and are left alone.

    So is the server from which workers are forked: it works on no scan, and nothing limits it.
    """
    if not run.until(lambda: run.forked()):
        return False
    for process in run.chance.sample(found := run.forked(), k=min(1, len(found))):
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGSTOP)
            return True
    return False


def little_memory(run: Run) -> bool:
    """A worker may not have more memory than it has."""
    if not run.until(lambda: run.below(*WORKER)):
        return False
    for process in run.below(*WORKER):
        with contextlib.suppress(psutil.Error, OSError):
            limit = process.memory_info().vms
            resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, limit))
            return True
    return False


def full_disk(run: Run) -> bool:
    """The disk is full until the run has ended."""
    assert run.disk is not None
    filler = run.disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**16))
    run.snakemake.wait()
    filler.unlink()
    return True


def full_disk_in_training(run: Run) -> bool:
    """The disk is full from the first checkpoint on."""
    work = run.results / "work" / "pretrain"
    return run.until(lambda: work.exists() and any(work.rglob("step-*"))) and full_disk(run)


def read_only(run: Run) -> bool:
    """The results cannot be written until the run has ended."""
    assert run.disk is not None
    # files that are open for writing forbid it; then it is tried again
    command = ["mount", "-o", "remount,ro", str(run.disk)]
    if not run.until(lambda: subprocess.run(command, capture_output=True).returncode == 0):
        return False
    run.snakemake.wait()
    subprocess.run(["mount", "-o", "remount,rw", str(run.disk)], check=True)
    return True


def _tables(run: Run) -> list[Path]:
    return [f for f in run.results.rglob("*.parquet") if f.is_file()]


def _damaged(harm: Callable[[bytearray, random.Random], bytes]) -> Callable[[Run], bool]:
    """Damage a finished table after everything was killed: the next run reads it."""

    def fault(run: Run) -> bool:
        if not run.until(lambda: _tables(run)):
            return False
        kill_everything(run)
        run.snakemake.wait()
        file = run.chance.choice(sorted(_tables(run)))
        before = os.stat(file)
        file.write_bytes(harm(bytearray(file.read_bytes()), run.chance))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a disk does it
        return True

    return fault


def flipped(content: bytearray, chance: random.Random) -> bytes:
    """One bit is another."""
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(content)


def truncated(content: bytearray, chance: random.Random) -> bytes:
    """The end is missing."""
    return bytes(content[: chance.randrange(len(content))])


def changed_input(run: Run) -> bool:
    """A series is replaced by another while the run goes on."""
    replace_series(run.folder)
    return True


def replace_series(folder: Path) -> None:
    """Replace one series of a study."""
    shutil.copyfile(folder / "data" / "other.txt", folder / "data" / fault_study.REPLACED)


def second_snakemake(run: Run) -> bool:
    """The same command a second time, on the same results."""
    second = fault_study.start(run.folder)
    second.wait()
    return True


def clock_set_back(run: Run) -> bool:
    """All that is finished was made an hour from now, once everything is killed."""
    kill_everything(run)
    run.snakemake.wait()
    for file in run.results.rglob("*"):
        if file.is_file():
            stat = file.stat()
            later = 3600 * 10**9
            os.utime(file, ns=(stat.st_atime_ns + later, stat.st_mtime_ns + later))
    return True


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes
    ----------
    needs_disk : bool
        The study is on a file system of its own, which needs root.
    spares : bool
        No published scan may be done again. False where a published table was harmed.
    other_results : bool
        Right are the results of the changed data.
    damages : bool
        A published table is damaged: a run may refuse it, and its message gives the remedy.
    late : bool
        Scans may be recorded as failed, for which `brainmass retry` is right.
    """

    does: Callable[[Run], bool]
    needs_disk: bool = False
    spares: bool = True
    other_results: bool = False
    damages: bool = False
    late: bool = False


KINDS = {
    "SIGKILL of a worker": Kind(_signalled(WORKER, signal.SIGKILL)),
    "SIGKILL of a job": Kind(_signalled(JOB, signal.SIGKILL)),
    "SIGTERM of a job": Kind(_signalled(JOB, signal.SIGTERM)),
    "SIGKILL of Snakemake": Kind(_snakemake(signal.SIGKILL)),
    "SIGTERM of Snakemake": Kind(_snakemake(signal.SIGTERM)),
    "SIGINT of Snakemake": Kind(_snakemake(signal.SIGINT)),
    "SIGKILL of everything": Kind(kill_everything),
    "SIGSTOP of a worker": Kind(stop_a_worker, late=True),
    "no memory in a worker": Kind(little_memory, late=True),
    "SIGKILL of a rank": Kind(_signalled(RANK, signal.SIGKILL)),
    "SIGTERM of a rank": Kind(_signalled(RANK, signal.SIGTERM)),
    "disk full": Kind(full_disk, needs_disk=True),
    "disk full in training": Kind(full_disk_in_training, needs_disk=True),
    "read-only results": Kind(read_only, needs_disk=True),
    "bit flipped": Kind(_damaged(flipped), spares=False, damages=True),
    "file truncated": Kind(_damaged(truncated), spares=False, damages=True),
    "input changed": Kind(changed_input, spares=False, other_results=True),
    "two Snakemakes": Kind(second_snakemake),
    "clock set back": Kind(clock_set_back),
}
