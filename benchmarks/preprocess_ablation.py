"""What each step of the preprocessing buys, on synthetic heads whose truth is known.

One data set is written (realistic size: 3.5 mm, 200 volumes), then processed with one choice
changed at a time; choices of the second stage alone share what the first estimated. Printed per
variant, as means over participants: correlation of the FC with that of the true signals,
correlation of the parcel series with the true ones, and the wall seconds per scan of what was run
for the variant. Both are compared between 0.01 and 0.1 Hz, whatever a variant lets through.

Run: ``OMP_NUM_THREADS=1 python benchmarks/preprocess_ablation.py`` (10 minutes on two cores with
``--participants 4``)
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from brainmass_core import preprocess, scans, timeseries
from brainmass_core.config import Config, parse_config
from brainmass_core.config.inputs import Synthetic
from brainmass_core.config.load import deep_merge
from brainmass_core.demo import write_demo
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pipeline.scan_fingerprint import fingerprint
from brainmass_core.tables import read_table
from brainmass_core.timeseries.denoise import ideal_bandpass

STILL = "no motion correction"
VARIANTS: dict[str, dict[str, Any]] = {
    "default (cpac-default, syn)": {},
    "SyN instead of Greedy": {"preprocess": {"engines": {"normalisation": "embedded"}}},
    "no slice timing": {"preprocess": {"slice_timing": False}},
    "despiked": {"preprocess": {"despike": True}},
    "affine only": {"preprocess": {"registration": "affine"}},
    "syn_fast": {"preprocess": {"registration": "syn_fast"}},
    "syn, 3 mm": {"preprocess": {"resolution": 3}},
    "syn_fast, 3 mm": {"preprocess": {"registration": "syn_fast", "resolution": 3}},
    "no nuisance but the mean": {
        "timeseries": {"motion": "none", "n_compcor": 0, "csf": False, "polynomial_order": 0}
    },
    "preset minimal": {"presets": ["timeseries/minimal"]},
    "preset fmriprep-like": {"presets": ["timeseries/fmriprep-like"]},
    "global signal": {"timeseries": {"global_signal": True}},
    "joint order": {"timeseries": {"order": "joint"}},
    "no band-pass": {"timeseries": {"low_hz": None, "high_hz": None}},
    "averaged at 2 mm": {"timeseries": {"resolution": 2}},
    STILL: {},
}


def main(
    participants: Annotated[int, typer.Option(help="Synthetic participants.")] = 6,
    volumes: Annotated[int, typer.Option(help="Volumes per run.")] = 200,
    only: Annotated[str, typer.Option(help="Run variants whose name holds this text.")] = "",
) -> None:
    """Write the data, run the variants, print the table."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="brainmass-ablation-") as name:
        folder = Path(name)
        write_demo(
            folder / "bids",
            Synthetic(n_participants=participants, n_volumes=volumes, voxel_size=3.5),
        )
        print(f"{'variant':32s} {'FC r':>7s} {'series r':>9s} {'s per scan':>11s}  n", flush=True)
        for variant, change in VARIANTS.items():
            if only in variant:
                _report(folder, variant, change)


def _report(folder: Path, variant: str, change: dict[str, Any]) -> None:
    config = _config(folder, change)
    start = time.perf_counter()
    if not Paths(config.results).batch("preprocess", "demo", 0).exists():
        scans.run(config, "demo")
        preprocess.run(config, "demo", 0, len(os.sched_getaffinity(0)))
    if variant == STILL:
        config = _held_still(config)
    timeseries.run(config, "demo", 0, 1)
    seconds = time.perf_counter() - start
    table = read_table(Paths(config.results).batch("timeseries", "demo", 0), "timeseries")
    rows = [row for row in table.to_pylist() if row["status"] == "ok"]
    scores = np.array([_scores(folder, row) for row in rows])
    fc, series = scores.mean(axis=0)
    print(
        f"{variant:32s} {fc:7.4f} {series:9.4f} {seconds / len(rows):11.1f}  {len(rows)}",
        flush=True,
    )


def _config(folder: Path, change: dict[str, Any]) -> Config:
    results = str(folder / f"results-{fingerprint(change.get('preprocess', {}))}")
    base: dict[str, Any] = {
        "results": results,
        "datasets": {
            "demo": {
                "kind": "bids",
                "role": "internal",
                "path": str(folder / "bids"),
                "synthetic": {},
            }
        },
        "preprocess": {"max_mean_fd": None, "derivatives": "minimal"},
        "timeseries": {"derivatives": False},
    }
    return parse_config(deep_merge(base, change), "benchmark")


def _held_still(config: Config) -> Config:
    """The same study in another folder, every estimated motion replaced by none."""
    still = Path(f"{config.results}-still")
    shutil.copytree(config.results, still, ignore=shutil.ignore_patterns("timeseries"))
    config = config.model_copy(update={"results": still})
    for file in Paths(config.results).derivatives("demo").rglob("*_to-orig_*_xfm.npy"):
        n_volumes = len(np.load(file, allow_pickle=False))
        np.save(file, np.tile(np.eye(4), (n_volumes, 1, 1)))
    return config


def _scores(folder: Path, row: dict[str, Any]) -> tuple[float, float]:
    """FC and series of one scan against the truth."""
    stem = row["scan_id"].removeprefix("demo_")
    participant = stem.split("_")[0]
    truth_file = folder / "bids/derivatives/truth" / participant / "func" / f"{stem}_timeseries.tsv"
    found = np.asarray(row["bold"], dtype=float)
    true = pd.read_csv(truth_file, sep="\t").to_numpy()[-len(found) :]
    found, true = (ideal_bandpass(x, row["t_r"], 0.01, 0.1) for x in (found, true))
    edges = np.triu_indices(found.shape[1], 1)
    correlate: Callable[..., Any] = np.corrcoef
    fc = correlate(correlate(found.T)[edges], correlate(true.T)[edges])[0, 1]
    series = [correlate(found[:, i], true[:, i])[0, 1] for i in range(found.shape[1])]
    return float(fc), float(np.mean(series))


if __name__ == "__main__":
    typer.run(main)
