"""Reorder a run to RAS, independent of the axes in its file.

Every step then uses the same voxels in the same order, so results do not depend on how a converter
stored them (C-PAC also reorients its inputs).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

RAS = np.array([[0, 1], [1, 1], [2, 1]])  # nibabel's orientation for RAS


def orientation_of(affine: np.ndarray) -> np.ndarray:
    """Orientation of the axes of a file.

    Parameters
    ----------
    affine : ndarray (4, 4)
        Voxel to mm, RAS.

    Returns
    -------
    ndarray (3, 2)
        nibabel's orientation: axis in RAS order, and 1, or -1 if it is flipped.
    """
    return np.asarray(io_orientation(affine))


def in_ras(data: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """A view of data (x, y, z, ...) with its first three axes in RAS order.

    Parameters
    ----------
    data : ndarray (x, y, z, ...)
    orientation : ndarray (3, 2)
        See `orientation_of`.

    Returns
    -------
    ndarray (x, y, z, ...)
    """
    return np.asarray(apply_orientation(data, orientation))


def affine_in_ras(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The affine (4, 4) after reordering an image of `shape` (x, y, z, ...) to RAS.

    Parameters
    ----------
    affine : ndarray (4, 4)
        Voxel to mm.

    Returns
    -------
    ndarray (4, 4)
    """
    return np.asarray(affine @ inv_ornt_aff(orientation_of(affine), shape[:3]))


def shape_in_ras(shape: tuple[int, ...], orientation: np.ndarray) -> tuple[int, ...]:
    """The shape (x, y, z, ...) after reordering to RAS.

    Parameters
    ----------
    orientation : ndarray (3, 2)
        See `orientation_of`.
    """
    order = np.argsort(orientation[:, 0])
    return (*(shape[i] for i in order), *shape[3:])


def scan_in_ras(scan: dict[str, Any], orientation: np.ndarray) -> dict[str, Any]:
    """Convert directions in a row of the scans table to the RAS order of the run.

    Parameters
    ----------
    scan : dict
        With ``slice_axis``, ``slice_timing`` and ``phase_encoding``, which refer to the axes of the
        file.
    orientation : ndarray (3, 2)
        See `orientation_of`.
    """
    axis = 2 if scan["slice_axis"] is None else scan["slice_axis"]
    times, direction = scan["slice_timing"], scan.get("phase_encoding")
    to, sign = orientation[axis]
    if times is not None and sign < 0:
        times = times[::-1]
    if direction:
        along, turned = orientation["ijk".index(direction[0])]
        backwards = bool(direction.endswith("-") != (turned < 0))
        direction = "ijk"[int(along)] + "-" * backwards
    return scan | {"slice_axis": int(to), "slice_timing": times, "phase_encoding": direction}
