"""What one run of Snakemake costs: CPU and wall time, memory, work files, jobs.

Linux only: workers outlive their job for a moment, and are counted as adopted children.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
JOB = re.compile(r"^(\w+) +(\d+)$", re.MULTILINE)
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Cost:
    """What one run of Snakemake cost; memory in MB of its process tree, `jobs` by rule."""

    cpu: float
    wall: float
    mb: float
    work_files: int
    jobs: dict[str, int]


def adopt_orphans() -> None:
    """Become the parent of processes whose parent ends first, so that they can be waited for."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise SystemExit(f"prctl: {os.strerror(ctypes.get_errno())}")


def cpu_of_children() -> float:
    """CPU-seconds of all children, once they have ended, and of theirs.

    The fork server of a job's workers outlives the job. Without `adopt_orphans` nobody here would
    wait for it, and its CPU time and that of all workers would not be counted.
    """
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def snakemake(config: Path, *targets: str, cores: int = 2) -> Cost:
    """Run the workflow up to the targets."""
    command = ["snakemake", *targets, "--snakefile", str(ROOT / "workflow" / "Snakefile")]
    command += ["--cores", str(cores), "--configfile", str(config)]
    log = config.parent / "snakemake.log"
    before, began = cpu_of_children(), time.monotonic()
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, cwd=config.parent, stdout=stream, stderr=subprocess.STDOUT
        )
        watched = Watch(process.pid, config.parent / "results" / "work")
        status = process.wait()
        peak = watched.stop()
    text = log.read_text()
    if status:
        raise SystemExit(f"{' '.join(command)}\n{text[-3000:]}")
    stats = text.partition("Job stats:")[2].partition("\n\n")[0]
    jobs = {rule: int(n) for rule, n in JOB.findall(stats) if rule not in ("total", *targets)}
    return Cost(cpu_of_children() - before, time.monotonic() - began, *peak, jobs)


class Watch:
    """Sample the memory of a process tree and the number of files below a folder."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._process, self._folder = psutil.Process(pid), folder
        self._mb, self._files, self._done = 0.0, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(1.0):
            try:
                tree = [self._process, *self._process.children(recursive=True)]
                mb = sum(p.memory_info().rss for p in tree) / 2**20
            except psutil.Error:
                continue
            self._mb = max(self._mb, mb)
            self._files = max(self._files, n_files(self._folder))

    def stop(self) -> tuple[float, int]:
        """Peak memory (MB) and number of files."""
        self._done.set()
        self._thread.join()
        return self._mb, self._files


def n_files(folder: Path) -> int:
    """Number of files below a folder."""
    return sum(len(files) for _, _, files in os.walk(folder))


def n_bytes(folder: Path) -> int:
    """Bytes below a folder; a file with several names counts once."""
    found = {}
    for where, _, files in os.walk(folder):
        for name in files:
            stat = os.stat(os.path.join(where, name))
            found[stat.st_ino] = stat.st_size
    return sum(found.values())
