"""Registration of T1w and template, and the brain mask.

The brain is found by a rigid registration of the whole head to the template's brain; then an affine
registration uses only the region around the template's brain, so that the scalp has no influence,
and Greedy (`engines.greedy`) or SyN follows. The brain mask is the template's, transformed to the
T1w.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from nibabel.affines import apply_affine
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.anatomical.template import Template
from brainmass_core.preprocess.engines.antspy import register
from brainmass_core.preprocess.grids import Volume, cropped, to_isotropic
from brainmass_core.preprocess.transforms import FIELD_STEP, Normalisation

Kind = Literal["affine", "syn_fast", "syn"]
NEAR = 4.0  # mm around the brain that are used in the metric, to include the brain's edge
AFFINE_SIZE = 4.0  # mm; with coarser grids or fewer samples the affine was wrong by up to 17 mm
LINEAR: dict[str, Any] = {
    "aff_iterations": (500, 200),
    "aff_shrink_factors": (2, 1),
    "aff_smoothing_sigmas": (1, 0.5),
    "aff_random_sampling_rate": 0.5,
}
STARTS = ("Rigid", "Affine")  # the second for heads that rigid registration does not align
TURNS = [(x, y, 0) for x, y in ((30, 0), (-30, 0), (0, 30), (0, -30))] + [(0, 0, 30), (0, 0, -30)]
GOOD = 0.55  # correlation after the affine; measured: 0.63 to 0.80 if correct, below 0.4 if wrong
LOOSE = 6.0  # mm around the affine mask: region that is kept before the deformation
LEAST_BRAIN = 1e5  # mm³, a tenth of a small brain
SYN: dict[str, dict[str, Any]] = {
    "syn_fast": {"reg_iterations": (40, 20, 0)},
    "syn": {"syn_metric": "CC", "syn_sampling": 2, "reg_iterations": (100, 70, 20, 3)},
}
MOST_STEPS, CLOSE = 30, 0.02  # iterations of the inversion, and its tolerance in mm


@dataclass(frozen=True)
class Placed:
    """Affine registration of a head to the template.

    Attributes
    ----------
    affine : ndarray (4, 4)
        Template to T1w points, mm.
    fit : float
        Correlation of intensities inside the template's mask.
    """

    affine: np.ndarray
    fit: float


def place(head: Volume, template: Template) -> Placed:
    """The affine from the first start with a good fit, otherwise the best of all.

    Parameters
    ----------
    head : Volume (x, y, z)
        Whole head on an isotropic RAS grid; it may also be skull-stripped.

    Raises
    ------
    ScanFailed
        If ANTs fails.
    """
    moving = to_isotropic(head, AFFINE_SIZE)
    fixed = to_isotropic(template.brain, AFFINE_SIZE)
    near = template.brain.with_data(template.near_brain(NEAR).astype(np.float32))
    where = to_isotropic(near, AFFINE_SIZE).data > 0.5

    def finished(rough: np.ndarray) -> Placed:
        affine = register(fixed, moving, "Affine", where, rough, **LINEAR).affine
        return Placed(affine, similarity(head, template, affine))

    tried: list[Placed] = []
    for first in STARTS:
        tried.append(finished(register(fixed, moving, first, **LINEAR).affine))
        if tried[-1].fit > GOOD:
            return tried[-1]
    turned = [
        register(fixed, moving, "Rigid", None, turn, **LINEAR).affine
        for turn in turned_starts(fixed, moving, TURNS)
    ]
    tried.append(finished(max(turned, key=lambda affine: similarity(head, template, affine))))
    return max(tried, key=lambda placed: placed.fit)


def turned_starts(
    fixed: Volume, moving: Volume, turns: list[tuple[int, int, int]]
) -> Iterator[np.ndarray]:
    """Initial transforms: align centres of mass, then rotate.

    Parameters
    ----------
    turns : list of tuple
        Rotations about x, y and z, degrees.

    Yields
    ------
    ndarray (4, 4)
        Fixed to moving points, mm.
    """
    here, there = (
        np.average(image.points(), axis=0, weights=np.clip(image.data, 0, None).ravel() + 1e-9)
        for image in (fixed, moving)
    )
    for angles in turns:
        start = np.eye(4)
        start[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        start[:3, 3] = there - start[:3, :3] @ here
        yield start


def similarity(head: Volume, template: Template, affine: np.ndarray) -> float:
    """Correlation of intensities inside the template's mask, -1 if undefined.

    Parameters
    ----------
    affine : ndarray (4, 4)
        Template to head, mm.
    """
    points = template.brain.points()[template.mask.ravel()]
    return _correlation(head, template, apply_affine(affine, points))


def template_correlation(t1w: Volume, template: Template, found: Normalisation) -> float:
    """The same after the complete normalisation."""
    points = template.brain.points()[template.mask.ravel()]
    return _correlation(t1w, template, found.template_to_t1w(points))


def _correlation(image: Volume, template: Template, points: np.ndarray) -> float:
    values = image.at(points)
    if np.ptp(values) == 0:
        return -1.0
    return float(np.corrcoef(values, template.brain.data[template.mask])[0, 1])


def deform(
    t1w: Volume, near: np.ndarray, template: Template, kind: Kind, affine: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Register template and T1w by SyN, with mutual information or cross-correlation of radius 2.

    Parameters
    ----------
    near : ndarray (x, y, z) of bool
        Region of the head that is used: the brain and a margin.
    affine : ndarray (4, 4)
        From `place`.

    Returns
    -------
    affine : ndarray (4, 4)
        Template to T1w points, mm: ``affine @ (p + field(p))``.
    field : ndarray (x, y, z, 3) or None
        mm, on the grid of the template.

    Raises
    ------
    ScanFailed
        If ANTs fails.
    """
    if kind == "affine":
        return affine, None
    brain = t1w.with_data(np.where(near, t1w.data, 0))
    where = template.near_brain(NEAR)
    found = register(template.brain, brain, "SyNOnly", where, affine, **SYN[kind])
    return found.affine, found.field


