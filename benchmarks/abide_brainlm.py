"""What a small BrainLM learns of ABIDE, shown on participants that it has not seen.

`brainlm-tiny` (13M's architecture) is pre-trained on the series of 70 % of 460 participants (CC200,
band-passed, brought to 2 s), without labels. The analyses of the stage `series_model` then judge it
on the others: hidden values, forecasts, networks of parcels, attention, perturbation, each beside
its baselines. Tables are printed, and stay with the figures in ``OUT/results/series_model``. Last,
its embedding is put to two tasks on the same participants, diagnosis and age, beside FC, confounds
and a model with random weights.

Run, with data that are not part of this repository:
``python benchmarks/abide_brainlm.py DATA OUT``, where DATA holds ``abide_pcp_dev`` and
``atlas_pcp_abide``. Pre-training of 180 epochs takes 20 to 35 minutes on one core, forecasts 5,
networks and tasks longer. A quarter of the epochs (``--epochs 45``) learns little more than the
mean of all parcels.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from abide import prepare, settings, task, write

from brainmass_core import finetune
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.launch import torchrun
from brainmass_core.series_model import stage
from brainmass_core.tables import read_table

ANALYSES = ["reconstruction", "attention", "networks", "forecast", "perturbation"]
TASKS = ["abide1", "age"]
METHODS = ["chance", "confounds_svm", "fc_svm", "fc_ridge", "series_svm"]
METHODS += ["untrained_brainlm_svm", "untrained_brainlm_ridge", "brainlm_svm", "brainlm_ridge"]
SCORES = {
    "abide1": ["auc", "auc_minus_fc_svm"],
    "age": ["r2", "mse", "pearson_r", "minus_best"],
}
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
    epochs: Annotated[int, typer.Option(help="Of the pre-training.")] = 180,
    only: Annotated[str, typer.Option(help="Analyses, by commas.")] = ",".join(ANALYSES),
    participants: Annotated[int, typer.Option(help="Tested by the analyses, at most.")] = 100,
    tasks: Annotated[str, typer.Option(help="Tasks, by commas.")] = ",".join(TASKS),
) -> None:
    """Pre-train, then print one table after the other."""
    chosen = {
        "pretrain": MODEL | {"epochs": epochs},
        "resources": {"pretrain": {"cpus_per_task": 1}},
        "finetune": {"methods": METHODS, "deploy": None},
        "tasks": {"abide1": task(n_splits=5, n_repeats=5), "age": _age()},
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
    torchrun.run(config, out / "config.yaml")
    print(f"pre-training: {time.perf_counter() - start:.0f} s", flush=True)
    pd.set_option("display.width", 200, "display.max_columns", 40, "display.max_rows", 40)
    for analysis in config.series_model.analyses:
        start = time.perf_counter()
        stage.run(config, analysis)
        file = Paths(config.results).series_model(f"{analysis}.parquet")
        table = read_table(file, f"series_model_{analysis}").to_pandas()
        print(f"{analysis}: {time.perf_counter() - start:.0f} s\n{table.round(3)}", flush=True)
    for name in filter(None, tasks.split(",")):
        start = time.perf_counter()
        finetune.run(config, name)
        file = Paths(config.results).finetune(name) / "metrics.parquet"
        shown = [f"{score}{end}" for score in SCORES[name] for end in ("", "_low", "_high")]
        shown = ["method", "n_participants", "target_variance", *shown]
        table = read_table(file, "metrics", shown).to_pandas()
        print(f"{name}: {time.perf_counter() - start:.0f} s\n{table.round(3)}", flush=True)


def _age() -> dict[str, Any]:
    """Age in years, as BrainLM's code transforms it; it is no confound of itself."""
    return {
        "datasets": ["abide"],
        "kind": "regression",
        "label": "AGE_AT_SCAN",
        "transform": "zscore",
        "confound_columns": ["site", "sex", "mean_fd"],
        "protocol": {"n_splits": 5, "n_repeats": 5},
    }


if __name__ == "__main__":
    typer.run(main)
