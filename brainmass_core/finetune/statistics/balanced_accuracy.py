"""Balanced accuracy with the influence of each test scan, as in `auc.auc_influence`."""

from __future__ import annotations

import numpy as np


def balanced_accuracy_influence(y: np.ndarray, predicted: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean recall over classes, and influences (n_scans,) with mean 0.

    Parameters
    ----------
    y, predicted : ndarray (n_scans,)

    Returns
    -------
    value : float
    influence : ndarray (n_scans,)
    """
    classes = np.unique(y)
    right = (y == predicted).astype(float)
    recalls = np.array([right[y == c].mean() for c in classes])
    index = np.searchsorted(classes, y)
    share = np.bincount(index)[index] / len(y)
    return float(recalls.mean()), (right - recalls[index]) / share / len(classes)


def smallest_class(y: np.ndarray, who: np.ndarray) -> int:
    """Number of participants in the smallest class; the first scan determines the class.

    Parameters
    ----------
    y, who : ndarray (n_scans,)
        Class and participant of each scan.
    """
    first = np.unique(who, return_index=True)[1]
    return int(np.unique(y[first], return_counts=True)[1].min())