def coarse(
    affine: np.ndarray, field: np.ndarray | None, grid: Volume, step: float = FIELD_STEP
) -> Normalisation:
    """Sample a displacement field at nodes `step` mm apart over the template's grid.

    Parameters
    ----------
    affine : ndarray (4, 4)
        Affine part of the normalisation, template to T1w.
    field : ndarray (x, y, z, 3), optional
        Displacements on `grid`, mm.
    grid : Volume
        The template's grid.
    step : float
        mm.

    Returns
    -------
    Normalisation
        Displacements are rounded to float16.
    """
    if field is None:
        return Normalisation(affine, np.zeros((2, 2, 2, 3), np.float32), np.eye(4))
    extent = (np.array(grid.data.shape) - 1) * grid.voxel_size
    nodes = np.diag([step, step, step, 1.0])
    nodes[:3, 3] = grid.affine[:3, 3]
    shape = tuple(int(n) for n in np.floor(extent / step) + 1)
    at = apply_affine(np.linalg.inv(grid.affine) @ nodes, np.indices(shape).reshape(3, -1).T).T
    layers = [map_coordinates(field[..., k], at, order=1, mode="nearest") for k in range(3)]
    kept = np.stack([layer.reshape(shape) for layer in layers], axis=-1)
    return Normalisation(affine, kept.astype(np.float16).astype(np.float32), nodes)


def around(head: Volume, template: Template, affine: np.ndarray) -> Volume:
    """Crop a head to the region of the template's grid; unchanged if they do not overlap.

    Parameters
    ----------
    affine : ndarray (4, 4)
        Template to head, mm.
    """
    ends = [[-0.5, n - 0.5] for n in template.brain.data.shape]
    corners = np.array(np.meshgrid(*ends)).reshape(3, -1).T
    to_voxel = np.linalg.inv(head.affine) @ affine @ template.brain.affine
    voxels = apply_affine(to_voxel, corners)
    shape = np.array(head.data.shape)
    low = np.clip(np.floor(voxels.min(axis=0)), 0, shape).astype(int)
    high = np.clip(np.ceil(voxels.max(axis=0)) + 1, 0, shape).astype(int)
    if (high - low < 2).any():
        return head
    return cropped(head, tuple(slice(a, b) for a, b in zip(low, high, strict=True)))


