"""Agreement of regions between folds, and tests of means over folds.

Training sets of folds overlap and repeats reuse all scans, so folds are not independent samples:
similarities are overestimated and their intervals too narrow. Means over folds are corrected after
Nadeau and Bengio (2003, doi:10.1023/A:1024068626366).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
from scipy import stats

Interval = tuple[float, float, float]
NAN = float("nan")


def ranks_of(importance: np.ndarray) -> np.ndarray:
    """Rank 1 for the most important; ties in the order of the regions.

    Parameters
    ----------
    importance : ndarray (n_rois,)

    Returns
    -------
    ndarray (n_rois,) of int
    """
    ranks = np.empty(len(importance), dtype=np.int64)
    ranks[np.argsort(-importance, kind="stable")] = np.arange(1, len(importance) + 1)
    return ranks


def top_of(importance: np.ndarray, k: int) -> np.ndarray:
    """Whether regions are among the `k` most important of each fold (n_folds, n_rois).

    Parameters
    ----------
    importance : ndarray (n_folds, n_rois)

    Returns
    -------
    ndarray (n_folds, n_rois) of bool
    """
    return np.stack([ranks_of(row) <= k for row in importance])


def kuncheva(top: np.ndarray) -> Interval:
    """Agreement of the selected regions beyond chance, with a 95 % interval.

    Mean of Kuncheva's index (2007) over all pairs of folds, in the form and with the asymptotic
    variance of Nogueira, Sechidis and Brown (2018, JMLR 18:174): 1 for the same regions in every
    fold, 0 for regions drawn at random.

    Parameters
    ----------
    top : ndarray (n_folds, n_rois), bool
        The same number of regions in every row.
    """
    m, d = top.shape
    z = top.astype(np.float64)
    k = z.sum(1).mean()
    if m < 2 or not 0 < k < d:
        return NAN, NAN, NAN
    chance = (k / d) * (1 - k / d)
    p = z.mean(0)
    value = 1 - (m / (m - 1)) * float((p * (1 - p)).mean()) / chance
    each = z.sum(1)
    influence = (z @ p) / d - each * k / d**2
    influence += (value / 2) * (2 * k * each / d**2 - each / d - k / d + 1)
    influence /= chance
    spread = np.sqrt(4 / m**2 * ((influence - influence.mean()) ** 2).sum())
    reach = float(stats.norm.ppf(0.975) * spread)
    return value, max(value - reach, -1.0), min(value + reach, 1.0)


def jaccard(top: np.ndarray) -> Interval:
    """Mean over pairs of folds of intersection over union, with a jackknife 95 % interval.

    Parameters
    ----------
    top : ndarray (n_folds, n_rois), bool
    """

    def one(a: np.ndarray, b: np.ndarray) -> float:
        return float((a & b).sum() / max((a | b).sum(), 1))

    return over_pairs(top, one)


def spearman(importance: np.ndarray) -> Interval:
    """Mean rank correlation of all regions over pairs of folds, with a jackknife 95 % interval.

    Parameters
    ----------
    importance : ndarray (n_folds, n_rois)
    """
    return over_pairs(importance, rank_correlation)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation; 0 if one of the two does not vary.

    Parameters
    ----------
    a, b : ndarray (n_rois,)
    """
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(stats.spearmanr(a, b).statistic)


def over_pairs(rows: np.ndarray, similarity: Callable) -> Interval:
    """Mean similarity over pairs of rows, with a jackknife interval.

    Parameters
    ----------
    rows : ndarray (n_folds, n_rois)
    similarity : function
        Of two rows (n_rois,), at most 1.

    Returns
    -------
    tuple of three float
        Mean, lower and upper limit (95 %); NaN if there are too few rows.
    """
    m = len(rows)
    if m < 2:
        return NAN, NAN, NAN
    table = np.zeros((m, m))
    for i, j in combinations(range(m), 2):
        table[i, j] = table[j, i] = similarity(rows[i], rows[j])
    total = table.sum() / 2
    value = total / (m * (m - 1) / 2)
    if m < 4:  # leaving one of three rows out leaves only one pair
        return float(value), NAN, NAN
    left = (total - table.sum(1)) / ((m - 1) * (m - 2) / 2)
    spread = np.sqrt((m - 1) / m * ((left - left.mean()) ** 2).sum())
    reach = stats.t.ppf(0.975, m - 1) * spread
    return float(value), float(max(value - reach, -1)), float(min(value + reach, 1))


def over_folds(values: np.ndarray, n_train: float, n_test: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean over folds and its corrected standard error.

    Parameters
    ----------
    values : ndarray (n_folds, ...)

    Returns
    -------
    ndarray, ndarray (...)
        The error is NaN with a single fold.
    """
    m = len(values)
    mean = values.mean(0)
    if m < 2:
        return mean, np.full_like(mean, NAN)
    return mean, values.std(0, ddof=1) * np.sqrt(1 / m + n_test / n_train)


def mean_interval(
    values: np.ndarray, n_train: float, n_test: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over folds and its 95 % interval, corrected for overlapping training sets; see
    `over_folds`.

    Parameters
    ----------
    values : ndarray (n_folds, ...)
    n_train, n_test : float
        Mean numbers of scans per fold.

    Returns
    -------
    mean, low, high : ndarray (...)
    """
    mean, error = over_folds(values, n_train, n_test)
    reach = stats.t.ppf(0.975, max(len(values) - 1, 1)) * error
    return mean, mean - reach, mean + reach


def p_values(evidence: np.ndarray, n_train: float, n_test: float, two_sided: bool) -> np.ndarray:
    """Corrected resampled t-test that the mean over folds is above (or apart from) 0.

    Parameters
    ----------
    evidence : ndarray (n_folds, ...)
    n_train, n_test : float
        Mean numbers of scans per fold.
    two_sided : bool
        Whether the alternative is that the mean is not 0.

    Returns
    -------
    ndarray (...)
        NaN with a single fold.
    """
    mean, error = over_folds(evidence, n_train, n_test)
    if len(evidence) < 2:
        return np.full_like(mean, NAN)
    # identical values in all folds: p is 0, or 1 if the value is 0
    certain = np.where(mean == 0, 0.0, np.copysign(np.inf, mean))
    t = np.divide(mean, error, out=certain, where=error > 0)
    one = stats.t.sf(np.abs(t) if two_sided else t, len(evidence) - 1)
    return np.minimum(2 * one, 1.0) if two_sided else one


def holm(p: np.ndarray) -> np.ndarray:
    """p-values with Holm's correction (1979); NaN is preserved.

    Parameters
    ----------
    p : ndarray (n_tests,)

    Returns
    -------
    ndarray (n_tests,)
    """
    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected


def network_test(
    importance: np.ndarray, networks: np.ndarray, n_null: int, rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """Mean importance of each network, with a p-value from shuffled labels.

    Shuffling destroys the spatial order of the regions, so p-values are too small for smooth maps.

    Parameters
    ----------
    importance : ndarray (n_rois,)
    networks : ndarray (n_rois,) of str

    Returns
    -------
    dict of network to (mean, p)
        One-sided: p of a mean at least as large.
    """
    names, code = np.unique(networks, return_inverse=True)
    member = np.eye(len(names))[code] / np.bincount(code)  # (n_rois, n_networks)
    found = importance @ member
    exceed = np.zeros(len(names))
    for _ in range(n_null):
        exceed += rng.permutation(importance) @ member >= found - 1e-12
    p = (1 + exceed) / (1 + n_null)
    return {str(n): (float(f), float(q)) for n, f, q in zip(names, found, p, strict=True)}
