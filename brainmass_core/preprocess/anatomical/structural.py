"""The steps from a T1w to brain, tissues and normalisation, with exchangeable engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.anatomical.registration import (
    LEAST_BRAIN,
    LOOSE,
    Placed,
    around,
    brain_of,
    coarse,
    deform,
    in_template,
    place,
    priors_of,
    template_correlation,
)
from brainmass_core.preprocess.anatomical.segmentation import segment
from brainmass_core.preprocess.anatomical.template import MARGIN, Template
from brainmass_core.preprocess.engines import engine
from brainmass_core.preprocess.engines.antspy import correct_bias
from brainmass_core.preprocess.grids import Volume, crop_to, cropped, grown, resample, to_isotropic
from brainmass_core.preprocess.steps import Steps
from brainmass_core.preprocess.transforms import Normalisation

OF_THE_SCAN = ("deepbet",)  # engines that use the original scan instead of its 2 mm copy
WITHIN = 4.0  # mm at the edge of the image that do not count as covered: skin and bone are thicker


@dataclass(frozen=True)
class Structure:
    """Results of the anatomical processing of a T1w.

    Attributes
    ----------
    t1w : Volume (x, y, z) of float32
        Bias-corrected, with skull, cropped around the brain.
    mask : ndarray (x, y, z) of bool
        Its brain.
    posteriors : ndarray (x, y, z, 3) of float32
        CSF, grey and white matter; sums to 1 inside the mask.
    normalisation : Normalisation
    template_correlation : float
        Correlation of intensities inside the template's mask.
    t1w_coverage : float
        Fraction of the template's brain well inside the T1w's field of view.
    brain_volume : float
        ml.
    """

    t1w: Volume
    mask: np.ndarray
    posteriors: np.ndarray
    normalisation: Normalisation
    template_correlation: float
    t1w_coverage: float
    brain_volume: float


@dataclass(frozen=True)
class Kept:
    """Array result of a step."""

    array: np.ndarray


def estimate(raw: Volume, template: Template, settings: Preprocess, steps: Steps) -> Structure:
    """Estimate brain, tissues and normalisation of a T1w.

    Parameters
    ----------
    raw : Volume (x, y, z)
        Whole head, in any orientation.
    template : Template
        At ``settings.resolution``.
    steps : Steps
        Stores and times finished steps: ``affine``, ``bias_correction``, ``normalisation`` (``syn``
        for ANTs' in process) and ``segmentation``; ``brain_extraction`` instead of ``affine`` if
        both are done by other engines than the embedded one.

    Raises
    ------
    ScanFailed
        If a registration fails, or there is no brain, or no contrast in the brain.
    """
    whole = to_isotropic(raw, settings.resolution)
    extract, bend = _chosen("brain_extraction", settings), _chosen("normalisation", settings)
    placed = None
    if extract is None or bend is None:
        placed = steps.kept("affine", Placed, lambda: place(whole, template))
    if settings.engines.brain_extraction in OF_THE_SCAN:
        assert extract is not None
        head, rough = _brain_of_the_scan(raw, whole, template, extract, steps)
    else:
        head = whole if placed is None else around(whole, template, placed.affine)
        rough = _rough_brain(head, template, placed, extract, steps)
    near = grown(rough, head, LOOSE)
    correct = _chosen("bias_correction", settings) or correct_bias
    corrected = steps.kept("bias_correction", Kept, lambda: Kept(correct(head, near)))
    t1w = head.with_data(corrected.array)

    def normalise() -> Normalisation:
        if settings.engines.normalisation == "greedy":
            assert bend is not None
            kept, start = (rough, None) if placed is None else (near, placed.affine)
            affine, field = bend(t1w, kept, template, settings.registration, start)
        elif bend is not None:
            affine, field = bend(t1w, rough, template, settings.registration)
        else:
            assert placed is not None
            affine, field = deform(t1w, near, template, settings.registration, placed.affine)
        return coarse(affine, field, template.brain)

    found = steps.kept("syn" if bend is None else "normalisation", Normalisation, normalise)
    segmented = _tissues(t1w, template, found, rough if extract else None, settings, steps)
    return Structure(
        t1w=t1w,
        mask=segmented.mask,
        posteriors=segmented.posteriors,
        normalisation=found,
        template_correlation=template_correlation(t1w, template, found),
        t1w_coverage=coverage(raw, template, found),
        brain_volume=float(segmented.mask.sum() * head.voxel_size.prod() / 1e3),
    )


@dataclass(frozen=True)
class Segmented:
    """Brain and tissues of a T1w."""

    mask: np.ndarray
    posteriors: np.ndarray


def _brain_of_the_scan(
    raw: Volume, whole: Volume, template: Template, extract: Callable, steps: Steps
) -> tuple[Volume, np.ndarray]:
    """Find the brain in the original scan; returns `whole` cropped around it, and the mask.

    Raises
    ------
    ScanFailed
        If there is no brain.
    """

    def found() -> Kept:
        mask = raw.with_data(extract(raw, template).astype(np.float32))
        return Kept(resample(mask, whole.data.shape, whole.affine).data > 0.5)

    mask = steps.kept("brain_extraction", Kept, found).array
    volume = mask.sum() * whole.voxel_size.prod()
    if volume < LEAST_BRAIN:
        raise ScanFailed(
            f"found a brain of {volume / 1e3:.0f} ml, expected more than {LEAST_BRAIN / 1e3:.0f}",
            "brain_extraction",
            "check the T1w: is it a whole head? Or choose another "
            "preprocess.engines.brain_extraction",
        )
    box = crop_to(whole, mask, MARGIN)
    return cropped(whole, box), mask[box]


def _rough_brain(
    head: Volume,
    template: Template,
    placed: Placed | None,
    extract: Callable | None,
    steps: Steps,
) -> np.ndarray:
    """The brain mask (x, y, z) before the normalisation."""
    if extract is not None:
        return steps.kept("brain_extraction", Kept, lambda: Kept(extract(head, template))).array
    assert placed is not None
    straight = coarse(placed.affine, None, template.brain)
    return brain_of(head, template, in_template(head, straight, template.brain))


def _tissues(
    t1w: Volume,
    template: Template,
    found: Normalisation,
    mask: np.ndarray | None,
    settings: Preprocess,
    steps: Steps,
) -> Segmented:
    """Segment tissues inside a mask, by default the template's."""
    chosen = _chosen("segmentation", settings) or embedded_segmentation

    def make() -> Segmented:
        where = in_template(t1w, found, template.brain)
        brain = brain_of(t1w, template, where) if mask is None else mask
        priors = priors_of(template, where, brain.shape)
        return Segmented(brain, chosen(t1w, brain, priors).astype(np.float32))

    return steps.kept("segmentation", Segmented, make)


def embedded_segmentation(t1w: Volume, mask: np.ndarray, priors: np.ndarray) -> np.ndarray:
    """`segment` with the common arguments of all engines of this step.

    Parameters
    ----------
    mask : ndarray (x, y, z) of bool
    priors : ndarray (x, y, z, 3)

    Returns
    -------
    ndarray
        See `segment`.

    Raises
    ------
    ScanFailed
        If there is no contrast in the brain.
    """
    try:
        return segment(t1w.data, mask, priors)
    except ValueError as error:
        raise ScanFailed(str(error), "segmentation", "look at the T1w with a viewer") from None


def coverage(raw: Volume, template: Template, found: Normalisation) -> float:
    """Fraction of the template's brain that is well inside the T1w's field of view.

    A registration squeezes the template's brain into a brain that is cut off. But such a brain ends
    at the edge of the image, while a complete one has bone and skin around it: hence the margin.
    Blank slices at the ends of an image do not count as covered.

    Parameters
    ----------
    raw : Volume (x, y, z)
        The original T1w.
    """
    points = found.template_to_t1w(template.brain.points()[template.mask.ravel()])
    voxels = apply_affine(np.linalg.inv(raw.affine), points)
    shown = [np.flatnonzero((raw.data != 0).any(axis=a)) for a in ((1, 2), (0, 2), (0, 1))]
    low, high = (np.array([axis[end] for axis in shown]) for end in (0, -1))
    margin = WITHIN / raw.voxel_size
    inside = (voxels >= low - 0.5 + margin) & (voxels <= high + 0.5 - margin)
    return float(inside.all(axis=1).mean())


def _chosen(step: str, settings: Preprocess) -> Callable | None:
    """The function of another package for a step; None for the embedded engine."""
    name = getattr(settings.engines, step)
    return None if name == "embedded" else engine(step, name)
