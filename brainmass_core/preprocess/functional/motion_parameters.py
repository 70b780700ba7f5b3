"""Parameters of rigid motion, and the displacement between successive volumes."""

from __future__ import annotations

import numpy as np
from nibabel.affines import apply_affine
from scipy.spatial.transform import Rotation


def motion_parameters(motion: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Translations in mm and rotations in rad about x, y, z through `centre`.

    Parameters
    ----------
    motion : ndarray (n_volumes, 4, 4)
        Reference to volume t, mm to mm.
    centre : ndarray (3,)
        mm; the translation is that of this point.

    Returns
    -------
    ndarray (n_volumes, 6)
        trans_x, trans_y, trans_z, rot_x, rot_y, rot_z.
    """
    shift = np.array([apply_affine(m, centre) - centre for m in motion])
    return np.hstack([shift, Rotation.from_matrix(motion[:, :3, :3]).as_euler("xyz")])


def framewise_displacement(parameters: np.ndarray, radius: float = 50.0) -> np.ndarray:
    """Framewise displacement of Power 2012.

    Parameters
    ----------
    parameters : ndarray (n_volumes, 6)
        Result of `motion_parameters`.
    radius : float
        Radius of the sphere on which rotations are measured, mm.

    Returns
    -------
    ndarray (n_volumes,)
        mm; NaN for the first volume.
    """
    steps = np.abs(np.diff(parameters, axis=0))
    fd = steps[:, :3].sum(axis=1) + radius * steps[:, 3:].sum(axis=1)
    return np.concatenate([[np.nan], fd])


def rms_displacement(motion: np.ndarray, centre: np.ndarray, radius: float = 80.0) -> np.ndarray:
    """Root-mean-square displacement inside a sphere between successive volumes (Jenkinson 1999).

    Parameters
    ----------
    motion : ndarray (n_volumes, 4, 4)
        Reference to volume t, mm to mm.
    centre : ndarray (3,)
        Centre of the sphere, mm.
    radius : float
        mm.

    Returns
    -------
    ndarray (n_volumes,)
        mm; NaN for the first volume.
    """
    change = motion[1:] @ np.linalg.inv(motion[:-1]) - np.eye(4)
    matrix = change[:, :3, :3]
    shift = change[:, :3, 3] + matrix @ centre
    spread = np.trace(np.swapaxes(matrix, 1, 2) @ matrix, axis1=1, axis2=2)
    rms = np.sqrt(radius**2 / 5 * spread + (shift**2).sum(axis=1))
    return np.concatenate([[np.nan], rms])
