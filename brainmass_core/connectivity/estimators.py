"""Estimators of functional connectivity (FC): from parcel series to matrices."""

from __future__ import annotations

from typing import Literal

import numpy as np

from brainmass_core.timeseries.joining import standardise


def pearson(x: np.ndarray) -> np.ndarray:
    """Pearson correlation between all ROIs.

    Parameters
    ----------
    x : ndarray (..., n_timepoints, n_rois)

    Returns
    -------
    ndarray (..., n_rois, n_rois)
        In [-1, 1], symmetric, diagonal 1. A constant ROI correlates 0 with every other.

    Raises
    ------
    ValueError
        If `x` has fewer than two timepoints or a value that is not finite.
    """
    z = standardise(_checked(x))
    r = np.clip(np.swapaxes(z, -1, -2) @ z / z.shape[-2], -1.0, 1.0)
    return _with_unit_diagonal(r)


def ledoit_wolf(x: np.ndarray) -> np.ndarray:
    """Correlation from the Ledoit-Wolf covariance of the z-scored series.

    This is what nilearn's ``ConnectivityMeasure(kind="correlation")`` gives by default. With z the
    z-scores, S = z'z/n, p ROIs, n timepoints, m = tr(S)/p, the shrinkage is s = min(b, d)/d with
    d = ||S||²/p - m² and b = (mean over time of ||z_t||⁴ - ||S||²)/(n p) (Ledoit & Wolf 2004,
    doi:10.1016/S0047-259X(03)00096-4).

    Parameters
    ----------
    x : ndarray (..., n_timepoints, n_rois)

    Returns
    -------
    ndarray (..., n_rois, n_rois)
        Symmetric, diagonal 1. A constant ROI correlates 0 with every other.

    Raises
    ------
    ValueError
        If `x` has fewer than two timepoints or a value that is not finite.
    """
    z = standardise(_checked(x))
    n, p = z.shape[-2:]
    s = np.swapaxes(z, -1, -2) @ z / n
    norm = np.sum(s**2, axis=(-2, -1))
    mean = np.trace(s, axis1=-2, axis2=-1) / p
    delta = norm / p - mean**2
    beta = (np.mean(np.sum(z**2, axis=-1) ** 2, axis=-1) - norm) / (n * p)
    beta = np.clip(beta, 0.0, np.maximum(delta, 0.0))
    shrinkage = np.where(delta > 0, beta / np.where(delta > 0, delta, 1.0), 0.0)
    # all non-constant ROIs have the same shrunk variance, so one factor converts S to correlations
    variance = (1 - shrinkage) + shrinkage * mean
    scale = np.where(variance > 0, (1 - shrinkage) / np.where(variance > 0, variance, 1.0), 0.0)
    return _with_unit_diagonal(np.clip(scale[..., None, None] * s, -1.0, 1.0))


ESTIMATORS = {"pearson": pearson, "ledoit_wolf": ledoit_wolf}


def functional_connectivity(
    series: np.ndarray, estimator: Literal["pearson", "ledoit_wolf"] = "pearson"
) -> np.ndarray:
    """Functional connectivity of parcel series.

    Parameters
    ----------
    series : ndarray (..., n_timepoints, n_rois)
    estimator : {"pearson", "ledoit_wolf"}
        See the functions of these names.

    Returns
    -------
    ndarray (..., n_rois, n_rois)
        In [-1, 1], symmetric, diagonal 1. A constant ROI correlates 0 with every other.

    Raises
    ------
    ValueError
        If there is no such estimator, or `series` has fewer than two timepoints or a value that is
        not finite.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"found estimator {estimator!r}, expected one of {sorted(ESTIMATORS)}")
    return ESTIMATORS[estimator](series)


def _checked(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim < 2 or x.shape[-2] < 2:
        raise ValueError(
            f"found a series of shape {x.shape}, expected (..., n_timepoints >= 2, n_rois)"
        )
    if not np.isfinite(x).all():
        bad = np.flatnonzero(~np.isfinite(x).all(axis=tuple(range(x.ndim - 1))))
        raise ValueError(f"found values that are not finite in ROIs {bad.tolist()} (from 0)")
    return x


def _with_unit_diagonal(r: np.ndarray) -> np.ndarray:
    index = np.arange(r.shape[-1])
    r[..., index, index] = 1.0
    return r
