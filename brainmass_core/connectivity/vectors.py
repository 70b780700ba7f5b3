"""FC matrices as vectors: the upper triangle without the diagonal, in row-major order."""

from __future__ import annotations

import numpy as np


def vectorise(fc: np.ndarray) -> np.ndarray:
    """The upper triangle of symmetric matrices, row-major, without the diagonal.

    Parameters
    ----------
    fc : ndarray (..., n_rois, n_rois)
        Only the upper triangle is read; symmetry is not checked.

    Returns
    -------
    ndarray (..., n_rois * (n_rois - 1) / 2)
        With the dtype of `fc`.

    Raises
    ------
    ValueError
        If the last two dimensions differ in length.
    """
    fc = np.asarray(fc)
    if fc.ndim < 2 or fc.shape[-1] != fc.shape[-2]:
        raise ValueError(f"found an array of shape {fc.shape}, expected (..., n_rois, n_rois)")
    rows, columns = np.triu_indices(fc.shape[-1], k=1)
    return fc[..., rows, columns]


def unvectorise(vector: np.ndarray, diagonal: float = 1.0) -> np.ndarray:
    """Inverse of `vectorise`.

    Parameters
    ----------
    vector : ndarray (..., n_edges)
    diagonal : float
        Value on the diagonal.

    Returns
    -------
    ndarray (..., n_rois, n_rois)
        Symmetric, with the dtype of `vector`.

    Raises
    ------
    ValueError
        If no number of ROIs has this number of edges.
    """
    vector = np.asarray(vector)
    n_rois = n_rois_of(vector.shape[-1])
    rows, columns = np.triu_indices(n_rois, k=1)
    fc = np.full((*vector.shape[:-1], n_rois, n_rois), diagonal, dtype=vector.dtype)
    fc[..., rows, columns] = vector
    fc[..., columns, rows] = vector
    return fc


def n_rois_of(n_edges: int) -> int:
    """Number of ROIs whose upper triangle has `n_edges` entries.

    Raises
    ------
    ValueError
        If there is no such number.
    """
    n_rois = round((1 + np.sqrt(1 + 8 * n_edges)) / 2)
    if n_rois * (n_rois - 1) // 2 != n_edges or n_edges == 0:
        raise ValueError(
            f"found {n_edges} edges, which is not an upper triangle: expected n (n - 1) / 2, such "
            "as 4950 for 100 ROIs"
        )
    return n_rois
