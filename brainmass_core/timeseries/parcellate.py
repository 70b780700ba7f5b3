"""Parcel means and coverage."""

from __future__ import annotations

import numpy as np


def parcel_means(values: np.ndarray, parcels: np.ndarray, n_rois: int) -> np.ndarray:
    """Mean over the voxels of every parcel.

    Parameters
    ----------
    values : ndarray (n_voxels, ...)
    parcels : ndarray (n_voxels,) of int
        Parcel of each voxel from 0; negative: none.

    Returns
    -------
    ndarray (n_rois, ...)
        NaN where a parcel has no voxel.
    """
    inside = parcels >= 0
    parcels, values = parcels[inside], values[inside]
    counts = np.bincount(parcels, minlength=n_rois).astype(float)
    flat = values.reshape(len(values), -1)
    sums = np.stack([np.bincount(parcels, v, minlength=n_rois) for v in flat.T], axis=-1)
    with np.errstate(invalid="ignore"):
        return (sums / counts[:, None]).reshape(n_rois, *values.shape[1:])


def coverage(covered: np.ndarray, parcels: np.ndarray, n_rois: int) -> np.ndarray:
    """Covered fraction of every parcel.

    Parameters
    ----------
    covered : ndarray (n_voxels,) of bool
    parcels : ndarray (n_voxels,) of int
        Parcel of each voxel from 0; negative: none.

    Returns
    -------
    ndarray (n_rois,)
        0 for a parcel without voxels.
    """
    share = parcel_means(covered.astype(float), parcels, n_rois)
    return np.nan_to_num(share, nan=0.0)


def parcel_rows(labels: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Convert label values to rows of the atlas's table.

    Parameters
    ----------
    labels : ndarray (...) of int
        Values of the label image, 0 outside.
    index : ndarray (n_rois,)
        Value of each parcel, ascending.

    Returns
    -------
    ndarray (...) of int
        Row from 0; -1 outside.
    """
    row = np.searchsorted(index, labels)
    row = np.minimum(row, len(index) - 1)
    return np.where(index[row] == labels, row, -1)


def empty_rois(series: np.ndarray) -> np.ndarray:
    """Find parcels without signal: constant, or with a value that is not finite.

    Parameters
    ----------
    series : ndarray (n_timepoints, n_rois)

    Returns
    -------
    ndarray (n_rois,) of bool
        A range of up to 1e-7 of the largest value counts as constant: float32 rounds as much.
    """
    finite = np.isfinite(series).all(axis=0)
    low, high = series.min(axis=0), series.max(axis=0)
    scale = np.maximum(np.abs(low), np.abs(high))
    with np.errstate(invalid="ignore"):
        varies = (high - low) > 1e-7 * scale  # larger than float32 rounding
    return ~(finite & varies)
