"""The study of a control: its unlabelled scans as files, its configuration, its pre-training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from brainmass_core import pfc, scans, timeseries
from brainmass_core.config import Config, load_config
from brainmass_core.config.load import deep_merge
from brainmass_core.encoders.interface import implementation_of
from brainmass_core.models.pretrained import Pretrained
from brainmass_core.pretrain.launch import torchrun

DATASET = "unlabelled"
T_R = 2.0  # s; nothing depends on it
STEPS = 1100  # about twice as many as after which embeddings separate the classes
# the recipe with which the control passes, if none is given
RECIPE: dict[str, Any] = {
    "pfc": {"window": 20},
    "pretrain": {
        "source": "timeseries",
        "size": "tiny",
        "passes": "merged",
        "fisher_z": True,
        "batch_size": 64,
        "lr": 0.003,
        "ema_decay": 0.98,
        "n_masked_classification": 5,
        "n_masked_reconstruction": 3,
        "warmup_epochs": 1,
    },
}


def recipe_for(n_scans: int, steps: int = STEPS) -> dict[str, Any]:
    """`RECIPE` with as many epochs as make the same number of steps, whatever the cohort's size."""
    per_epoch = max(1, n_scans // RECIPE["pretrain"]["batch_size"])
    return deep_merge(RECIPE, {"pretrain": {"epochs": max(2, round(steps / per_epoch))}})


def write_study(
    folder: Path, series: np.ndarray, sections: dict[str, Any], seed: int, n_batches: int = 1
) -> Config:
    """Write scans and configuration.

    Parameters
    ----------
    folder : Path
        Created.
    series : ndarray (n_scans, n_timepoints, n_rois)
    sections : dict
        ``pfc``, ``pretrain`` and others of the configuration.
    """
    data = folder / "data"
    data.mkdir(parents=True)
    for i, one in enumerate(series):
        np.save(data / f"sub-{i:06d}.npy", one)
    raw = {
        "results": str(folder / "results"),
        "seed": seed,
        "datasets": {
            DATASET: {
                "kind": "timeseries",
                "role": "pretrain",
                "path": str(data),
                "pattern": "*.npy",
                "batches": n_batches,
                "band_pass": False,
                "t_r": T_R,
            }
        },
        "atlas": {"name": "positive-control", "n_rois": series.shape[2]},
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(raw | sections, sort_keys=False))
    return load_config(file)


def pretrained(config: Config, file: Path) -> tuple[Pretrained, Pretrained]:
    """Run the stages up to the pre-training.

    Parameters
    ----------
    file : Path
        Of the configuration, which the workers of the pre-training read.

    Returns
    -------
    Pretrained, Pretrained
        The trained encoder, and the same encoder with its initial weights.
    """
    scans.run(config, DATASET)
    for batch in range(config.datasets[DATASET].batches or 1):
        timeseries.run(config, DATASET, batch)
        if config.pretrain.source == "pfc":
            pfc.run(config, DATASET, batch)
    torchrun.run(config, file)
    does = implementation_of(config.pretrain.encoder)
    trained = does.pretrained(config)
    return trained, does.untrained(config, trained.n_rois)
