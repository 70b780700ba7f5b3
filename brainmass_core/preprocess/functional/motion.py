"""Head motion: register each volume to a reference by Gauss-Newton least squares.

The reference's gradient is computed once; every iteration samples the volume at the transformed
points of the reference and solves for a small rigid update (the inverse-compositional
form of the least-squares realignment of Friston 1995). Images are smoothed, so that the problem
is nearly quadratic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates, spline_filter
from scipy.spatial.transform import Rotation

from brainmass_core.preprocess.grids import FWHM

SMOOTHING = 5.0  # mm FWHM
COARSE = 14.0  # mm FWHM, for jumps that are too large for `SMOOTHING`
N_POINTS = 30000  # voxels that are used; half as many: a third less time, 15 % more error
N_REFERENCE = 20  # volumes in the reference
ITERATIONS = 30
CONVERGED = 5e-4  # mm at 50 mm from the centre
# residual, relative to the typical one, above which a volume is registered again, first coarsely
JUMP = 1.25
BORDER = 1.5  # voxels at the border of a volume that are invalid after smoothing
# minimum fraction of the points inside the volume; with fewer the estimate has failed
MIN_SEEN = 0.5


@dataclass(frozen=True)
class Reference:
    """Reference for the registration of volumes.

    Attributes
    ----------
    points : ndarray (n_points, 3)
        mm.
    values : ndarray (n_points,)
        Smoothed intensity.
    jacobian : ndarray (n_points, 6)
        Derivative of intensity with respect to rigid motion about `centre`, per mm and rad.
    solver : ndarray (6, n_points)
        Its pseudo-inverse.
    centre : ndarray (3,)
        mm.
    sigma : ndarray (3,)
        Smoothing in voxels.
    to_voxel : ndarray (4, 4)
        mm to voxels.
    """

    points: np.ndarray
    values: np.ndarray
    jacobian: np.ndarray
    solver: np.ndarray
    centre: np.ndarray
    sigma: np.ndarray
    to_voxel: np.ndarray


def estimate_motion(data: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rigid motion of every volume, and the reference volume.

    Parameters
    ----------
    data : ndarray (x, y, z, n_volumes)
        Finite.
    affine : ndarray (4, 4)
        Voxel to mm.

    Returns
    -------
    motion : ndarray (n_volumes, 4, 4)
        Reference to volume t, mm.
    boldref : ndarray (x, y, z) of float32
    """
    boldref = reference_volume(data, affine)
    return motion_to_reference(data, affine, boldref), boldref


