"""What is easily taken for a series: matrices between regions, and tables of other things."""

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
    if np.allclose(values, values.T, rtol=1e-5, atol=1e-6 * scale, equal_nan=True):
        if np.allclose(diagonal, 1.0, atol=1e-4) and scale <= 1 + 1e-4:
            return "a correlation matrix"
        # two timepoints of two regions may agree in one number by chance
        return "a symmetric matrix (correlation, covariance or the like)" if n > 2 else None
    for half in (np.tril(values, -1), np.triu(values, 1)):
        if n > 2 and not np.nan_to_num(half).any():
            return "a triangular matrix, half of a symmetric one,"
    return None
