"""Frozen embeddings: the encoder as a function of FC, and the refusal of one that does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from brainmass_core.config import Config
from brainmass_core.finetune.cohort.dataset import TaskData, TaskError
from brainmass_core.models.brainmass import BrainMass
from brainmass_core.models.pretrained import read_settings
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.artefacts import load_pretrained, untrained

BATCH = 64


def pretrained_embedding(config: Config, data: TaskData) -> np.ndarray:
    """Embeddings (n_scans, 8 n_rois) of the pre-trained encoder."""
    folder = Paths(config.results).pretrain(config.pretrain.model)
    model = load_pretrained(folder)
    refuse_misfit(folder, read_settings(folder), config, data)
    return embed(model, data.fc)


def fc_for_model(config: Config, data: TaskData) -> np.ndarray:
    """FC (n_scans, n_edges) to fine-tune the pre-trained encoder on, if it fits."""
    folder = Paths(config.results).pretrain(config.pretrain.model)
    load_pretrained(folder)  # says what is missing, before any fold
    refuse_misfit(folder, read_settings(folder), config, data)
    return data.fc


def untrained_embedding(config: Config, data: TaskData) -> np.ndarray:
    """Embeddings (n_scans, 8 n_rois) of the same architecture with random weights."""
    settings = config.pretrain
    model = untrained(data.n_rois, settings.size, config.seed, settings.heads)
    return embed(model, data.fc)


def embed(model: BrainMass, fc: np.ndarray) -> np.ndarray:
    """Encode FC vectors.

    Parameters
    ----------
    fc : ndarray (n_scans, n_edges)
        FC of the full series: no timepoint is dropped at test.

    Returns
    -------
    ndarray (n_scans, embedding_dim), float32
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.eval().to(device)
    parts = []
    with torch.inference_mode():
        for i in range(0, len(fc), BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(fc[i : i + BATCH])).to(device)
            parts.append(model.encode(batch).float().cpu().numpy())
    return np.concatenate(parts)


def refuse_misfit(folder: Path, settings: dict, config: Config, data: TaskData) -> None:
    """Refuse a model that was trained on another kind of FC.

    Raises
    ------
    TaskError
        Naming what differs.
    """
    expected = {
        "n_rois": data.n_rois,
        "estimator": data.estimator,
        "atlas": config.atlas.name,
    }
    wrong = [
        f"{key}: the model has {settings.get(key)!r}, the task's FC {value!r}"
        for key, value in expected.items()
        if settings.get(key) != value
    ]
    if wrong:
        raise TaskError(
            f"{folder}: the model does not fit the FC ({'; '.join(wrong)}); pre-train with the "
            "same atlas and set pfc.estimator to connectivity.estimator"
        )
