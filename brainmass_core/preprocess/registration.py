"""T1w to template: where the brain is, and where each point of the template lies in it.

Brain is registered to brain. The brain is found by a rigid registration, whole head to brain; an
affine one then looks only around the template's brain, so that the scalp cannot pull; SyN does the
rest. The brain mask is the template's, brought back.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from nibabel.affines import apply_affine
from scipy.ndimage import binary_dilation, map_coordinates

from brainmass_core.manifest import ScanFailed
from brainmass_core.preprocess.antspy import Registered, correct_bias, pull_from_fixed, registered
from brainmass_core.preprocess.grids import Volume, to_isotropic
from brainmass_core.preprocess.template import Template
from brainmass_core.preprocess.transforms import FIELD_STEP, Normalisation

Kind = Literal["affine", "syn_fast", "syn"]
NEAR = 4.0  # mm around the brain that take part in the metric: the brain's edge is information
AFFINE_SIZE = 4.0  # mm; coarser grids or fewer samples let the affine wander off by 17 mm
LINEAR: dict[str, Any] = {
    "aff_iterations": (500, 200),
    "aff_shrink_factors": (2, 1),
    "aff_smoothing_sigmas": (1, 0.5),
    "aff_random_sampling_rate": 0.5,
}
STARTS = ("Rigid", "Affine")  # the second for heads that rigid motion does not bring near
GOOD = 0.55  # correlation after the affine; measured: 0.63 to 0.80 if right, below 0.4 if wrong
LOOSE = 6.0  # mm around the affine mask: what is kept of the head before SyN
SYN: dict[str, dict[str, Any]] = {
    "syn_fast": {"reg_iterations": (40, 20, 0)},
    "syn": {"syn_metric": "CC", "syn_sampling": 2, "reg_iterations": (100, 70, 20, 0)},
}


@dataclass(frozen=True)
class Normalised:
    """A T1w and its place in the template.

    Attributes
    ----------
    t1w : Volume (x, y, z)
        Bias-corrected, with skull.
    mask : ndarray (x, y, z) of bool
        Its brain.
    priors : ndarray (x, y, z, 3)
        The template's tissue priors on its grid.
    normalisation : Normalisation
    template_correlation : float
        Correlation of intensities inside the template's mask.
    """

    t1w: Volume
    mask: np.ndarray
    priors: np.ndarray
    normalisation: Normalisation
    template_correlation: float


def normalise(head: Volume, template: Template, kind: Kind) -> Normalised:
    """Find brain and normalisation of a T1w.

    Parameters
    ----------
    head : Volume (x, y, z)
        Whole head on an isotropic RAS grid.
    kind : {"affine", "syn_fast", "syn"}
        Mutual information, or cross-correlation of radius 2.

    Raises
    ------
    ScanFailed
        If the registration fails or leaves no brain inside the image.
    """
    near = template.near_brain(NEAR)
    with ExitStack() as stack:
        affine = _best_affine(stack, head, template)
        loose = _grown(_brain_mask(head, template, affine), head, LOOSE)
        t1w = head.with_data(correct_bias(head, loose))
        if kind == "affine":
            return _finish(t1w, template, affine)
        brain = t1w.with_data(np.where(loose, t1w.data, 0))
        syn = registered(template.brain, brain, "SyNOnly", near, affine, **SYN[kind])
        return _finish(t1w, template, stack.enter_context(syn))


def _best_affine(stack: ExitStack, head: Volume, template: Template) -> Registered:
    """Affine from the first start that fits well, else the best of all."""
    moving = to_isotropic(head, AFFINE_SIZE)
    fixed = to_isotropic(template.brain, AFFINE_SIZE)
    near = template.brain.with_data(template.near_brain(NEAR).astype(np.float32))
    where = to_isotropic(near, AFFINE_SIZE).data > 0.5
    fits: list[tuple[float, Registered]] = []
    for first in STARTS:
        rough = stack.enter_context(registered(fixed, moving, first, **LINEAR))
        affine = registered(fixed, moving, "Affine", where, rough, **LINEAR)
        found = stack.enter_context(affine)
        fits.append((_similarity(head, template, found.affine), found))
        if fits[-1][0] > GOOD:
            break
    return max(fits, key=lambda fit: fit[0])[1]


def _similarity(head: Volume, template: Template, affine: np.ndarray) -> float:
    """Correlation of intensities inside the template's mask, -1 if there is none."""
    points = template.brain.points()[template.mask.ravel()]
    values = head.at(apply_affine(affine, points))
    if np.ptp(values) == 0:
        return -1.0
    return float(np.corrcoef(values, template.brain.data[template.mask])[0, 1])


def _finish(t1w: Volume, template: Template, found: Registered) -> Normalised:
    mask = _brain_mask(t1w, template, found)
    layers = [
        pull_from_fixed(t1w, template.brain.with_data(template.priors[..., k]), found)
        for k in range(3)
    ]
    priors = np.stack(layers, axis=-1)
    priors /= np.maximum(priors.sum(axis=-1, keepdims=True), 1e-6)
    normalisation = coarse(found, template)
    points = template.brain.points()[template.mask.ravel()]
    values = t1w.at(normalisation.template_to_t1w(points))
    correlation = np.corrcoef(values, template.brain.data[template.mask])[0, 1]
    return Normalised(t1w, mask, priors, normalisation, float(correlation))


def _brain_mask(head: Volume, template: Template, found: Registered) -> np.ndarray:
    mask = pull_from_fixed(head, template.brain.with_data(template.mask), found) > 0.5
    if mask.sum() * head.voxel_size.prod() < 1e5:  # mm³, a tenth of a small brain
        raise ScanFailed(
            f"the template's brain covers {mask.sum() * head.voxel_size.prod() / 1e3:.0f} ml of "
            "the T1w, expected more than 100 ml: registration to the template went wrong",
            "normalise",
            "look at the T1w: is it a whole head, is its orientation right?",
        )
    return mask


def _grown(mask: np.ndarray, image: Volume, mm: float) -> np.ndarray:
    return binary_dilation(mask, iterations=max(1, round(mm / float(image.voxel_size[0]))))


def coarse(found: Registered, template: Template, step: float = FIELD_STEP) -> Normalisation:
    """Keep a displacement field at nodes `step` mm apart over the template's grid."""
    grid = template.brain
    if found.field is None:
        return Normalisation(found.affine, np.zeros((2, 2, 2, 3), np.float32), np.eye(4))
    extent = (np.array(grid.data.shape) - 1) * grid.voxel_size
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = grid.affine[:3, 3]
    shape = tuple(int(n) for n in np.floor(extent / step) + 1)
    nodes = apply_affine(np.linalg.inv(grid.affine) @ affine, np.indices(shape).reshape(3, -1).T).T
    field = np.stack(
        [
            map_coordinates(found.field[..., k], nodes, order=1, mode="nearest").reshape(shape)
            for k in range(3)
        ],
        axis=-1,
    )
    return Normalisation(found.affine, field.astype(np.float16).astype(np.float32), affine)
