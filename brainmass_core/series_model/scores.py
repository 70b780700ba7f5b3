"""MSE, R2 and Pearson's r of predicted values, from sums over each participant.

Sums are additive over participants, so scores of any subset and of bootstrap samples are cheap, and
predictions need not be stored. R2 is relative to the mean of the scored values and is not clipped:
below 0, a constant is better.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from brainmass_core.finetune.statistics.metrics import LEVELS

SUMS = ("n", "y", "yy", "p", "pp", "yp")
SCORES = ("mse", "variance", "r2", "pearson")


def sums_of(predicted: Tensor, target: Tensor, scored: Tensor) -> np.ndarray:
    """Sums over parcels of the scored values.

    Parameters
    ----------
    predicted, target : Tensor (B, n_rois, n_timepoints)
    scored : Tensor (B, n_rois, n_timepoints), bool

    Returns
    -------
    ndarray (B, n_timepoints, 6), float64
        The quantities in `SUMS`; y is the target, p the prediction.
    """
    w = scored.double()
    y, p = target.double() * w, predicted.double() * w
    parts = [w, y, y * y, p, p * p, y * p]
    return torch.stack([part.sum(1) for part in parts], dim=-1).cpu().numpy()


def by_participant(rows: np.ndarray, who: np.ndarray) -> np.ndarray:
    """Sum rows (n_windows, ...) by participant to (n_participants, ...), participants sorted.

    Parameters
    ----------
    rows : ndarray (n_windows, ...)
    who : ndarray (n_windows,)

    Returns
    -------
    ndarray (n_participants, ...)
    """
    _, place = np.unique(who, return_inverse=True)
    total = np.zeros((place.max() + 1, *rows.shape[1:]))
    np.add.at(total, place, rows)
    return total


def scores_of(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Scores from sums.

    Parameters
    ----------
    sums : ndarray (..., 6)
        The quantities in `SUMS`.

    Returns
    -------
    dict of ndarray (...)
        ``mse``; ``variance`` of the target, the MSE of the best constant; ``r2``; ``pearson``. NaN
        if there are no values, or a score is not defined: R2 of constant targets, r of a constant.
    """
    n, y, yy, p, pp, yp = np.moveaxis(np.asarray(sums, float), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mse = np.maximum(yy - 2 * yp + pp, 0) / n
        variance = _spread(yy, y, n) / n
        both = np.sqrt(_spread(yy, y, n) * _spread(pp, p, n))
        return {
            "mse": mse,
            "variance": variance,
            "r2": np.where(variance > 0, 1 - mse / variance, np.nan),
            "pearson": np.where(both > 0, (yp - y * p / n) / both, np.nan),
        }


def _spread(squares: np.ndarray, total: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Sum of squares around the mean; 0 if it is only rounding."""
    spread = squares - total**2 / n
    return np.where(spread > 1e-12 * squares, spread, 0.0)


def score_draws(sums: np.ndarray, n_draws: int, seed: int) -> dict[str, np.ndarray]:
    """Scores (n_draws, ...) of bootstrap samples of participants, from sums (n_participants, ...).

    Draws follow from seed and number of participants, so that methods can be compared per draw.

    Parameters
    ----------
    sums : ndarray (n_participants, ...)
        See `scores_of`.

    Returns
    -------
    dict of ndarray (n_draws, ...)
    """
    n = len(sums)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_draws)
    return scores_of(np.tensordot(weights.astype(float), sums, axes=1))


def intervals(draws: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The 2.5 % and 97.5 % quantiles (...) of every score over its draws (n_draws, ...).

    Parameters
    ----------
    draws : dict of ndarray (n_draws, ...)

    Returns
    -------
    dict of tuple of two ndarray (...)
    """
    bounds = {name: np.nanquantile(values, LEVELS, axis=0) for name, values in draws.items()}
    return {name: (low, high) for name, (low, high) in bounds.items()}
