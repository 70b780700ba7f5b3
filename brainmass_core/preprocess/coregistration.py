"""T1w to BOLD: a rigid registration by mutual information, refined at the white-matter boundary.

The refinement asks what Greve & Fischl 2009 asked: across the white-matter surface of the T1w, does
the BOLD reference step from dark to bright? It is kept only if it improves the answer and stays
near, since a boundary can also lock onto the wrong fold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine
from scipy.ndimage import binary_dilation, gaussian_filter, map_coordinates
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from brainmass_core.preprocess.antspy import registered
from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.segmentation import WHITE

N_POINTS = 12000  # of the boundary
REACH = 2.0  # mm to either side of the boundary at which the BOLD is read
SLOPE = 0.05  # of the cost, per percent of contrast
FARTHEST = 5.0  # mm from the first estimate
RADIUS = 50.0  # mm, turns rotations into distances


@dataclass(frozen=True)
class Boundary:
    """Points on the white-matter surface.

    Attributes
    ----------
    inner, outer : ndarray (n_points, 3)
        `REACH` mm inside and outside the surface, T1w mm.
    """

    inner: np.ndarray
    outer: np.ndarray


@dataclass(frozen=True)
class Coregistered:
    """Outcome of the coregistration.

    Attributes
    ----------
    t1w_to_boldref : ndarray (4, 4)
        mm to mm.
    cost : float
        Boundary cost, 0 (perfect) to 2; 1 is no contrast.
    refined : bool
        Whether the boundary's answer was taken.
    """

    t1w_to_boldref: np.ndarray
    cost: float
    refined: bool


def coregister(
    boldref: Volume, epi_mask: np.ndarray, t1w: Volume, tissue: np.ndarray
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

    Raises
    ------
    ScanFailed
        If ANTs gives up.
    """
    brain = t1w.with_data(np.where(tissue > 0, t1w.data, 0).astype(np.float32))
    loose = binary_dilation(epi_mask, iterations=1)
    epi = boldref.with_data(np.where(loose, boldref.data, 0).astype(np.float32))
    with registered(epi, brain, "Rigid", aff_random_sampling_rate=0.5) as found:
        start = np.linalg.inv(found.affine)  # ANTs maps boldref to T1w
    boundary = white_boundary(t1w, tissue == WHITE)
    refined = refine(boldref, boundary, start)
    before, after = (boundary_cost(boldref, boundary, m) for m in (start, refined))
    change = refined @ np.linalg.inv(start)
    moved = np.linalg.norm(
        apply_affine(change, _corners(boldref)) - _corners(boldref), axis=1
    ).max()
    if after < before and moved <= FARTHEST:
        return Coregistered(refined, float(after), True)
    return Coregistered(start, float(before), False)


def _corners(image: Volume) -> np.ndarray:
    """Points (8, 3) 45 mm from the centre of an image."""
    centre = apply_affine(image.affine, (np.array(image.data.shape) - 1) / 2)
    return centre + 45 * np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T


def white_boundary(t1w: Volume, white: np.ndarray) -> Boundary:
    """Points on the surface of the white matter, with the directions across it.

    Parameters
    ----------
    white : ndarray (x, y, z) of bool
        On the grid of `t1w`.
    """
    share = gaussian_filter(white.astype(np.float32), 0.7)
    gradient = np.stack(np.gradient(share), axis=-1)
    steep = np.linalg.norm(gradient, axis=-1)
    near = (np.abs(share - 0.5) < 0.25) & (steep > 0.1)
    voxels = np.argwhere(near)
    if len(voxels) > N_POINTS:
        keep = np.random.default_rng(0).choice(len(voxels), N_POINTS, replace=False)
        voxels = voxels[np.sort(keep)]
    at = tuple(voxels.T)
    # one Newton step puts the point onto the surface
    surface = voxels + gradient[at] * ((0.5 - share[at]) / steep[at] ** 2)[:, None]
    normal = -gradient[at] @ np.linalg.inv(t1w.affine[:3, :3])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)  # from white matter outwards
    points = apply_affine(t1w.affine, surface)
    return Boundary(points - REACH * normal, points + REACH * normal)


def boundary_cost(boldref: Volume, boundary: Boundary, t1w_to_boldref: np.ndarray) -> float:
    """Mean over the boundary of ``1 - tanh(slope * contrast)``, 1 where nothing is seen.

    Contrast is 100 (outer - inner) / mean of both: in T2*-weighted images grey matter is brighter.
    """
    inner, seen_inner = _read(boldref, apply_affine(t1w_to_boldref, boundary.inner))
    outer, seen_outer = _read(boldref, apply_affine(t1w_to_boldref, boundary.outer))
    middle = (inner + outer) / 2
    seen = seen_inner & seen_outer & (middle > 0.1 * np.percentile(boldref.data, 98))
    contrast = np.where(seen, 100 * (outer - inner) / np.maximum(middle, 1e-6), 0)
    return float(np.mean(1 - np.tanh(SLOPE * contrast)))


def _read(image: Volume, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    voxels = apply_affine(np.linalg.inv(image.affine), points).T
    limit = np.array(image.data.shape)[:, None] - 1
    seen = ((voxels >= 0) & (voxels <= limit)).all(axis=0)
    return map_coordinates(image.data, voxels, order=1, mode="nearest"), seen


def refine(boldref: Volume, boundary: Boundary, start: np.ndarray) -> np.ndarray:
    """Move `start` (4, 4) to the smallest boundary cost nearby (Powell, six parameters)."""
    centre = apply_affine(start, (boundary.inner + boundary.outer).mean(axis=0) / 2)

    def moved(parameters: np.ndarray) -> np.ndarray:
        change = np.eye(4)
        change[:3, :3] = Rotation.from_rotvec(parameters[3:] / RADIUS).as_matrix()
        change[:3, 3] = parameters[:3] + centre - change[:3, :3] @ centre
        return change @ start

    found = minimize(
        lambda p: boundary_cost(boldref, boundary, moved(p)),
        np.zeros(6),
        method="Powell",
        bounds=[(-FARTHEST, FARTHEST)] * 6,
        options={"xtol": 0.01, "ftol": 1e-6, "maxiter": 12},
    )
    return moved(found.x)
