"""What is easily taken for a series: matrices between regions, tables of other things, counters."""

from __future__ import annotations

import re

import numpy as np

# the last part of a BIDS-like name, without its suffix
MATRIX = re.compile(
    r"(^|[_-])(relmat|conmat|connmat|corrmat|corrmatrix|adjacency|matrix)$", re.IGNORECASE
)
OTHER = re.compile(
    r"(^|_)(desc-confounds_timeseries|confounds|regressors|motion|outliers|design|events|physio|"
    r"stim|channels|scans|sessions|participants|coverage|stat-coverage_[a-z]+|dseg)$",
    re.IGNORECASE,
)
MANY = 5  # regions: in fewer a diagonal or two halves may be alike by chance
ALIKE = 0.95  # correlation of the two halves
RAMP = 8  # rows: fewer numbers may count by chance
CODES = tuple(float(1 - 10**n) for n in range(3, 8))  # -999, -9999 ... of missing values


def other_than_series(stem: str) -> str | None:
    """What a file holds by its name, if that is no series.

    Parameters
    ----------
    stem : str
        Name without its suffix.
    """
    if MATRIX.search(stem):
        return "a matrix between regions"
    if OTHER.search(stem):
        return "a table of something else than regions"
    return None


def matrix_kind(values: np.ndarray) -> str | None:
    """What a square array is that no series looks like; None if it may be a series.

    Parameters
    ----------
    values : ndarray (n, m)
        Missing values, and infinite ones as of a Fisher transform, may be anywhere in it.
    """
    n = len(values)
    if n < 2 or values.shape != (n, n):
        return None
    values = np.asarray(values, dtype=np.float64)
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    scale = np.abs(known).max()
    diagonal = np.diag(values)
    upper, lower = values[np.triu_indices(n, 1)], values.T[np.triu_indices(n, 1)]
    if np.allclose(values, values.T, rtol=1e-5, atol=1e-6 * scale, equal_nan=True):
        if np.allclose(diagonal, 1.0, atol=1e-4) and scale <= 1 + 1e-4:
            return "a correlation matrix"
        # two timepoints of two regions may agree in one number by chance
        return "a symmetric matrix (correlation, covariance or the like)" if n > 2 else None
    for half in (np.tril(values, -1), np.triu(values, 1)):
        if n > 2 and not np.nan_to_num(half).any():
            return "a triangular matrix, half of a symmetric one,"
    if n > MANY and np.isfinite(values).all():
        if np.ptp(diagonal) <= 1e-6 * scale:
            return "a matrix with one value along its diagonal"
        if np.ptp(upper) and np.ptp(lower) and np.corrcoef(upper, lower)[0, 1] > ALIKE:
            return "a nearly symmetric matrix"
    return None


def strange_values(values: np.ndarray) -> str | None:
    """What no region has: a column that counts the rows, or a code such as -9999.

    Parameters
    ----------
    values : ndarray of float (n_timepoints, n_rois)

    Returns
    -------
    str or None
        What was found, and what to do.
    """
    if values.shape[0] >= RAMP and values.shape[1] > 1:
        for which, edge, beside in (("first", 0, 1), ("last", -1, -2)):
            if _counts(values[:, edge]) and not _counts(values[:, beside]):
                shown = ", ".join(f"{v:g}" for v in values[:3, edge])
                return (
                    f"the {which} column counts the rows ({shown}, ...), so it is no region; "
                    "remove it, or, if it is the first of a text, call it `index` in a header"
                )
    known = values[np.isfinite(values)]
    low = known.min() if known.size else 0.0
    if low in CODES and known.min(where=known != low, initial=0.0) > low / 2:
        return (
            f"found {low:g} in {int((known == low).sum())} cells, far below all others, as codes "
            "of missing values are; write n/a (nan) where a value is missing"
        )
    return None


def _counts(column: np.ndarray) -> bool:
    steps = np.diff(column)
    return bool(steps[0] and np.allclose(steps, steps[0], rtol=1e-6, atol=0))