def t1w_to_template(points: np.ndarray, found: Normalisation) -> np.ndarray:
    """Map points (n, 3) of the T1w to the template, mm: the inverse of the normalisation.

    Fixed-point iteration ``p <- affine⁻¹(q) - field(p)``, damped after some steps for steep fields.

    Parameters
    ----------
    points : ndarray (n, 3)
        T1w, RAS, mm.
    found : Normalisation

    Returns
    -------
    ndarray (n, 3)
        Template, RAS, mm.
    """
    back = np.linalg.inv(found.affine)
    linear = apply_affine(back, points)
    there = linear.copy()
    if not found.field.any():
        return there
    open_ = np.arange(len(points))
    for step in range(MOST_STEPS):
        change = linear[open_] - apply_affine(back, found.template_to_t1w(there[open_]))
        there[open_] += change if step < MOST_STEPS // 3 else 0.5 * change
        open_ = open_[np.abs(change).max(axis=1) > CLOSE]
        if not len(open_):
            break
    return there


def in_template(image: Volume, found: Normalisation, grid: Volume) -> np.ndarray:
    """Template coordinates (n_voxels, 3) of each voxel of a T1w, mm.

    The inverse is computed at nodes `FIELD_STEP` apart and its nonlinear part interpolated between
    them. Far from the template's grid it is affine.

    Parameters
    ----------
    image : Volume (x, y, z)
        T1w.
    found : Normalisation
    grid : Volume (x, y, z)
        The template.

    Returns
    -------
    ndarray (n_voxels, 3)
        RAS, mm, voxels in C order.
    """
    extent = (np.array(image.data.shape) - 1) * image.voxel_size
    nodes = np.diag([FIELD_STEP, FIELD_STEP, FIELD_STEP, 1.0])
    nodes[:3, 3] = image.affine[:3, 3]
    shape = tuple(int(n) for n in np.ceil(extent / FIELD_STEP) + 1)
    at = apply_affine(nodes, np.indices(shape).reshape(3, -1).T)
    back = np.linalg.inv(found.affine)
    linear = apply_affine(back, at)
    voxels = apply_affine(np.linalg.inv(grid.affine), linear)
    close = ((voxels >= 0) & (voxels <= np.array(grid.data.shape) - 1)).all(axis=1)
    bend = np.zeros((len(at), 3), dtype=np.float32)
    if close.any():
        bend[close] = t1w_to_template(at[close], found) - linear[close]
    points = image.points()
    where = apply_affine(np.linalg.inv(nodes), points).T
    layers = [map_coordinates(b.reshape(shape), where, order=1, mode="nearest") for b in bend.T]
    return apply_affine(back, points) + np.stack(layers, axis=-1)


def brain_of(head: Volume, template: Template, where: np.ndarray) -> np.ndarray:
    """The template's mask (x, y, z) in the T1w.

    Parameters
    ----------
    where : ndarray (n_voxels, 3)
        From `in_template`.

    Raises
    ------
    ScanFailed
        If hardly any of it is inside the image.
    """
    inside = template.brain.with_data(template.mask).at(where) > 0.5
    volume = inside.sum() * head.voxel_size.prod()
    if volume < LEAST_BRAIN:
        raise ScanFailed(
            f"the template's brain covers {volume / 1e3:.0f} ml of the T1w, expected more than "
            f"{LEAST_BRAIN / 1e3:.0f} ml: registration to the template failed",
            "affine",
            "check the T1w: is it a whole head, is its orientation correct?",
        )
    return inside.reshape(head.data.shape)


def priors_of(template: Template, where: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The template's tissue priors (x, y, z, 3) in the T1w.

    Parameters
    ----------
    where : ndarray (n_voxels, 3)
        Points of the template at the voxels of the T1w, mm.
    shape : tuple of int (3,)
        Of the T1w.

    Returns
    -------
    ndarray (x, y, z, 3)
    """
    layers = [template.brain.with_data(template.priors[..., k]).at(where) for k in range(3)]
    return np.stack(layers, axis=-1).reshape(*shape, 3)
