"""Seconds of twelve synthetic scans on one and on two workers, and where they go.

Both sides process the same data set in this run, one after the other; the ratio of their wall times
is printed, with the seconds and the largest memory of each step. Beside it stands what the machine
itself gives: smoothing one volume again and again, in one process and in several at once. Two
virtual processors are often the two threads of one core, and then no program reaches 2.

Run: ``OMP_NUM_THREADS=1 python benchmarks/preprocess_scaling.py`` on an idle machine (5 minutes).
"""

from __future__ import annotations

import logging
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy.ndimage import gaussian_filter

from brainmass_core import preprocess, scans
from brainmass_core.config import parse_config
from brainmass_core.config.inputs import Synthetic
from brainmass_core.demo import write_demo
from brainmass_core.pipeline.paths import Paths
from brainmass_core.tables import read_table


def main(
    participants: Annotated[int, typer.Option(help="Synthetic participants.")] = 12,
    workers: Annotated[int, typer.Option(help="Workers of the second side.")] = 2,
) -> None:
    """Write the data, process them twice, print the ratio and the table of steps."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="brainmass-scaling-") as name:
        folder = Path(name)
        write_demo(folder / "bids", Synthetic(n_participants=participants))
        walls = {n: _process(folder, n) for n in (1, workers)}
    slow, fast = walls[1][0], walls[workers][0]
    busy = {n: inside / (n * wall) for n, (wall, inside, _) in walls.items()}
    print(f"1 worker {slow:.0f} s, {workers} workers {fast:.0f} s, ratio {slow / fast:.2f}")
    print(f"the machine itself: {_of_machine(workers):.2f}")
    apart = walls[workers][1] / walls[1][1]
    print(f"a scan takes {apart:.2f} times as long beside others; workers are busy with scans")
    print(
        f"{busy[1]:.0%} and {busy[workers]:.0%} of the time; the rest is their start and the end,"
    )
    print("when some have nothing left to do")
    print(f"\n{'step':22s} {'seconds':>8s} {'peak MB':>8s}   (median over scans, 1 worker)")
    for step, (seconds, peak) in walls[1][2].items():
        print(f"{step:22s} {seconds:8.2f} {peak:8.0f}")


def _of_machine(workers: int) -> float:
    """How much more `workers` processes do than one, of work that shares nothing."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(_smooth, [1] * workers))  # imports
        done = {}
        for n in (1, workers):
            start = time.perf_counter()
            list(pool.map(_smooth, [60] * n))
            done[n] = n / (time.perf_counter() - start)
    return done[workers] / done[1]


def _smooth(times: int) -> None:
    volume = np.random.default_rng(0).normal(size=(91, 109, 91)).astype(np.float32)
    for _ in range(times):
        gaussian_filter(volume, 2.0)


def _process(folder: Path, workers: int) -> tuple[float, float, dict[str, tuple[float, float]]]:
    """Seconds of the stage, seconds inside scans, and median seconds and memory of each step."""
    raw: dict[str, Any] = {
        "results": str(folder / f"results-{workers}"),
        "datasets": {
            "demo": {
                "kind": "bids",
                "role": "internal",
                "path": str(folder / "bids"),
                "synthetic": {},
            }
        },
        "preprocess": {"registration": "syn_fast", "resolution": 3, "max_mean_fd": None},
    }
    config = parse_config(raw, "benchmark")
    scans.run(config, "demo")
    start = time.perf_counter()
    preprocess.run(config, "demo", 0, workers)
    wall = time.perf_counter() - start
    table = read_table(Paths(config.results).batch("preprocess", "demo", 0), "preprocess")
    inside = sum(table["seconds"].to_pylist())
    rows = [r for r in table.to_pylist() if r["status"] == "ok"]
    steps = list(dict(rows[0]["seconds_per_step"]))
    return (
        wall,
        inside,
        {
            step: (
                _median(rows, "seconds_per_step", step),
                _median(rows, "peak_rss_per_step", step),
            )
            for step in steps
        },
    )


def _median(rows: list[dict[str, Any]], column: str, step: str) -> float:
    found = sorted(dict(row[column]).get(step, 0.0) for row in rows)
    return found[len(found) // 2]


if __name__ == "__main__":
    typer.run(main)
