"""The area under the ROC curve (AUC) and its variance, for bootstraps, permutations and sites.

Only scans of the same fold are compared, because the scores of two models have no common scale: the
number of concordant pairs over all folds is divided by the number of pairs, and ties count half.
The curve, averaged over folds in the same way, is in `finetune.statistics.roc`.

The variance is computed from influence values: up to second-order terms, a score is a mean over
participants, and the influence of a scan is its contribution to that mean. Those of the AUC are
DeLong's structural components (1988, doi:10.2307/2531595): their variance gives the standard error
without a bootstrap, and influences of several classifiers on the same scans can be averaged.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.stats import norm, rankdata

LEVEL = float(norm.ppf(0.975))
ROUNDING = 1e-12


def masses_by_fold(
    positive: np.ndarray, score: np.ndarray, fold: np.ndarray, weights: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, per fold, the weights of positives and of negatives at each distinct score, ascending.

    Parameters
    ----------
    positive : ndarray (n_scans,) or (n_draws, n_scans) of 0 and 1
    score, fold : ndarray (n_scans,)
        Scans with a negative fold are ignored.
    weights : ndarray (n_draws, n_scans) or (1, n_scans)

    Yields
    ------
    two ndarrays (n_draws, n_distinct)
    """
    for f in np.unique(fold[fold >= 0]):
        rows = np.flatnonzero(fold == f)
        rows = rows[np.argsort(score[rows], kind="stable")]
        starts = np.flatnonzero(np.diff(score[rows], prepend=np.nan) != 0)
        inside, y = weights[:, rows], positive[..., rows]
        yield (
            np.add.reduceat(inside * y, starts, axis=1),
            np.add.reduceat(inside * (1 - y), starts, axis=1),
        )


def weighted_auc(
    positive: np.ndarray, score: np.ndarray, fold: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """AUC for every set of weights or labels.

    Parameters
    ----------
    positive, score, fold, weights
        See `masses_by_fold`.

    Returns
    -------
    ndarray (n_draws,)
        Pairs are only formed within folds; NaN without pairs.
    """
    concordant = np.zeros(max(len(weights), len(np.atleast_2d(positive))))
    pairs = np.zeros_like(concordant)
    for above, negative in masses_by_fold(positive, score, fold, weights):
        below = np.cumsum(negative, axis=1) - negative
        concordant += (above * (below + negative / 2)).sum(1)
        pairs += above.sum(1) * negative.sum(1)
    return np.divide(concordant, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def auc_influence(
    y: np.ndarray, score: np.ndarray, fold: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """AUC, for several classes the mean over one-versus-rest comparisons, with influences.

    Parameters
    ----------
    y : ndarray (n_scans,) of int
        Classes 0, 1, ...
    score : ndarray (n_scans,) or (n_scans, n_classes)
        Evidence for class 1 of two, or for each class.
    fold : ndarray (n_scans,), optional
        Default: all scans are in the same fold.

    Returns
    -------
    float, ndarray (n_scans,)
        AUC and influences, whose mean is 0. Classes without scans, or without scans of other
        classes, are ignored; NaN and zeros if no class remains.
    """
    columns = {1: score} if score.ndim == 1 else dict(enumerate(score.T))
    fold = np.zeros(len(y)) if fold is None else fold
    parts = [_against_rest(y == c, s, fold) for c, s in columns.items()]
    parts = [(auc, psi) for auc, psi in parts if np.isfinite(auc)]
    if not parts:
        return float("nan"), np.zeros(len(y))
    return float(np.mean([a for a, _ in parts])), np.mean([psi for _, psi in parts], axis=0)


def _against_rest(
    positive: np.ndarray, score: np.ndarray, fold: np.ndarray
) -> tuple[float, np.ndarray]:
    beaten = np.zeros(len(score))  # fraction of the other class ranked correctly, ties half
    others = np.zeros(len(score))  # number of scans of the other class in the fold
    found: list[tuple[int, float]] = []  # pairs and AUC of each fold
    for f in np.unique(fold):
        rows = np.flatnonzero(fold == f)
        up, down = rows[positive[rows]], rows[~positive[rows]]
        if not len(up) or not len(down):
            continue
        ranks = np.zeros(len(score))
        ranks[rows] = rankdata(score[rows])
        beaten[up] = (ranks[up] - rankdata(score[up])) / len(down)
        beaten[down] = (len(up) - (ranks[down] - rankdata(score[down]))) / len(up)
        others[up], others[down] = len(down), len(up)
        found.append((len(up) * len(down), float(beaten[up].mean())))
    total = sum(n for n, _ in found)
    if not total:
        return float("nan"), np.zeros(len(score))
    auc = sum(n / total * value for n, value in found)
    share = np.divide(total, others * len(score), out=np.ones(len(score)), where=others > 0)
    return auc, np.where(others > 0, (beaten - auc) / share, 0.0)


def standard_error(psi: np.ndarray, who: np.ndarray) -> float:
    """Standard error of a score over participants, whose scans are dependent.

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


def interval(value: float, error: float, n: int) -> tuple[float, float]:
    """95 % interval by the normal approximation, limited to [0, 1].

    If all scans are ranked correctly, or all incorrectly, the variance is 0; then Wilson's bound
    for n of n is used, with n the number of participants in the smallest class.
    """
    low, high = max(value - LEVEL * error, 0.0), min(value + LEVEL * error, 1.0)
    if value > 1 - ROUNDING:
        low = min(low, wilson_lower(n))
    if value < ROUNDING:
        high = max(high, 1 - wilson_lower(n))
    return low, high


def wilson_lower(n: int) -> float:
    """Lower limit of Wilson's 95 % interval for n successes of n."""
    return n / (n + LEVEL**2)
