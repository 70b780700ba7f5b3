"""Head motion: ours against SimpleITK and antspyx on the tests' moving head, in one process.

Every engine gets the same run and the same reference on one thread. Printed per engine: CPU
seconds per 200 volumes, error against the truth (RMS over an 80 mm sphere), correlation of the
framewise displacement with the true one, and the ratios to ours. Then the peak of the memory that
a long run at 2 mm takes besides its own data.

Run: ``OMP_NUM_THREADS=1 python benchmarks/motion.py`` (3 minutes; ``--volumes 200`` for all)
"""

from __future__ import annotations

import os

os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # before ANTs is loaded

import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from brainmass_core.preprocess.engines.inprocess import motion_ants, motion_simpleitk
from brainmass_core.preprocess.functional.motion import (
    estimate_motion,
    motion_to_reference,
    reference_volume,
)
from brainmass_core.preprocess.functional.motion_parameters import (
    framewise_displacement,
    motion_parameters,
)

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "preprocess"))
import preprocess_moving_head as phantom

Engine = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
ENGINES: dict[str, Engine] = {
    "embedded": motion_to_reference,
    "simpleitk": motion_simpleitk,
    "ants": motion_ants,
}


def measured(
    engine: Engine, run: np.ndarray, boldref: np.ndarray, truth: np.ndarray
) -> tuple[float, float, float]:
    """CPU seconds per 200 volumes, RMS error in mm, correlation of the FD with the true one."""
    start = time.process_time()
    found = engine(run, phantom.AFFINE, boldref)
    seconds = (time.process_time() - start) * 200 / len(truth)
    error = phantom.sphere_rms(phantom.relative_to_truth(found, truth))
    fd, true = (
        framewise_displacement(motion_parameters(m, phantom.CENTRE))[1:] for m in (found, truth)
    )
    return seconds, float(np.sqrt(np.mean(error**2))), float(np.corrcoef(fd, true)[0, 1])


def memory(n_volumes: int) -> None:
    """Print the peak of memory besides a run of 104 x 104 x 72 voxels."""
    still = phantom.scanned(np.array([np.eye(4)]))[..., 0]
    volume = np.pad(still, [(20, 20), (20, 20), (18, 18)])
    rng = np.random.default_rng(0)
    run = np.empty((*volume.shape, n_volumes), dtype=np.float32, order="F")
    for t in range(n_volumes):
        run[..., t] = volume * rng.normal(1, 0.01, volume.shape)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    tracemalloc.start()
    start = time.process_time()
    estimate_motion(run, affine)
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    typer.echo(
        f"{n_volumes} volumes of {volume.shape}: run {run.nbytes / 1e6:.0f} MB, besides it at most "
        f"{peak / 1e6:.0f} MB ({peak / volume.nbytes:.0f} volumes); {seconds:.0f} CPU-s, traced"
    )


def main(
    volumes: Annotated[int, typer.Option(help="Volumes of the run.")] = 60,
    jumps: Annotated[int, typer.Option(help="Jumps of 5 mm and 5 degrees.")] = 1,
    long: Annotated[int, typer.Option(help="Volumes of the long run at 2 mm; 0: none.")] = 100,
) -> None:
    """Measure every engine, then the memory."""
    truth = phantom.true_motion(volumes, jumps=(5.0,) * jumps)
    run = phantom.scanned(truth)
    start = time.process_time()
    boldref = reference_volume(run, phantom.AFFINE)
    typer.echo(f"{volumes} volumes of {phantom.SHAPE}, {jumps} jumps of 5 mm and 5 degrees")
    typer.echo(f"reference: {time.process_time() - start:.1f} CPU-s per run, the same for all")
    rows = {name: measured(engine, run, boldref, truth) for name, engine in ENGINES.items()}
    ours = rows["embedded"]
    for name, (seconds, error, correlation) in rows.items():
        typer.echo(
            f"{name:10s} {seconds:6.1f} CPU-s per 200 volumes (ratio {seconds / ours[0]:5.1f})  "
            f"error {error:.4f} mm (ratio {error / ours[1]:4.1f})  FD r {correlation:.5f}"
        )
    if long:
        memory(long)


if __name__ == "__main__":
    typer.run(main)
