"""Forecasts without a network: the last value, and a linear autoregression of each parcel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.model_selection import GroupKFold
from torch import Tensor

from brainmass_core.series_model.fitting import Windows
from brainmass_core.series_model.windows import batches

ORDERS = (1, 2, 3, 5, 8, 13, 20, 30)
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # multiplied by the number of fitted rows
FOLDS = 5


def last_value(observed: Tensor, steps: int) -> Tensor:
    """Repeat the last observed timepoint.

    Parameters
    ----------
    observed : Tensor (B, n_rois, n_observed)

    Returns
    -------
    Tensor (B, n_rois, steps)
    """
    return observed[..., -1:].expand(-1, -1, steps)


@dataclass(frozen=True)
class Autoregression:
    """``x[t] = c + Σ a[i] x[t - order + i]``, separately for each parcel.

    Attributes
    ----------
    coefficients : Tensor (n_rois, order), float64
        The last one belongs to the previous timepoint.
    intercept : Tensor (n_rois,), float64
    penalty : float
        One of `PENALTIES`.
    """

    coefficients: Tensor
    intercept: Tensor
    penalty: float

    @property
    def order(self) -> int:
        """Number of timepoints used for a prediction."""
        return self.coefficients.shape[1]

    def forecast(self, observed: Tensor, steps: int) -> Tensor:
        """Iterate one-step predictions.

        Parameters
        ----------
        observed : Tensor (B, n_rois, n_observed)
            At least `order` timepoints.
        steps : int
            Timepoints to predict.

        Returns
        -------
        Tensor (B, n_rois, steps)
            With the dtype of `observed`; computed in float64.
        """
        x = observed[..., -self.order :].double()
        for _ in range(steps):
            following = (x[..., -self.order :] * self.coefficients).sum(-1) + self.intercept
            x = torch.cat([x, following[..., None]], dim=-1)
        return x[..., self.order :].to(observed.dtype)


def fit_autoregression(
    train: Windows,
    n_observed: int,
    orders: tuple[int, ...] = ORDERS,
    penalties: tuple[float, ...] = PENALTIES,
) -> Autoregression:
    """Ridge regression on earlier timepoints, the intercept not penalised.

    Order and penalty, the same for all parcels, minimise the forecast error for held-out
    participants over five folds.

    Raises
    ------
    ValueError
        If there are fewer than two participants, or too few observed timepoints for any order.
    """
    orders = tuple(p for p in orders if p < n_observed)
    people = len(np.unique(train.who))
    if people < 2 or not orders:
        raise ValueError(
            f"found {people} participants and {n_observed} observed timepoints, expected two "
            "participants or more, and more timepoints than the smallest order"
        )
    split = GroupKFold(min(FOLDS, people)).split(train.who, groups=train.who)
    folds = [train.series[torch.from_numpy(rows)] for _, rows in split]
    products = torch.stack([_products(series, max(orders)) for series in folds])
    errors = {}
    for order in orders:
        for penalty in penalties:
            errors[order, penalty] = sum(
                _squared_error(_solve(products.sum(0) - own, order, penalty), series, n_observed)
                for own, series in zip(products, folds, strict=True)
            )
    order, penalty = min(errors, key=lambda pair: errors[pair])
    return _solve(products.sum(0), order, penalty)


def _products(series: Tensor, order: int) -> Tensor:
    """Sums (n_rois, order + 2, order + 2) of products of earlier timepoints, timepoint and 1."""
    total = torch.zeros(series.shape[1], order + 2, order + 2, dtype=torch.float64)
    for part in batches(len(series)):
        rows = series[part].cpu().double().unfold(-1, order + 1, 1)  # (B, n_rois, rows, order + 1)
        rows = torch.cat([rows, torch.ones_like(rows[..., :1])], dim=-1)
        total += torch.einsum("brti,brtj->rij", rows, rows)
    return total


def _solve(products: Tensor, order: int, penalty: float) -> Autoregression:
    last = products.shape[1] - 2  # the predicted timepoint
    use = torch.cat([torch.arange(last - order, last), torch.tensor([last + 1])])
    penalties = torch.full((order + 1,), penalty, dtype=torch.float64)
    penalties[-1] = 0
    left = products[:, use][:, :, use] + torch.diag_embed(penalties * products[:, -1:, -1])
    # a constant parcel has no unique solution
    found = torch.linalg.lstsq(left, products[:, use, last][..., None], driver="gelsd").solution
    return Autoregression(found[:, :-1, 0], found[:, -1, 0], penalty)


def _squared_error(model: Autoregression, series: Tensor, n_observed: int) -> float:
    future = series[..., n_observed:]
    predicted = model.forecast(series[..., :n_observed], future.shape[-1])
    error = float((predicted - future).double().square().sum())
    return error if np.isfinite(error) else np.inf
