"""The ROC curve of a method, averaged over folds and repeats, with its 95 % band."""

from __future__ import annotations

import numpy as np
import pandas as pd

from brainmass_core.auc import masses_by_fold
from brainmass_core.finetune.statistics.metrics import LEVELS, Predictions, draw_weights

GRID = np.linspace(0, 1, 101)
ROC_DRAWS = 1000


def roc_band(p: Predictions, n_draws: int, seed: int) -> pd.DataFrame:
    """ROC averaged over folds and repeats, with a pointwise 95 % band.

    Curves of single folds are averaged vertically, weighted by their numbers of pairs, so that the
    area under the average is the AUC of `metrics.weighted_scores` (up to the grid spacing of 0.01).

    Returns
    -------
    DataFrame (101 rows)
        fpr, tpr, tpr_low, tpr_high.
    """
    weights = draw_weights(p.label_of, min(n_draws, ROC_DRAWS), seed)
    weights = np.concatenate([np.ones((1, weights.shape[1])), weights])[:, p.who]
    curves = np.mean([_mean_curve(p, r, weights) for r in range(len(p.score))], axis=0)
    low, high = np.quantile(curves[1:], LEVELS, axis=0)
    return pd.DataFrame({"fpr": GRID, "tpr": curves[0], "tpr_low": low, "tpr_high": high})


def _mean_curve(p: Predictions, repeat: int, w: np.ndarray) -> np.ndarray:
    """Curves of one repeat, (n_draws, 101)."""
    total = np.zeros((len(w), len(GRID)))
    pairs = np.zeros((len(w), 1))
    for positive, negative in masses_by_fold(p.y, p.score[repeat], p.fold[repeat], w):
        mass = positive.sum(1) * negative.sum(1)
        for draw in np.flatnonzero(mass):
            curve = _curve(positive[draw], negative[draw])
            total[draw] += mass[draw] * curve
            pairs[draw] += mass[draw]
    return np.where(pairs > 0, total / np.where(pairs > 0, pairs, 1), GRID)


def _curve(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """True positive rate at each false positive rate of the grid."""
    tpr = np.concatenate([[0], np.cumsum(positive[::-1])]) / positive.sum()
    fpr = np.concatenate([[0], np.cumsum(negative[::-1])]) / negative.sum()
    curve = np.interp(GRID, fpr, tpr)
    curve[0] = 0.0
    return curve
