"""Reconstruct hidden parts of series from the visible ones, and complete recordings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from brainmass_core.models.series import Mask, SeriesModel
from brainmass_core.models.tokens import n_masked
from brainmass_core.series_model.scores import by_participant, scores_of, sums_of
from brainmass_core.series_model.windows import (
    BATCH,
    batches,
    evaluating,
    predict_values,
)

METHODS = ("model", "visible_parcels", "parcel_mean", "interpolation")


@dataclass(frozen=True)
class Reconstruction:
    """Scores of hidden values, for the model and the baselines on the same masks.

    Attributes
    ----------
    pooled : dict of method to dict of score to float
        Scores over all hidden values, as in `scores.SCORES`.
    participants : ndarray (n_participants,)
        Sorted.
    each : dict of method to dict of score to ndarray (n_participants,)
    sums : dict of method to ndarray (n_participants, 6)
        For `scores.score_draws`.
    """

    pooled: Mapping[str, Mapping[str, float]]
    participants: np.ndarray
    each: Mapping[str, Mapping[str, np.ndarray]]
    sums: Mapping[str, np.ndarray]


def score_reconstruction(
    model: SeriesModel,
    windows: Tensor,
    coordinates: Tensor,
    who: np.ndarray,
    ratio: float,
    seed: int,
    batch: int = BATCH,
) -> Reconstruction:
    """Hide a fraction of the tokens of each window and predict them.

    Parameters
    ----------
    windows : Tensor (n_windows, n_rois, n_timepoints)
        Scaled as for training.
    coordinates : Tensor (n_rois, 3)
        MNI, in mm.
    who : ndarray (n_windows,)
        Participant of each window.
    ratio : float
        Fraction of tokens that is hidden.
    seed : int
        Seed of the masks, which do not depend on the batch.

    Raises
    ------
    ValueError
        If no token or all tokens would be hidden, or `who` has another length.
    """
    if len(who) != len(windows):
        raise ValueError(f"found {len(who)} participants for {len(windows)} windows")
    if n_masked(model.n_tokens(*windows.shape[1:]), ratio, model.is_reference) == 0:
        raise ValueError(f"a mask ratio of {ratio} hides no token: there is nothing to score")
    generator = torch.Generator().manual_seed(seed)
    rows: dict[str, list[np.ndarray]] = {method: [] for method in METHODS}
    with evaluating(model) as device:
        for part in batches(len(windows), batch):
            series = windows[part].to(device)
            n, *shape = series.shape
            # window by window, because random numbers depend on how many are drawn together
            masks = [model.random_mask(1, shape[0], shape[1], ratio, generator) for _ in range(n)]
            mask = Mask(torch.cat([m.visible for m in masks]))
            predicted, hidden = predict_values(model, series, coordinates, mask)
            found = (
                predicted,
                mean_of_visible(series, hidden),
                fill_with_mean(series, hidden),
                interpolate(series, hidden),
            )
            for method, values in zip(METHODS, found, strict=True):
                rows[method].append(sums_of(values, series, hidden).sum(1))
    sums = {m: by_participant(np.concatenate(parts), who) for m, parts in rows.items()}
    pooled = {m: {k: float(v) for k, v in scores_of(s.sum(0)).items()} for m, s in sums.items()}
    each = {m: scores_of(s) for m, s in sums.items()}
    return Reconstruction(pooled, np.unique(who), each, sums)


def fill_with_mean(series: Tensor, hidden: Tensor) -> Tensor:
    """Each parcel's mean over its visible timepoints; 0 for a completely hidden parcel.

    Parameters
    ----------
    series, hidden : Tensor (B, n_rois, n_timepoints)

    Returns
    -------
    Tensor (B, n_rois, n_timepoints)
        Constant in time.
    """
    seen = ~hidden
    mean = torch.where(hidden, 0.0, series).sum(-1) / seen.sum(-1).clamp(min=1)
    return mean[..., None].expand_as(series)


def mean_of_visible(series: Tensor, hidden: Tensor) -> Tensor:
    """Mean over the visible parcels at each timepoint; 0 if none is visible.

    A model that predicts more than this knows more than the global signal. Shapes as in
    `fill_with_mean`; the same for all parcels.

    Parameters
    ----------
    series, hidden : Tensor (B, n_rois, n_timepoints)

    Returns
    -------
    Tensor (B, n_rois, n_timepoints)
    """
    seen = ~hidden
    mean = torch.where(seen, series, 0.0).sum(1) / seen.sum(1).clamp(min=1)
    return mean[:, None].expand_as(series)


def interpolate(series: Tensor, hidden: Tensor) -> Tensor:
    """Linear interpolation in time between the visible timepoints of each parcel.

    Before the first and after the last of them the nearest value is used; 0 for a completely hidden
    parcel. Shapes as in `fill_with_mean`.

    Parameters
    ----------
    series, hidden : Tensor (B, n_rois, n_timepoints)

    Returns
    -------
    Tensor (B, n_rois, n_timepoints)
    """
    n = series.shape[-1]
    time = torch.arange(n, device=series.device).expand_as(series)
    before = torch.where(hidden, -1, time).cummax(-1).values
    after = torch.where(hidden, n, time).flip(-1).cummin(-1).values.flip(-1)
    left = torch.where(before < 0, after, before).clamp(max=n - 1)
    right = torch.where(after == n, before, after).clamp(min=0)
    share = (time - left) / (right - left).clamp(min=1)
    visible = torch.where(hidden, 0.0, series)  # the result must not depend on hidden values
    return torch.lerp(visible.gather(-1, left), visible.gather(-1, right), share)


def reconstruct_recording(
    model: SeriesModel,
    recording: Tensor,
    coordinates: Tensor,
    window: int,
    ratio: float,
    seed: int,
    batch: int = BATCH,
) -> Tensor:
    """Predict every value of a recording from values around it.

    Each window is predicted with several masks, which together hide every token; the prediction of
    a token comes from the first mask that hides it. All masks hide the same fraction of tokens, so
    the last mask also hides tokens that already have a prediction.

    Parameters
    ----------
    recording : Tensor (n_rois, n_timepoints)
        Scaled as for training. Windows are consecutive; the last one ends with the recording and
        only contributes timepoints that no other window covers.
    window : int
        Number of timepoints of the model's input.

    Returns
    -------
    Tensor (n_rois, n_timepoints)

    Raises
    ------
    ValueError
        If the recording is shorter than a window, or the ratio hides no token.
    """
    n_rois, n_timepoints = recording.shape
    if n_timepoints < window:
        raise ValueError(
            f"found a recording of {n_timepoints} timepoints, expected at least {window}, the "
            "length of a window: use a smaller window"
        )
    starts = [*range(0, n_timepoints - window, window), n_timepoints - window]
    generator = torch.Generator().manual_seed(seed)
    jobs = [
        (s, v) for s in starts for v in _each_hidden_once(model, n_rois, window, ratio, generator)
    ]
    assembled = torch.full((n_rois, n_timepoints), torch.nan)
    with evaluating(model) as device:
        for part in batches(len(jobs), batch):
            series = torch.stack([recording[:, s : s + window] for s, _ in jobs[part]]).to(device)
            mask = Mask(torch.stack([visible for _, visible in jobs[part]]))
            predicted, hidden = (t.cpu() for t in predict_values(model, series, coordinates, mask))
            for (start, _), values, was_hidden in zip(jobs[part], predicted, hidden, strict=True):
                there = assembled[:, start : start + window]
                there.copy_(torch.where(was_hidden & there.isnan(), values, there))
    return assembled


def _each_hidden_once(
    model: SeriesModel, n_rois: int, window: int, ratio: float, generator: torch.Generator
) -> list[Tensor]:
    """Visible tokens (n_visible,) of masks that together hide every token of a window."""
    n = model.n_tokens(n_rois, window)
    hidden = n_masked(n, ratio, model.is_reference)
    if hidden == 0:
        raise ValueError(f"a mask ratio of {ratio} hides none of {n} tokens; use a larger one")
    order = torch.randperm(n, generator=generator)
    masks = []
    for start in range(0, n, hidden):
        first = min(start, n - hidden)
        visible = torch.cat([order[:first], order[first + hidden :]])
        masks.append(visible if model.is_reference else visible.sort().values)
    return masks
