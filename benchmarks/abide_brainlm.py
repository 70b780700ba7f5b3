"""What a small BrainLM learns of ABIDE, shown on participants that it has not seen.

`brainlm-tiny` (13M's architecture) is pre-trained on the series of 70 % of 460 participants (CC200,
band-passed, brought to 2 s), without labels. The analyses of the stage `series_model` then judge it
on the others: hidden values, forecasts, networks of parcels, attention, perturbation, each beside
its baselines. Tables are printed, and stay with the figures in ``OUT/results/series_model``.

Run, with data that are not part of this repository:
``python benchmarks/abide_brainlm.py DATA OUT``, where DATA holds ``abide_pcp_dev`` and
``atlas_pcp_abide``. Pre-training takes about 8 minutes of CPU on the machine that it was written
on, the reconstruction seconds, networks and forecasts longer than the pre-training.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from abide import prepare, settings, task, write

from brainmass_core import pretrain
from brainmass_core.paths import Paths
from brainmass_core.series_model import stage
from brainmass_core.tables import read_table

ANALYSES = ["reconstruction", "attention", "networks", "forecast", "perturbation"]
MODEL: dict[str, Any] = {
    "model": "brainlm-tiny",
    "batch_size": 16,
    "lr": 1e-3,
    "warmup_epochs": 1,
    "schedule": "cosine",
    "dropout": 0.0,
    "brainlm": {
        "window": 100,
        "mask_ratio": 0.5,
        "future_share": 0.2,
        "future_steps": 20,
        "t_r": 2.0,
        "other_t_r": "resample",
    },
}


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the ABIDE series and atlas.")],
    out: Annotated[Path, typer.Argument(help="New folder for configuration and results.")],
    epochs: Annotated[int, typer.Option(help="Of the pre-training.")] = 45,
    only: Annotated[str, typer.Option(help="Analyses, by commas.")] = ",".join(ANALYSES),
    participants: Annotated[int, typer.Option(help="Tested, at most.")] = 100,
) -> None:
    """Pre-train, then print one table after the other."""
    chosen = {
        "pretrain": MODEL | {"epochs": epochs},
        "resources": {"pretrain": {"cpus_per_task": 1}},
        "tasks": {"abide1": task(n_splits=5, n_repeats=1)},
        "series_model": {
            "analyses": only.split(","),
            "task": "abide1",
            "observed_steps": 80,
            "predicted_steps": 20,
            "max_participants": participants,
        },
    }
    config = write(out, settings(data) | chosen)
    prepare(config)
    start = time.perf_counter()
    pretrain.run(config, out / "config.yaml")
    print(f"pre-training: {time.perf_counter() - start:.0f} s", flush=True)
    pd.set_option("display.width", 200, "display.max_columns", 40, "display.max_rows", 40)
    for analysis in config.series_model.analyses:
        start = time.perf_counter()
        stage.run(config, analysis)
        file = Paths(config.results).series_model(f"{analysis}.parquet")
        table = read_table(file, f"series_model_{analysis}").to_pandas()
        print(f"{analysis}: {time.perf_counter() - start:.0f} s\n{table.round(3)}", flush=True)


if __name__ == "__main__":
    typer.run(main)