def reference_volume(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Median of some volumes at the most frequent head position.

    They are aligned with the volume in the middle of the run; because the head may have jumped
    there, the median is computed at the position of the volume with the smallest distance to the
    others.

    Parameters
    ----------
    data : ndarray (x, y, z, n_volumes)
        Finite.
    affine : ndarray (4, 4)
        Voxel to mm.

    Returns
    -------
    ndarray (x, y, z) of float32
    """
    n_volumes = data.shape[3]
    some = np.unique(np.linspace(0, n_volumes - 1, min(N_REFERENCE, n_volumes)).astype(int))
    motion = _align_to(data, affine, data[..., n_volumes // 2], some)
    motion = motion @ np.linalg.inv(motion[_most_central(motion, affine, data.shape[:3])])
    aligned = [resample_volume(data[..., t], affine, m) for t, m in zip(some, motion, strict=True)]
    planes = [np.median([a[i] for a in aligned], axis=0) for i in range(data.shape[0])]
    return np.array(planes, dtype=np.float32)


def _most_central(motion: np.ndarray, affine: np.ndarray, shape: tuple[int, ...]) -> int:
    """Index of the transform (n, 4, 4) with the smallest sum of distances to all others."""
    ends = np.array(np.meshgrid(*[(0.25 * n, 0.75 * n) for n in shape])).reshape(3, -1).T
    places = np.array([apply_affine(m, apply_affine(affine, ends)) for m in motion])
    distance = np.linalg.norm(places[:, None] - places[None], axis=3).mean(axis=2)
    return int(distance.sum(axis=1).argmin())


def motion_to_reference(data: np.ndarray, affine: np.ndarray, boldref: np.ndarray) -> np.ndarray:
    """Rigid motion of every volume from a reference volume.

    Parameters
    ----------
    data : ndarray (x, y, z, n_volumes)
        Finite; never copied completely.
    affine : ndarray (4, 4)
        Voxel to mm, of both.
    boldref : ndarray (x, y, z)

    Returns
    -------
    ndarray (n_volumes, 4, 4)
        Reference to volume t, mm.
    """
    return _align_to(data, affine, boldref, np.arange(data.shape[3]))


def _align_to(
    data: np.ndarray, affine: np.ndarray, volume: np.ndarray, which: np.ndarray
) -> np.ndarray:
    fine, coarse = make_reference(volume, affine), make_reference(volume, affine, COARSE)
    return align(data, fine, coarse, which)


def make_reference(
    volume: np.ndarray, affine: np.ndarray, fwhm: float = SMOOTHING, n_points: int = N_POINTS
) -> Reference:
    """Choose points inside the head and prepare the least-squares problem there.

    Parameters
    ----------
    volume : ndarray (x, y, z)
    affine : ndarray (4, 4)
        Voxel to mm.
    fwhm : float
        Gaussian smoothing, mm.
    n_points : int
        Approximate number of voxels that are used.
    """
    sigma = fwhm / FWHM / voxel_sizes(affine)
    smooth = gaussian_filter(volume.astype(np.float32), sigma, mode="nearest")
    chosen = _points_in_head(smooth, n_points)
    gradient = np.stack([g[chosen] for g in np.gradient(smooth)], axis=1)
    gradient = gradient @ np.linalg.inv(affine[:3, :3])  # per voxel to per mm
    points = apply_affine(affine, np.argwhere(chosen))
    centre = points.mean(axis=0)
    jacobian = np.concatenate([gradient, np.cross(points - centre, gradient)], axis=1)
    return Reference(
        points=points,
        values=smooth[chosen].astype(np.float64),
        jacobian=jacobian,
        solver=np.linalg.pinv(jacobian),
        centre=centre,
        sigma=sigma,
        to_voxel=np.linalg.inv(affine),
    )


def _points_in_head(smooth: np.ndarray, n_points: int) -> np.ndarray:
    """A mask (x, y, z) of about `n_points` voxels, deterministic."""
    inside = smooth > 0.2 * np.percentile(smooth, 98)
    edge = np.zeros(smooth.shape, dtype=bool)
    # exclude the border of the image, where a moving head leaves the field of view
    edge[tuple(slice(2, -2) if n > 12 else slice(None) for n in smooth.shape)] = True
    inside &= edge
    candidates = np.flatnonzero(inside)
    if len(candidates) > n_points:
        rng = np.random.default_rng(0)
        candidates = rng.choice(candidates, n_points, replace=False)
    chosen = np.zeros(smooth.size, dtype=bool)
    chosen[candidates] = True
    return chosen.reshape(smooth.shape)


def align(data: np.ndarray, fine: Reference, coarse: Reference, which: np.ndarray) -> np.ndarray:
    """Motion of some volumes of a run.

    Each volume starts from the previous one. Volumes with an unusually poor fit are registered
    again from several starts, first on coarser images, and the best fit is used.

    Parameters
    ----------
    data : ndarray (x, y, z, n_volumes)
    fine, coarse : Reference
        References with little and strong smoothing.
    which : ndarray (n,) of int
        Indices of the volumes.

    Returns
    -------
    ndarray (n, 4, 4)
        Reference to volume, mm.
    """
    motion = np.empty((len(which), 4, 4))
    residual = np.empty(len(which))
    start = np.eye(4)
    for i, t in enumerate(which):
        motion[i], residual[i] = _fit(_smoothed(data[..., t], fine), fine, start)
        start = motion[i]
    # the lower quartile, because most volumes may have failed after a jump
    usual = np.percentile(residual, 25)
    for i in np.flatnonzero(~(residual <= JUMP * usual)).tolist():
        blurred = _smoothed(data[..., which[i]], coarse)
        sharp = _smoothed(data[..., which[i]], fine)
        near = [np.eye(4), *(motion[n] for n in (i - 1, i + 1) if 0 <= n < len(motion))]
        for guess in near:
            rough, _ = _fit(blurred, coarse, guess)
            found, rest = _fit(sharp, fine, rough)
            if rest < residual[i]:
                motion[i], residual[i] = found, rest
    return motion


def _smoothed(volume: np.ndarray, reference: Reference) -> np.ndarray:
    """Spline coefficients of the smoothed volume."""
    smooth = gaussian_filter(volume.astype(np.float32), reference.sigma, mode="nearest")
    return spline_filter(smooth, order=3, output=np.float32, mode="mirror")


def _fit(
    coefficients: np.ndarray, reference: Reference, start: np.ndarray
) -> tuple[np.ndarray, float]:
    """Least-squares motion (4, 4) from `start`, and the residual relative to the intensity.

    If the head left the volume, the residual is infinite and the motion is `start`.
    """
    motion, residual = start, np.inf
    size = np.array(coefficients.shape)[:, None]
    margin = np.where(size > 12, BORDER, 0)
    for _ in range(ITERATIONS):
        voxels = apply_affine(reference.to_voxel @ motion, reference.points).T
        seen = ((voxels >= margin) & (voxels <= size - 1 - margin)).all(axis=0)
        if seen.mean() < MIN_SEEN:
            return start, np.inf
        values = map_coordinates(
            coefficients, voxels, order=3, prefilter=False, mode="nearest", output=np.float64
        )
        values, target = values[seen], reference.values[seen]
        # remove the scanner's gain
        gain = (values @ target) / max(values @ values, 1e-12)
        difference = gain * values - target
        residual = float(np.sqrt(np.mean(difference**2) / np.mean(target**2)))
        step = _step(reference, seen, difference)
        motion = motion @ np.linalg.inv(_small_motion(step, reference.centre))
        if np.abs(step[:3]).max() + 50 * np.abs(step[3:]).max() < CONVERGED:
            break
    return motion, residual


def _step(reference: Reference, seen: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """Small motion (6,), mm and rad, that explains differences at the points inside the volume."""
    if seen.all():
        return reference.solver @ difference
    jacobian = reference.jacobian[seen]
    return np.linalg.lstsq(jacobian.T @ jacobian, jacobian.T @ difference, rcond=None)[0]


def _small_motion(step: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Rigid motion (4, 4) of a translation (mm) and a rotation vector (rad) about `centre`."""
    moved = np.eye(4)
    moved[:3, :3] = Rotation.from_rotvec(step[3:]).as_matrix()
    moved[:3, 3] = step[:3] + centre - moved[:3, :3] @ centre
    return moved


def resample_volume(volume: np.ndarray, affine: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Resample a volume (x, y, z) to the position of the reference, cubic, float32.

    Parameters
    ----------
    volume : ndarray (x, y, z)
    affine : ndarray (4, 4)
        Voxel to mm.
    motion : ndarray (4, 4)
        Reference to this volume, mm.

    Returns
    -------
    ndarray (x, y, z) of float32
    """
    pull = np.linalg.inv(affine) @ motion @ affine
    data = np.asarray(volume, dtype=np.float32)
    return affine_transform(data, pull[:3, :3], pull[:3, 3], order=3, mode="nearest")


def realigned_series(
    data: np.ndarray, affine: np.ndarray, motion: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """Realigned series of the voxels in a mask of the reference, by cubic interpolation.

    Parameters
    ----------
    data : ndarray (x, y, z, n_volumes)
    affine : ndarray (4, 4)
        Voxel to mm.
    motion : ndarray (n_volumes, 4, 4)
        Reference to volume t, mm.
    mask : ndarray (x, y, z) of bool

    Returns
    -------
    ndarray (n_volumes, n_voxels) of float32
        Voxels in C order.
    """
    points = apply_affine(affine, np.argwhere(mask))
    to_voxel = np.linalg.inv(affine)
    series = np.empty((data.shape[3], len(points)), dtype=np.float32)
    for t in range(data.shape[3]):
        coefficients = spline_filter(data[..., t], order=3, output=np.float32, mode="mirror")
        voxels = apply_affine(to_voxel @ motion[t], points).T
        series[t] = map_coordinates(coefficients, voxels, order=3, prefilter=False, mode="mirror")
    return series
