"""CPU-seconds and memory of the stage `preprocess` for the first run of a data set, by step.

Everything is done in this process with one thread; CPU-seconds are user and system time, so that
other work on the machine matters less than for wall seconds (caches and hyper-threads are shared).

Run: ``OMP_NUM_THREADS=1 python benchmarks/preprocess_stage.py BIDS TEMPLATES SCHAEFER.nii.gz``
"""

from __future__ import annotations

import os

os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # before ANTs is loaded

import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import typer
from anatomy_engines import cpu_seconds
from anatomy_reproducibility import study

from brainmass_core import preprocess, scans
from brainmass_core.config import Config
from brainmass_core.config.preprocess import Engines
from brainmass_core.pipeline import batch
from brainmass_core.preprocess import steps
from brainmass_core.preprocess.scan import preprocess_scan


def first_scan(config: Config) -> Any:
    """Input of `preprocess_scan` for the first run."""
    found: dict[str, Any] = {}
    kept = batch.run_batch
    batch.run_batch = lambda job, items, function: found.update(items)  # type: ignore[assignment]
    try:
        scans.run(config, "real")
        preprocess.run(config, "real", 0, 1)
    finally:
        batch.run_batch = kept
    return next(iter(found.values()))


def main(
    bids: Annotated[Path, typer.Argument()],
    templates: Annotated[Path, typer.Argument(help="Folder with FSL's templates.")],
    atlas: Annotated[Path, typer.Argument(help="NIfTI of parcels.")],
    normalisation: Annotated[str, typer.Option()] = Engines().normalisation,
    brain_extraction: Annotated[str, typer.Option()] = Engines().brain_extraction,
) -> None:
    """Print a row per step and their sum."""
    steps.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]
    engines = {"normalisation": normalisation, "brain_extraction": brain_extraction}
    with tempfile.TemporaryDirectory(prefix="brainmass-stage-") as name:
        config = study(bids, templates, atlas, Path(name))
        settings = config.preprocess.model_copy(update={"engines": Engines.model_validate(engines)})
        item = first_scan(config.model_copy(update={"preprocess": settings}))
        start = cpu_seconds()
        (row,) = preprocess_scan(item).to_pylist()
        total = cpu_seconds() - start
    print(f"{normalisation}, {brain_extraction}: {row['scan_id']} {row['status']}")
    peaks = dict(row["peak_rss_per_step"])
    for step, seconds in row["seconds_per_step"]:
        print(f"{step:20}{seconds:7.1f} CPU-s{peaks[step]:8.0f} MB")
    print(f"{'all':20}{total:7.1f} CPU-s{max(peaks.values()):8.0f} MB")


if __name__ == "__main__":
    typer.run(main)
