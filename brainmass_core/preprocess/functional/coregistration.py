"""T1w to BOLD: a rigid registration by mutual information, refined at the white-matter boundary.

T1w and BOLD may be in any relative position, and the BOLD may cover only part of the brain. So
mutual information is first evaluated at many poses, from the centres of the brains and from the
headers, and optimised from the best. The refinement maximises the contrast of the BOLD reference
across the white-matter surface of the T1w (Greve & Fischl 2009). It is accepted only if it improves
the cost and stays close, because a boundary can also match the wrong fold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from nibabel.affines import apply_affine
from scipy.ndimage import binary_dilation, map_coordinates
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.functional.boundary import (
    FARTHEST,
    Boundary,
    boundary_cost,
    moved_about,
    refine,
    white_boundary,
)
from brainmass_core.preprocess.grids import Volume, to_isotropic
from brainmass_core.preprocess.transforms import Distortion

COARSE, FINE = 8.0, 4.0  # mm between the points at which images are sampled for mutual information
N_BINS = 32
TILTS = (-30, -15, 0, 15, 30), (-15, 0, 15), (-15, 0, 15)  # degrees about x, y, z
SHIFTS = (0,), (-15, 0, 15), (-30, -15, 0, 15, 30)  # mm; slabs are usually cut along z
N_STARTS = 4
DISTINCT = 8.0  # mm, minimum distance between starts


@dataclass(frozen=True)
class Coregistered:
    """Outcome of the coregistration.

    Attributes
    ----------
    t1w_to_boldref : ndarray (4, 4)
        mm to mm.
    cost : float
        Boundary cost, 0 (perfect) to 2; 1 means no contrast.
    method : str
        ``boundary``, or ``mutual information`` if the boundary did not improve it.
    """

    t1w_to_boldref: np.ndarray
    cost: float
    method: str

    @property
    def refined(self) -> bool:
        """Whether the result of the boundary was used."""
        return self.method == "boundary"


def coregister(
    boldref: Volume,
    epi_mask: np.ndarray,
    t1w: Volume,
    tissue: np.ndarray,
    distortion: Distortion | None = None,
    start: np.ndarray | None = None,
) -> Coregistered:
    """Find the rigid transform from T1w to BOLD.

    Parameters
    ----------
    boldref : Volume (x, y, z)
    epi_mask : ndarray (x, y, z) of bool
        Brain of `boldref`.
    t1w : Volume (x, y, z)
    tissue : ndarray (x, y, z) of int
        Labels of `segmentation`, 0 outside the brain; on the grid of `t1w`.
    distortion : Distortion, optional
        Distortion of `boldref`. The result then leads to the undistorted reference.
    start : ndarray (4, 4), optional
        A transform close to the result, such as the one before distortion correction; the search by
        mutual information is then skipped.
    """
    boundary = white_boundary(t1w, tissue)
    starts = [start] if start is not None else _by_information(boldref, epi_mask, t1w, tissue)
    found = [_decided(boldref, boundary, s, distortion) for s in starts]
    return min(found, key=lambda c: c.cost)


def _decided(
    boldref: Volume, boundary: Boundary, start: np.ndarray, distortion: Distortion | None
) -> Coregistered:
    """Refine `start` at the boundary, if this is valid."""
    if not len(boundary.inner):
        return Coregistered(start, 1.0, "mutual information")
    before = boundary_cost(boldref, boundary, start, distortion)
    refined = refine(boldref, boundary, start, distortion)
    after = boundary_cost(boldref, boundary, refined, distortion)
    corners = _corners(apply_affine(start, (boundary.inner + boundary.outer).mean(axis=0) / 2))
    if after < before and _distance(start, refined, corners) <= FARTHEST:
        return Coregistered(refined, after, "boundary")
    return Coregistered(start, before, "mutual information")


def _corners(centre: np.ndarray) -> np.ndarray:
    """Points (8, 3) 45 mm from a centre along every axis."""
    return centre + 45 * np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T


def _distance(a: np.ndarray, b: np.ndarray, points: np.ndarray) -> float:
    """Largest distance in mm between two transforms of the same points."""
    change = b @ np.linalg.inv(a)
    return float(np.linalg.norm(apply_affine(change, points) - points, axis=1).max())


def refuse_coregistration(found: Coregistered, settings: Preprocess, path: str) -> None:
    """Raise `ScanFailed` if the BOLD has no contrast at the T1w's white-matter boundary."""
    limit = settings.max_coregistration_cost
    if limit is not None and not found.cost <= limit:
        raise ScanFailed(
            f"{path}: the boundary cost of the coregistration is {found.cost:.3f} (by "
            f"{found.method}), expected at most preprocess.max_coregistration_cost {limit:g}: the "
            "BOLD does not become brighter across the T1w's white-matter boundary",
            "coregistration",
            "check T1w and BOLD: are they of the same person, sharp, T2*-weighted?",
        )


# Mutual information, brain to brain, from any pose


