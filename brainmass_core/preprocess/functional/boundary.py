"""The white-matter boundary of a T1w, and the contrast of a BOLD image across it.

After Greve & Fischl 2009: at the surface of the white matter, a T2*-weighted image changes from
dark to bright if the two are registered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from brainmass_core.preprocess.anatomical.segmentation import GREY, WHITE
from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.transforms import Distortion

N_POINTS = 12000
FEWEST_POINTS = 1000  # minimum inside the BOLD's field of view for a meaningful cost
REACH = 2.0  # mm to either side of the boundary at which the BOLD is sampled
SLOPE = 0.05  # of the cost, per percent of contrast
FARTHEST = 5.0  # mm, maximum distance from the first estimate
SHIFT = 4.0  # mm, about the thickness of the cortex and more
LOCAL = 12.0  # mm, standard deviation of the neighbourhood for local tissue intensities
RADIUS = 50.0  # mm, converts rotations to distances


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


def moved_about(parameters: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Rigid transform (4, 4) of three translations in mm and three rotations in mm at `RADIUS`.

    Parameters
    ----------
    parameters : ndarray (6,)
    centre : ndarray (3,)
        Centre of the rotation, mm.

    Returns
    -------
    ndarray (4, 4)
    """
    change = np.eye(4)
    change[:3, :3] = Rotation.from_rotvec(parameters[3:] / RADIUS).as_matrix()
    change[:3, 3] = parameters[:3] + centre - change[:3, :3] @ centre
    return change


def white_boundary(t1w: Volume, tissue: np.ndarray) -> Boundary:
    """Points on the surface of the white matter, with the directions across it.

    The labels give the approximate surface; it is refined to where the intensity is half-way
    between grey and white, which is more precise than the labels' voxels (0.12 mm instead of 0.24
    mm of error on a phantom).

    Parameters
    ----------
    tissue : ndarray (x, y, z) of int
        On the grid of `t1w`.
    """
    data = t1w.data.astype(np.float32)
    grey, white = (_level(data, tissue == k, LOCAL / t1w.voxel_size) for k in (GREY, WHITE))
    share = np.clip((data - grey) / np.where(white > grey, white - grey, np.inf), -0.2, 1.2)
    share = gaussian_filter(share, 0.5)
    gradient = np.stack(np.gradient(share), axis=-1)
    steep = np.linalg.norm(gradient, axis=-1)
    edge = np.abs(gaussian_filter((tissue == WHITE).astype(np.float32), 0.7) - 0.5) < 0.25
    voxels = np.argwhere(edge & (steep > 0.1) & (np.abs(share - 0.5) < 0.3))
    if len(voxels) > N_POINTS:
        keep = np.random.default_rng(0).choice(len(voxels), N_POINTS, replace=False)
        voxels = voxels[np.sort(keep)]
    at = tuple(voxels.T)
    # one Newton step moves the point to the surface
    surface = voxels + gradient[at] * ((0.5 - share[at]) / steep[at] ** 2)[:, None]
    normal = -gradient[at] @ np.linalg.inv(t1w.affine[:3, :3])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)  # from white matter outwards
    points = apply_affine(t1w.affine, surface)
    return Boundary(points - REACH * normal, points + REACH * normal)


def _level(data: np.ndarray, tissue: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Local mean intensity (x, y, z) of a tissue, because some bias field remains."""
    share = gaussian_filter(tissue.astype(np.float32), sigma)
    return gaussian_filter(np.where(tissue, data, 0), sigma) / np.maximum(share, 1e-6)


def boundary_cost(
    boldref: Volume,
    boundary: Boundary,
    t1w_to_boldref: np.ndarray,
    distortion: Distortion | None = None,
) -> float:
    """Mean over the boundary of ``1 - tanh(slope * contrast)``, 1 without contrast.

    Contrast is 100 (outer - inner) / mean of both: in T2*-weighted images grey matter is brighter.
    Only points inside the field of view count, so that costs of slabs and of whole heads are
    comparable; without signal the contrast is 0.

    Parameters
    ----------
    boldref : Volume (x, y, z)
    boundary : Boundary
        T1w, mm.
    t1w_to_boldref : ndarray (4, 4)
        mm to mm; to the undistorted reference if `distortion` is given.
    distortion : Distortion, optional

    Returns
    -------
    float
        0 (perfect) to 2.
    """
    values = []
    for points in (boundary.inner, boundary.outer):
        there = apply_affine(t1w_to_boldref, points)
        values.append(
            _read(boldref, there if distortion is None else distortion.to_distorted(there))
        )
    (inner, seen_inner), (outer, seen_outer) = values
    seen = seen_inner & seen_outer
    if seen.sum() < FEWEST_POINTS:
        return 1.0
    middle = (inner + outer) / 2
    bright = seen & (middle > 0.1 * np.percentile(boldref.data, 98))
    contrast = np.where(bright, 100 * (outer - inner) / np.maximum(middle, 1e-6), 0)
    return float(np.mean(1 - np.tanh(SLOPE * contrast[seen])))


def sharpness(
    boldref: Volume,
    boundary: Boundary,
    t1w_to_boldref: np.ndarray,
    distortion: Distortion | None = None,
) -> float:
    """Mean rise of the boundary cost when the boundary is shifted by `SHIFT` mm along each axis.

    For a T1w of another head the cost also has a minimum, but a shallow one.

    Parameters
    ----------
    boldref, boundary, t1w_to_boldref, distortion
        See `boundary_cost`.

    Returns
    -------
    float
        In units of the cost.
    """
    here = boundary_cost(boldref, boundary, t1w_to_boldref, distortion)
    rises = []
    for axis in range(3):
        for shift in (-SHIFT, SHIFT):
            moved = np.eye(4)
            moved[axis, 3] = shift
            there = boundary_cost(boldref, boundary, moved @ t1w_to_boldref, distortion)
            rises.append(there - here)
    return float(np.mean(rises))


def _read(image: Volume, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    voxels = apply_affine(np.linalg.inv(image.affine), points).T
    limit = np.array(image.data.shape)[:, None] - 1
    seen = ((voxels >= 0) & (voxels <= limit)).all(axis=0)
    return map_coordinates(image.data, voxels, order=1, mode="nearest"), seen


def refine(
    boldref: Volume, boundary: Boundary, start: np.ndarray, distortion: Distortion | None = None
) -> np.ndarray:
    """Minimise the boundary cost from `start` (4, 4) (Powell, six parameters).

    Parameters
    ----------
    boldref, boundary, distortion
        See `boundary_cost`.
    start : ndarray (4, 4)
        T1w to reference volume, mm.

    Returns
    -------
    ndarray (4, 4)
    """
    centre = apply_affine(start, (boundary.inner + boundary.outer).mean(axis=0) / 2)
    found = minimize(
        lambda p: boundary_cost(boldref, boundary, moved_about(p, centre) @ start, distortion),
        np.zeros(6),
        method="Powell",
        bounds=[(-FARTHEST, FARTHEST)] * 6,
        options={"xtol": 0.01, "ftol": 1e-6, "maxiter": 12},
    )
    return moved_about(found.x, centre) @ start
