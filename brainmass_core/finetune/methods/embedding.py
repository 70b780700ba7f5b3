"""Frozen embeddings of scans, and the check that the encoder matches the FC."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from brainmass_core.config import Config
from brainmass_core.encoders.interface import folder_of, implementation_of
from brainmass_core.encoders.record import Encoder
from brainmass_core.finetune.cohort.dataset import TaskData
from brainmass_core.finetune.cohort.labels import TaskError
from brainmass_core.finetune.methods.series_features import embed_recordings
from brainmass_core.models.device import device
from brainmass_core.models.pretrained import SETTINGS, read_settings

BATCH = 64


def embedding(
    encoder: Encoder, config: Config, data: TaskData, trained: bool, readout: str = ""
) -> np.ndarray:
    """Frozen embeddings (n_scans, d) of the task's scans.

    Parameters
    ----------
    trained : bool
        Use the study's model; otherwise the same architecture with initial weights.
    readout : str
        Of the encoder's readouts, instead of its embedding.

    Returns
    -------
    ndarray (n_scans, d), float32

    Raises
    ------
    TaskError
        If the study's model was trained on another kind of FC or other parcels.
    """
    does = implementation_of(encoder)
    model = does.pretrained(config) if trained else does.untrained(config, data.n_rois)
    if encoder.sees_series:
        return embed_recordings(model, config, data)
    if trained:
        refuse_incompatible(folder_of(config), read_settings(folder_of(config)), config, data)
    return embed(model, data.fc, readout)


def fc_for_model(config: Config, data: TaskData) -> np.ndarray:
    """FC for fine-tuning the pre-trained encoder, after checking that the two are compatible.

    Returns
    -------
    ndarray (n_scans, n_edges)

    Raises
    ------
    TaskError
        If the model was trained on another kind of FC.
    """
    # reports what is missing, before any fold
    implementation_of(config.pretrain.encoder).pretrained(config)
    refuse_incompatible(folder_of(config), read_settings(folder_of(config)), config, data)
    return data.fc


def embed(model: Any, fc: np.ndarray, readout: str = "") -> np.ndarray:
    """Encode FC vectors.

    Parameters
    ----------
    model : nn.Module
        A model with ``encode``, see `encoders.interface`.
    fc : ndarray (n_scans, n_edges)
        FC of the full series, without dropped timepoints.
    readout : str
        Of the model's readouts, instead of its embedding.

    Returns
    -------
    ndarray (n_scans, embedding_dim), float32
        With a readout as many columns as that has.
    """
    model = model.eval().to(device())
    encode = partial(model.encode, readout=readout) if readout else model.encode
    parts = []
    with torch.inference_mode():
        for i in range(0, len(fc), BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(fc[i : i + BATCH])).to(device())
            parts.append(encode(batch).float().cpu().numpy())
    return np.concatenate(parts)


def refuse_incompatible(folder: Path, settings: dict, config: Config, data: TaskData) -> None:
    """Refuse a model that was trained on another kind of FC.

    Raises
    ------
    TaskError
        Naming the differences.
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
            f"{folder / SETTINGS}: the model is not compatible with the FC ({'; '.join(wrong)}); "
            "pre-train with the same atlas and set pfc.estimator to connectivity.estimator"
        )