@dataclass(frozen=True)
class _Pair:
    """Images for mutual information: the BOLD at points, and the T1w's brain."""

    points: np.ndarray
    bins: np.ndarray
    brain: Volume
    to_voxel: np.ndarray

    def information(self, boldref_to_t1w: np.ndarray) -> float:
        """Normalised mutual information (Studholme 1999), 1 (independent) to 2."""
        voxels = apply_affine(self.to_voxel @ boldref_to_t1w, self.points)
        values = map_coordinates(self.brain.data, voxels.T, order=1)
        joint = np.bincount(self.bins + (values + 0.5).astype(int), minlength=N_BINS**2)
        p = joint.reshape(N_BINS, N_BINS) / len(self.bins)
        whole = _entropy(p.ravel())
        return (_entropy(p.sum(axis=0)) + _entropy(p.sum(axis=1))) / whole if whole else 1.0


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _pair(
    boldref: Volume, epi_mask: np.ndarray, t1w: Volume, tissue: np.ndarray, step: float
) -> _Pair:
    """Both images smoothed and sampled at points `step` mm apart, in `N_BINS` grey levels."""
    brain = to_isotropic(t1w.with_data(np.where(tissue > 0, t1w.data, 0)), step)
    loose = binary_dilation(epi_mask, iterations=1)
    epi = to_isotropic(boldref.with_data(np.where(loose, boldref.data, 0)), step)
    near = binary_dilation(epi.data > 0.05 * epi.data.max(), iterations=max(1, round(9 / step)))
    return _Pair(
        points=apply_affine(epi.affine, np.argwhere(near)),
        bins=N_BINS * _levels(epi.data[near]).astype(int),
        brain=brain.with_data(_levels(brain.data)),
        to_voxel=np.linalg.inv(brain.affine),
    )


def _levels(data: np.ndarray) -> np.ndarray:
    """Grey levels from 0 to `N_BINS` - 1, not rounded."""
    top = np.percentile(data[data > 0.05 * data.max()], 99) if data.max() > 0 else 1.0
    return np.clip(data / top, 0, 1).astype(np.float32) * (N_BINS - 1)


def _by_information(
    boldref: Volume, epi_mask: np.ndarray, t1w: Volume, tissue: np.ndarray
) -> list[np.ndarray]:
    """T1w to boldref by mutual information: the best, and the second best if it differs."""
    coarse, fine = (_pair(boldref, epi_mask, t1w, tissue, step) for step in (COARSE, FINE))
    centre = apply_affine(boldref.affine, np.argwhere(epi_mask).mean(axis=0))
    in_t1w = apply_affine(t1w.affine, np.argwhere(tissue > 0).mean(axis=0))
    corners = _corners(centre)
    tried = [
        _pose(centre, to, t, s)
        for to in (in_t1w, centre)
        for t in _poses(TILTS)
        for s in _poses(SHIFTS)
    ]
    ranked = _distinct(tried, [coarse.information(p) for p in tried], corners, N_STARTS)
    followed = [_uphill(coarse.information, p, centre, 0.5) for p in ranked]
    best = _distinct(followed, [coarse.information(p) for p in followed], corners, 2)
    return [np.linalg.inv(_uphill(fine.information, p, centre, 0.05)) for p in best]


def rigid_near(
    fixed: Volume,
    fixed_mask: np.ndarray,
    moving: Volume,
    moving_mask: np.ndarray,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Rigid transform between two images of one head, by mutual information.

    Parameters
    ----------
    fixed, moving : Volume (x, y, z)
    fixed_mask : ndarray (x, y, z) of bool
        Brain of `fixed`.
    moving_mask : ndarray (x, y, z) of bool
        Brain or head of `moving`.
    start : ndarray (4, 4), optional
        A transform close to the result; by default all poses are searched.

    Returns
    -------
    ndarray (4, 4)
        Fixed to moving, mm to mm.
    """
    if start is None:
        return np.linalg.inv(_by_information(fixed, fixed_mask, moving, moving_mask)[0])
    centre = apply_affine(fixed.affine, np.argwhere(fixed_mask).mean(axis=0))
    fine = _pair(fixed, fixed_mask, moving, moving_mask, FINE)
    return _uphill(fine.information, start, centre, 0.05)


def _poses(choices: tuple[tuple[int, ...], ...]) -> list[np.ndarray]:
    return [np.array(c, dtype=float) for c in product(*choices)]


def _pose(
    centre: np.ndarray, target: np.ndarray, tilt: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    """Rotate about `centre` and move it to `target` + `shift`."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", tilt, degrees=True).as_matrix()
    matrix[:3, 3] = target + shift - matrix[:3, :3] @ centre
    return matrix


def _distinct(
    poses: list[np.ndarray], scores: list[float], points: np.ndarray, n: int
) -> list[np.ndarray]:
    """The `n` poses with the highest scores that are not close to each other."""
    kept: list[np.ndarray] = []
    for k in np.argsort(scores)[::-1]:
        inverse = np.linalg.inv(poses[k])
        if all(_distance(np.linalg.inv(p), inverse, points) > DISTINCT for p in kept):
            kept.append(poses[k])
        if len(kept) == n:
            break
    return kept


def _uphill(
    score: Callable[[np.ndarray], float], start: np.ndarray, centre: np.ndarray, tolerance: float
) -> np.ndarray:
    """Maximise a score from a pose (Powell, six parameters)."""
    found = minimize(
        lambda p: -score(start @ moved_about(p, centre)),
        np.zeros(6),
        method="Powell",
        options={"xtol": tolerance, "ftol": 1e-5, "maxiter": 10, "direc": 4 * np.eye(6)},
    )
    return start @ moved_about(found.x, centre)
