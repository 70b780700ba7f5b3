"""Peak resident memory of a block of code; blocks may be nested."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

PROC = Path("/proc/self")
INTERVAL = 0.02  # sampling interval in seconds if the kernel's peak cannot be reset
SLACK_MB = 16.0  # the kernel's counters are delayed by some pages per core


class Peak:
    """Largest resident memory so far, in MB."""

    def __init__(self) -> None:
        self.mb = 0.0
        self.by_kernel = False

    def look(self, mb: float) -> None:
        """Update the peak with a reading."""
        self.mb = max(self.mb, mb)


_open: list[Peak] = []  # of unfinished blocks, the outermost first


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure the peak resident memory of this process during the block.

    The kernel's own peak is used if it can be reset (Linux; not in every container), because it is
    exact; otherwise a thread samples every 20 ms. Blocks may be nested, but not concurrent in
    threads.

    Yields
    ------
    Peak
        Has the result after the block has ended, also after an error.
    """
    peak, done = Peak(), threading.Event()

    def watch() -> None:
        while not done.wait(INTERVAL):
            peak.look(_resident())

    watcher = threading.Thread(target=watch, daemon=True)
    peak.by_kernel = _forgotten()
    _open.append(peak)
    if not peak.by_kernel:
        peak.look(_resident())
        watcher.start()
    try:
        yield peak
    finally:
        _open.remove(peak)
        if peak.by_kernel:
            peak.look(_kernel_peak() or 0.0)
        else:
            done.set()
            watcher.join()
        peak.look(_resident())
        for outer in _open:  # inner and outer blocks are sampled at different moments
            outer.look(peak.mb)


def _forgotten() -> bool:
    """Reset the kernel's peak after updating open blocks; returns whether it was reset."""
    before = _kernel_peak()
    try:
        (PROC / "clear_refs").write_text("5")
    except OSError:
        return False
    for outer in _open:
        if outer.by_kernel:
            outer.look(before or 0.0)
    peak = _kernel_peak()
    return peak is not None and peak <= _resident() + SLACK_MB


def _kernel_peak() -> float | None:
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", (PROC / "status").read_text())
    except OSError:
        return None
    return int(found[1]) / 1024 if found else None


def _resident() -> float:
    return float(psutil.Process().memory_info().rss) / 1024**2
