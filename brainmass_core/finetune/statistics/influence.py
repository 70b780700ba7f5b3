"""Scores with the share that each test scan has in them, from which intervals follow.

A score is a mean over participants up to terms of second order; the influence of a scan is its
part of that mean. The AUC's are DeLong's structural components (1988, doi:10.2307/2531595), so
that their spread gives the standard error without a bootstrap, and influences of many classifiers
tested on the same scans can be averaged before.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm, rankdata

from brainmass_core.finetune.statistics.metrics import wilson_lower

LEVEL = float(norm.ppf(0.975))
ROUNDING = 1e-12


def auc_influence(y: np.ndarray, score: np.ndarray) -> tuple[float, np.ndarray]:
    """AUC, of several classes the mean over one-versus-rest.

    Parameters
    ----------
    y : ndarray (n_scans,) of int
        Classes 0, 1, ...
    score : ndarray (n_scans,) or (n_scans, n_classes)
        Evidence for class 1 of two, or for each class.

    Returns
    -------
    float, ndarray (n_scans,)
        AUC, ties counted half, and influences, whose mean is 0. A class without scans or without
        others is left out; NaN and zeros if none is left.
    """
    columns = {1: score} if score.ndim == 1 else dict(enumerate(score.T))
    parts = [_binary(y == c, s) for c, s in columns.items() if 0 < (y == c).sum() < len(y)]
    if not parts:
        return float("nan"), np.zeros(len(y))
    return float(np.mean([a for a, _ in parts])), np.mean([psi for _, psi in parts], axis=0)


def _binary(positive: np.ndarray, score: np.ndarray) -> tuple[float, np.ndarray]:
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    ranks = rankdata(score)
    beaten = np.empty(len(score))  # share of the other class on the right side, ties half
    beaten[positive] = (ranks[positive] - rankdata(score[positive])) / n_negative
    above = n_positive - (ranks[~positive] - rankdata(score[~positive]))
    beaten[~positive] = above / n_positive
    auc = float(beaten[positive].mean())
    share = np.where(positive, n_positive, n_negative) / len(score)
    return auc, (beaten - auc) / share


def balanced_accuracy_influence(y: np.ndarray, predicted: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean of the classes' recalls, and influences (n_scans,) of mean 0."""
    classes = np.unique(y)
    right = (y == predicted).astype(float)
    recalls = np.array([right[y == c].mean() for c in classes])
    index = np.searchsorted(classes, y)
    share = np.bincount(index)[index] / len(y)
    return float(recalls.mean()), (right - recalls[index]) / share / len(classes)


def standard_error(psi: np.ndarray, who: np.ndarray) -> float:
    """Standard error of a score over participants, whose scans go together.

    Parameters
    ----------
    psi : ndarray (n_scans,)
        Influences.
    who : ndarray (n_scans,)
        Participant of each scan.
    """
    totals = np.bincount(np.unique(who, return_inverse=True)[1], psi)
    n = len(totals)
    return float(np.sqrt((totals**2).sum() * n / max(n - 1, 1)) / len(psi))


def smallest_class(y: np.ndarray, who: np.ndarray) -> int:
    """Participants of the smallest class; a participant's class is that of the first scan."""
    first = np.unique(who, return_index=True)[1]
    return int(np.unique(y[first], return_counts=True)[1].min())


def interval(value: float, error: float, n: int) -> tuple[float, float]:
    """95 % by the normal approximation, within 0 and 1.

    Where each scan is right, or wrong, none shows any spread: Wilson's bound for n of n is given, n
    being the participants of the smallest class.
    """
    low, high = max(value - LEVEL * error, 0.0), min(value + LEVEL * error, 1.0)
    if value > 1 - ROUNDING:
        low = min(low, wilson_lower(n))
    if value < ROUNDING:
        high = max(high, 1 - wilson_lower(n))
    return low, high
