"""Apply a model to windows of series in batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from brainmass_core.models.series import Mask, SeriesModel
from brainmass_core.series_model.scores import by_participant

BATCH = 32  # windows in memory


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[torch.device]:
    """Evaluation mode without gradients; yields the device of the model, and restores its mode."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield next(model.parameters()).device
    finally:
        model.train(was_training)


def batches(n: int, size: int = BATCH) -> Iterator[slice]:
    """Slices of consecutive batches of `n` windows."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def predict_values(
    model: SeriesModel, series: Tensor, coordinates: Tensor, mask: Mask
) -> tuple[Tensor, Tensor]:
    """Predict all values from the visible tokens, with the shape and unit of the series.

    Parameters
    ----------
    series : Tensor (B, n_rois, n_timepoints)
    coordinates : Tensor (n_rois, 3)
        MNI, in mm.

    Returns
    -------
    predicted : Tensor (B, n_rois, n_timepoints)
    hidden : Tensor (B, n_rois, n_timepoints), bool
        For a model with a token per parcel and patch, complete patches.
    """
    mask = Mask(mask.visible.to(series.device), mask.last)
    predicted, hidden = model.reconstruct(series, coordinates.to(series.device), mask)
    if predicted.ndim == 4:  # (B, n_rois, n_patches, patch)
        hidden = hidden[..., None].expand_as(predicted).flatten(2)
        predicted = predicted.flatten(2)
    return predicted.float(), hidden.bool()


def mean_by_participant(rows: np.ndarray, who: np.ndarray) -> np.ndarray:
    """Means (n_participants, ...) of rows (n_windows, ...) by participant, participants sorted.

    Parameters
    ----------
    rows : ndarray (n_windows, ...)
    who : ndarray (n_windows,)

    Returns
    -------
    ndarray (n_participants, ...)
    """
    counts = np.unique(who, return_counts=True)[1]
    return by_participant(rows, who) / counts.reshape(-1, *[1] * (rows.ndim - 1))
