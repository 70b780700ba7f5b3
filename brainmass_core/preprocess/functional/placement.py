"""Coregistration of T1w and run, distortion, and coregistration to the undistorted reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.preprocess.anatomical.t1w import Anatomy
from brainmass_core.preprocess.anatomical.template import template_of
from brainmass_core.preprocess.distortion.estimate import (
    coregister_undistorted,
    estimate_distortion,
)
from brainmass_core.preprocess.distortion.fieldmap import find_fieldmap
from brainmass_core.preprocess.engines import engine
from brainmass_core.preprocess.functional.boundary import boundary_cost, sharpness, white_boundary
from brainmass_core.preprocess.functional.coregistration import Coregistered, coregister
from brainmass_core.preprocess.functional.head import Moved
from brainmass_core.preprocess.functional.tissues import overlap_with_template
from brainmass_core.preprocess.transforms import Distortion, ScanTransforms


@dataclass(frozen=True)
class Placement:
    """Spatial relation of a run and its T1w.

    Attributes
    ----------
    found : Coregistered
        Coregistration, to the undistorted reference if the distortion is known.
    distortion : Distortion or None
    done : str
        Description of the distortion correction.
    sharpness : float
        Sharpness of the minimum of the boundary cost, see `boundary.sharpness`.
    """

    found: Coregistered
    distortion: Distortion | None
    done: str
    sharpness: float


def place(moved: Moved, anatomy: Anatomy, settings: Preprocess) -> Coregistered:
    """Coregister T1w and reference volume with the engine of the configuration.

    The boundary cost is computed for the result of every engine.
    """
    images = (moved.boldref, moved.epi_mask, anatomy.t1w, anatomy.tissue.data)
    name = settings.engines.coregistration
    if name == "embedded":
        return coregister(*images)
    t1w_to_boldref = np.asarray(engine("coregistration", name)(*images), dtype=np.float64)
    boundary = white_boundary(anatomy.t1w, anatomy.tissue.data)
    cost = boundary_cost(moved.boldref, boundary, t1w_to_boldref)
    return Coregistered(t1w_to_boldref, cost, name)


def undistort(
    moved: Moved,
    anatomy: Anatomy,
    found: Coregistered,
    settings: Preprocess,
    scan: dict,
) -> Placement:
    """Estimate the distortion of the run, and coregister again if there is one.

    Raises
    ------
    ScanFailed
        If a fieldmap that belongs to the run cannot be read or used.
    """
    wanted = settings.distortion in ("fieldmap", "any")
    distortion, done = estimate_distortion(
        moved.boldref,
        moved.epi_mask,
        find_fieldmap(scan["bold_path"]) if wanted else None,
        anatomy.t1w,
        anatomy.tissue.data,
        found.t1w_to_boldref,
        settings,
        scan["phase_encoding"],
        scan["total_readout_time"],
    )
    images = (moved.boldref, moved.epi_mask, anatomy.t1w, anatomy.tissue.data)
    last = coregister_undistorted(*images, found, distortion)
    boundary = white_boundary(anatomy.t1w, anatomy.tissue.data)
    held = sharpness(moved.boldref, boundary, last.t1w_to_boldref, distortion)
    return Placement(last, distortion, done, held)


def transforms_of(moved: Moved, anatomy: Anatomy, placed: Placement) -> ScanTransforms:
    """All transforms from the template to the volumes of the run."""
    return ScanTransforms(
        anatomy.normalisation, placed.found.t1w_to_boldref, moved.motion, placed.distortion
    )


def mask_dice(moved: Moved, transforms: ScanTransforms, settings: Preprocess) -> float:
    """Overlap of the BOLD's brain with the template's, see `overlap_with_template`."""
    template = template_of(settings)
    return overlap_with_template(moved.boldref.with_data(moved.epi_mask), template, transforms)
