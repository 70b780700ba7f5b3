"""Forecasts of series by the model and by baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from brainmass_core.models.series import SeriesModel
from brainmass_core.series_model.autoregression import fit_autoregression, last_value
from brainmass_core.series_model.fitting import Fit, Windows, fit
from brainmass_core.series_model.recurrent import fit_latent_ode, fit_lstm
from brainmass_core.series_model.scores import (
    SCORES,
    by_participant,
    intervals,
    score_draws,
    scores_of,
    sums_of,
)
from brainmass_core.series_model.windows import BATCH, batches, evaluating, predict_values

Forecaster = Callable[[Tensor, int], Tensor]  # (B, n_rois, n_observed), steps: (B, n_rois, steps)
REFERENCE = "last_value"  # reference for the gain of every method


def forecast(model: SeriesModel, coordinates: Tensor, observed: Tensor, steps: int) -> Tensor:
    """Hide the future and predict it.

    The future is replaced by zeros. For a model with a token per parcel and patch it is extended to
    complete patches, of which the first `steps` timepoints are returned, and initial observed
    timepoints that do not fill a patch are ignored.

    Parameters
    ----------
    coordinates : Tensor (n_rois, 3)
        MNI, in mm.
    observed : Tensor (B, n_rois, n_observed)

    Returns
    -------
    Tensor (B, n_rois, steps)

    Raises
    ------
    ValueError
        If fewer timepoints than a patch are observed.
    """
    with evaluating(model) as device:
        return _future(model, coordinates, observed.to(device), steps).cpu()


def _future(model: SeriesModel, coordinates: Tensor, observed: Tensor, steps: int) -> Tensor:
    """`forecast` in the current mode of the model, on its device, with gradients."""
    patch = model.token_steps or 1
    n_observed, hidden = observed.shape[-1] // patch * patch, -(-steps // patch) * patch
    if not n_observed:
        raise ValueError(
            f"found {observed.shape[-1]} observed timepoints, expected at least {patch}, the "
            "length of a token"
        )
    seen = observed[..., observed.shape[-1] - n_observed :]
    series = torch.cat([seen, seen.new_zeros(*seen.shape[:2], hidden)], dim=-1)
    mask = model.future_mask(len(series), series.shape[1], series.shape[2], hidden)
    predicted, _ = predict_values(model, series, coordinates, mask)
    return predicted[..., n_observed : n_observed + steps]


def fresh(model: SeriesModel, seed: int) -> SeriesModel:
    """The same architecture with initial weights, on the same device."""
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return type(model)(model.size, model.mode).eval().to(device)


def fit_future(
    model: SeriesModel, coordinates: Tensor, train: Windows, n_observed: int, settings: Fit
) -> None:
    """Train a model, in place, to predict the future of these windows; see `fitting.fit`.

    Parameters
    ----------
    model : SeriesModel
    coordinates : Tensor (n_rois, 3)
        MNI, in mm.
    train : Windows
    n_observed : int
        Number of observed timepoints; the following ones are predicted.
    settings : Fit
    """

    def loss(series: Tensor) -> Tensor:
        future = series[..., n_observed:]
        found = _future(model, coordinates, series[..., :n_observed], future.shape[-1])
        return functional.mse_loss(found, future)

    fit(model, loss, train, settings)


def forecasters(
    model: SeriesModel, coordinates: Tensor, train: Windows, n_observed: int, settings: Fit
) -> dict[str, Forecaster]:
    """The model and all baselines, fitted to these participants.

    Parameters
    ----------
    coordinates : Tensor (n_rois, 3)
        mm.
    n_observed : int
        Timepoints from which the others are predicted.

    Returns
    -------
    dict of str to function
        ``model``; ``last_value``; ``autoregression``; ``lstm``; ``latent_ode``; ``untrained``, the
        architecture of the model with initial weights; ``from_scratch``, the same trained on these
        windows only.
    """
    untrained, from_scratch = fresh(model, settings.seed), fresh(model, settings.seed)
    fit_future(from_scratch, coordinates, train, n_observed, settings)
    return {
        "model": partial(forecast, model, coordinates),
        REFERENCE: last_value,
        "autoregression": fit_autoregression(train, n_observed).forecast,
        "lstm": fit_lstm(train, n_observed, settings).forecast,
        "latent_ode": fit_latent_ode(train, n_observed, settings).forecast,
        "untrained": partial(forecast, untrained, coordinates),
        "from_scratch": partial(forecast, from_scratch, coordinates),
    }


def compare_forecasts(
    model: SeriesModel,
    coordinates: Tensor,
    train: Windows,
    test: Windows,
    n_observed: int,
    settings: Fit,
    n_draws: int = 1000,
) -> pd.DataFrame:
    """Fit the baselines to training participants and score all methods on test participants.

    Parameters
    ----------
    coordinates : Tensor (n_rois, 3)
        mm.
    train, test : Windows
        Of the same length; the timepoints after the first `n_observed` are predicted. Participants
        of the pre-training of `model` must not be among the test participants.

    Returns
    -------
    DataFrame
        See `score_forecasts`.

    Raises
    ------
    ValueError
        If a participant is in both, or the windows differ in parcels or length.
    """
    both = sorted(set(train.who.tolist()) & set(test.who.tolist()))
    if both:
        raise ValueError(
            f"{len(both)} participants are in training and test, such as {both[0]}: forecasts "
            "would be scored on what they were fitted to"
        )
    if train.series.shape[1:] != test.series.shape[1:]:
        raise ValueError(
            f"found training windows of shape {tuple(train.series.shape[1:])} and test windows of "
            f"{tuple(test.series.shape[1:])}, expected the same parcels and timepoints"
        )
    methods = forecasters(model, coordinates, train, n_observed, settings)
    return score_forecasts(methods, test, n_observed, n_draws, settings.seed)


def score_forecasts(
    methods: Mapping[str, Forecaster],
    test: Windows,
    n_observed: int,
    n_draws: int,
    seed: int,
    batch: int = BATCH,
) -> pd.DataFrame:
    """Score forecasts step by step and together.

    Parameters
    ----------
    test : Windows
        Series (n_windows, n_rois, n_timepoints).
    n_observed : int
        Timepoints from which the others are predicted.
    methods : mapping
        Including ``last_value``.

    Returns
    -------
    DataFrame
        method; step, from 1, and 0 for all of them together; the scores of `scores.SCORES` with
        ``_low`` and ``_high``, the 95 % interval over draws of participants; ``r2_gain`` over the
        last value with its interval over the same draws.
    """
    tables, sums = [], {}
    for name, method in methods.items():
        sums[name] = _sums(method, test, n_observed, batch)
    draws = {name: score_draws(s, n_draws, seed) for name, s in sums.items()}
    for name, s in sums.items():
        points, bounds = scores_of(s.sum(0)), intervals(draws[name])
        columns = {score: points[score] for score in SCORES}
        for score in SCORES:
            columns |= {f"{score}_low": bounds[score][0], f"{score}_high": bounds[score][1]}
        gain = {"r2_gain": draws[name]["r2"] - draws[REFERENCE]["r2"]}
        low, high = intervals(gain)["r2_gain"]
        columns["r2_gain"] = points["r2"] - scores_of(sums[REFERENCE].sum(0))["r2"]
        columns |= {"r2_gain_low": low, "r2_gain_high": high}
        tables.append(pd.DataFrame({"method": name, "step": np.arange(len(low)), **columns}))
    return pd.concat(tables, ignore_index=True)


def _sums(method: Forecaster, test: Windows, n_observed: int, batch: int) -> np.ndarray:
    """Sums (n_participants, 1 + steps, 6); the first are those over all steps."""
    rows = []
    for part in batches(len(test.series), batch):
        series = test.series[part]
        future = series[..., n_observed:]
        with torch.inference_mode():
            predicted = method(series[..., :n_observed], future.shape[-1])
        rows.append(sums_of(predicted, future, torch.ones_like(future, dtype=torch.bool)))
    by_step = by_participant(np.concatenate(rows), test.who)
    return np.concatenate([by_step.sum(1, keepdims=True), by_step], axis=1)
