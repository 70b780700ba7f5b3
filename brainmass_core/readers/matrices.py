"""Recognise files that are mistaken for series: matrices, other tables, columns that count rows."""

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
MANY = 5  # regions: with fewer, a diagonal or two halves may be equal by chance
ALIKE = 0.95  # correlation of the two halves
RAMP = 8  # rows: fewer numbers may be evenly spaced by chance
CODES = tuple(float(1 - 10**n) for n in range(3, 8))  # -999, -9999 ... of missing values
HELD = 3  # equal rows: fewer may be equal if values are rounded
HUGE, TIMES = 1e10, 1e6  # 1e20 and similar, of missing values; so many times the usual value


def other_than_series(stem: str) -> str | None:
    """Content of a file according to its name, if that is not a series.

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
    """Kind of a square array that cannot be a series; None if it may be a series.

    Parameters
    ----------
    values : ndarray (n, m)
        It may contain missing values, and infinite ones as of a Fisher transform.
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
    """Find what no region has: a column that counts the rows, codes such as -9999, padding, copies.

    Parameters
    ----------
    values : ndarray of float (n_timepoints, n_rois)

    Returns
    -------
    str or None
        What was found, and the remedy.
    """
    if values.shape[0] >= RAMP and values.shape[1] > 1:
        for which, edge, beside in (("first", 0, 1), ("last", -1, -2)):
            if _counts(values[:, edge]) and not _counts(values[:, beside]):
                shown = ", ".join(f"{v:g}" for v in values[:3, edge])
                return (
                    f"the {which} column counts the rows ({shown}, ...), so it is no region; "
                    "remove it, or, if it is the first of a text, call it `index` in a header"
                )
    return _code_among(values[np.isfinite(values)]) or _repetition(values)


def _code_among(known: np.ndarray) -> str | None:
    """A code of missing values: -999, 9999, 1e20."""
    if not known.size:
        return None
    size = np.abs(known)
    largest = size.max()
    others = size[size < largest]
    found = known[size == largest]
    code = -largest in CODES and others.max(initial=0.0) < largest / 2
    huge = largest >= HUGE and others.size and largest > TIMES * np.median(others)
    if not code and not huge:
        return None
    return (
        f"found {found[0]:g} in {found.size} cells, far from all others, as codes of missing "
        "values are; write n/a (nan) where a value is missing"
    )


def _repetition(values: np.ndarray) -> str | None:
    """Find rows of padding, a series that is repeated, one region in two columns."""
    n, n_rois = values.shape
    if n < 2 or n_rois < 2 or not np.ptp(values, axis=0).any():  # constant: reported elsewhere
        return None
    zero = ~np.nan_to_num(values).any(axis=1) & np.isfinite(values).any(axis=1)
    if zero.sum() > 1:
        first = int(np.argmax(zero)) + 1
        return (
            f"{int(zero.sum())} rows, from row {first} on, are 0 in all regions, as those are that "
            "fill up or replace volumes; leave them out, or write n/a (nan)"
        )
    same = (np.diff(values, axis=0) == 0).all(axis=1).astype(int)
    held = np.convolve(same, np.ones(HELD - 1, dtype=int), "valid") == HELD - 1
    if held.any() and n_rois > MANY:
        return (
            f"row {int(np.argmax(held)) + 1} is followed by {HELD - 1} rows that are the same in "
            "all regions, as those are that fill up volumes; leave them out"
        )
    if n % 2 == 0 and n > 2 and np.array_equal(values[: n // 2], values[n // 2 :]):
        return "its second half repeats the first, as if it was written twice; remove one half"
    moving = np.flatnonzero(np.isfinite(values).all(axis=0) & (np.ptp(values, axis=0) != 0))
    columns: dict[bytes, int] = {}
    for i in moving if n > MANY else ():
        other = columns.setdefault(values[:, i].tobytes(), int(i))
        if other != i:
            return (
                f"columns {other + 1} and {int(i) + 1} contain the same "
                "values, so one of them is not "
                "a separate region; correct the file, or the pipeline that wrote it"
            )
    return None


def _counts(column: np.ndarray) -> bool:
    steps = np.diff(column)
    return bool(steps[0] and np.allclose(steps, steps[0], rtol=1e-6, atol=0))
