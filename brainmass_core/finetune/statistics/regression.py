"""Scores of a regression with intervals from the bootstrap over participants of `metrics`.

Per repeat, R2, MSE and MAE are computed over the predictions of all folds, R2 relative to the mean
of the tested scans. Pearson's r is computed within folds (sums of squares and products around the
means of each fold, added over folds): predicting the training mean, which is lower in folds with
higher test values, would correlate negatively over folds. `target_variance` is the MSE of the best
constant, with which an MSE must be compared.
"""

from __future__ import annotations

import numpy as np

from brainmass_core.finetune.statistics.metrics import LEVELS, Predictions

METRICS = ("r2", "mse", "mae", "pearson_r", "target_variance")


def weighted_scores(p: Predictions, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Every metric for every set of weights (n_draws, n_participants): means over repeats.

    Parameters
    ----------
    weights : ndarray (n_draws, n_participants)

    Returns
    -------
    dict of ndarray (n_draws,)
        Keys are `METRICS`.
    """
    w = weights.astype(np.float64)[:, p.who]
    parts = [_repeat(p, r, w) for r in range(len(p.score))]
    return {m: np.mean([part[m] for part in parts], axis=0) for m in METRICS}


def _repeat(p: Predictions, r: int, w: np.ndarray) -> dict[str, np.ndarray]:
    """(n_draws,) of every metric of one repeat."""
    rows = p.fold[r] >= 0
    w, y, pred, fold = w[:, rows], p.y[rows], p.pred[r, rows], p.fold[r, rows]
    total = np.maximum(w.sum(1), 1e-300)
    mse = w @ (y - pred) ** 2 / total
    centre = y.mean()  # for the accuracy of the one-pass variance
    variance = np.maximum(w @ (y - centre) ** 2 / total - (w @ (y - centre) / total) ** 2, 0)
    xx = yy = xy = np.zeros(len(w))
    for f in np.unique(fold):
        here = fold == f
        a, b, v = pred[here], y[here], w[:, here]
        n = np.maximum(v.sum(1, keepdims=True), 1e-300)
        da, db = a - v @ a[:, None] / n, b - v @ b[:, None] / n  # (n_draws, n_here)
        xx, yy, xy = xx + (v * da**2).sum(1), yy + (v * db**2).sum(1), xy + (v * da * db).sum(1)
    spread = np.sqrt(xx * yy)
    flat = xx <= 1e-20 * np.maximum(yy, 1e-300)  # a constant predicts nothing
    return {
        "r2": 1 - np.divide(mse, variance, out=np.ones_like(mse), where=variance > 0),
        "mse": mse,
        "mae": w @ np.abs(y - pred) / total,
        "pearson_r": np.divide(xy, spread, out=np.zeros_like(xy), where=(spread > 0) & ~flat),
        "target_variance": variance,
    }


def bootstrap(p: Predictions, n_draws: int, seed: int) -> dict[str, np.ndarray]:
    """Every metric in every bootstrap draw of participants; draws follow from the seed.

    Returns
    -------
    dict of ndarray (n_draws,)
        Keys are `METRICS`.
    """
    rng = np.random.default_rng(seed)
    n = int(p.who.max()) + 1
    weights = rng.multinomial(n, np.full(n, 1 / n), n_draws).astype(np.float32)
    size = max(1, 5_000_000 // max(1, len(p.y)))
    parts = [weighted_scores(p, weights[i : i + size]) for i in range(0, n_draws, size)]
    return {m: np.concatenate([part[m] for part in parts]) for m in METRICS}


def summarise(p: Predictions, draws: dict[str, np.ndarray]) -> dict[str, float]:
    """Each metric with its interval; the variance of the target without one.

    Parameters
    ----------
    draws : dict of ndarray (n_draws,)
        Result of `bootstrap`.

    Returns
    -------
    dict of float
        Limits are the 2.5 % and 97.5 % quantiles of the draws.
    """
    point = weighted_scores(p, np.ones((1, int(p.who.max()) + 1)))
    row = {m: float(point[m][0]) for m in METRICS}
    for metric in METRICS[:-1]:
        low, high = (float(q) for q in np.quantile(draws[metric], LEVELS))
        row |= {f"{metric}_low": low, f"{metric}_high": high}
    return row
