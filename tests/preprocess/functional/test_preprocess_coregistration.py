"""T1w to BOLD for any position of the sessions, and the results of a wrong pair."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import preprocess_epi as phantom
import pytest
from nibabel.affines import apply_affine

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.anatomical.segmentation import labels_of
from brainmass_core.preprocess.anatomical.structural import estimate
from brainmass_core.preprocess.anatomical.template import load_template
from brainmass_core.preprocess.functional.boundary import boundary_cost, refine, white_boundary
from brainmass_core.preprocess.functional.coregistration import (
    Coregistered,
    coregister,
    refuse_coregistration,
    rigid_near,
)
from brainmass_core.preprocess.functional.tissues import epi_brain
from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.steps import Steps

POSE = phantom.rigid((5, -12, 25), (4, -3, 5))


@lru_cache(maxsize=2)
def anatomy(seed: int) -> tuple[Volume, np.ndarray]:
    """T1w at 2 mm with noise and its true tissues."""
    head = phantom.Head(seed)
    t1w = head.t1w(2.0)
    return t1w, head.tissue(t1w)


@lru_cache(maxsize=2)
def boldref(seed: int = 1) -> Volume:
    return phantom.Session(phantom.Head(seed), POSE).epi(noise=0.02)


@lru_cache(maxsize=1)
def from_near() -> Coregistered:
    """Found from a start that is a few millimetres away."""
    near = phantom.rigid((1.0, -1.0, 0.5), (1, 0, -1)) @ POSE
    return coregister(boldref(), epi_brain(boldref(), "run"), *anatomy(1), start=near)


def moved(image: Volume, by: np.ndarray) -> Volume:
    return Volume(image.data, by @ image.affine)


def slab(image: Volume, first: int, last: int) -> Volume:
    affine = image.affine.copy()
    affine[:3, 3] = apply_affine(image.affine, [0, 0, first])
    return Volume(image.data[:, :, first:last], affine)


@pytest.mark.study
def test_sessions_60_mm_and_15_degrees_apart_are_brought_together():
    away = phantom.rigid((30, -40, 34), (15, -10, 12))
    bold = moved(boldref(), away)
    found = coregister(bold, epi_brain(bold, "run"), *anatomy(1))
    assert phantom.rms(found.t1w_to_boldref, away @ POSE) < 0.25
    assert found.method == "boundary"
    assert found.cost < 0.7


@pytest.mark.study
@pytest.mark.parametrize("side", ["top", "bottom"])
def test_sixty_percent_of_the_brain_are_enough(side):
    brain = epi_brain(boldref(), "run")
    below = np.cumsum(brain.sum(axis=(0, 1))) / brain.sum()
    cut = int(np.searchsorted(below, 0.4 if side == "top" else 0.6))
    first, last = (cut, brain.shape[2]) if side == "top" else (0, cut)
    bold, mask = slab(boldref(), first, last), brain[:, :, first:last]
    assert 0.5 < mask.sum() / brain.sum() < 0.65
    found = coregister(bold, mask, *anatomy(1))
    assert phantom.rms(found.t1w_to_boldref, POSE) < 0.5
    assert found.cost < 0.75  # costs of slabs compare with those of whole heads


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_coregistration_from_estimated_tissues_errs_by_less_than_a_quarter_of_a_millimetre(seed):
    settings = Preprocess(registration="syn_fast")
    template = load_template(None, None, settings.resolution)
    anatomical = estimate(phantom.Head(seed).t1w(1.0), template, settings, Steps())
    tissue = labels_of(anatomical.posteriors, anatomical.mask)
    bold = boldref(seed)
    found = coregister(bold, epi_brain(bold, "run"), anatomical.t1w, tissue)
    assert phantom.rms(found.t1w_to_boldref, POSE) < 0.25  # measured 0.17 and 0.16 with syn
    assert found.method == "boundary"


@pytest.mark.study
def test_the_boundary_cost_tells_wrong_registrations_from_right_ones():
    boundary = white_boundary(*anatomy(1))
    limit = Preprocess().max_coregistration_cost
    right = boundary_cost(boldref(), boundary, POSE)
    assert right < limit - 0.2
    rng = np.random.default_rng(0)
    for _ in range(3):
        mm, degrees = (x / np.linalg.norm(x) for x in rng.normal(size=(2, 3)))
        wrong = phantom.rigid(tuple(15 * mm), tuple(10 * degrees)) @ POSE
        assert boundary_cost(boldref(), boundary, wrong) > limit
        again = refine(boldref(), boundary, wrong)  # the truth is beyond its limits
        assert boundary_cost(boldref(), boundary, again) > right + 0.2


def test_what_the_cost_refuses_fails_with_its_numbers():
    found = Coregistered(np.eye(4), 0.97, "mutual information")
    settings = Preprocess(max_coregistration_cost=0.9)
    with pytest.raises(ScanFailed, match=r"run\.nii.*0\.970.*mutual information.*0\.9"):
        refuse_coregistration(found, settings, "run.nii")
    refuse_coregistration(found, Preprocess(max_coregistration_cost=0.98), "run.nii")
    refuse_coregistration(found, Preprocess(max_coregistration_cost=None), "run.nii")


def test_not_a_number_is_refused():
    with pytest.raises(ScanFailed):
        refuse_coregistration(
            Coregistered(np.eye(4), float("nan"), "boundary"),
            Preprocess(max_coregistration_cost=0.9),
            "run",
        )


@pytest.mark.study
def test_without_contrast_at_the_boundary_mutual_information_stays():
    t1w, tissue = anatomy(1)
    bold = boldref()
    flat = np.where(tissue > 0, 200, t1w.data).astype(np.float32)
    found = coregister(bold, epi_brain(bold, "run"), Volume(flat, t1w.affine), tissue)
    assert found.method == "mutual information"
    assert found.cost > 0.95
    assert phantom.rms(found.t1w_to_boldref, POSE) < 4.0  # only the brain's outline


@pytest.mark.study
def test_a_start_that_is_near_spares_the_search():
    assert phantom.rms(from_near().t1w_to_boldref, POSE) < 0.25


@pytest.mark.study
def test_coregistration_is_bit_identical():
    first, second = from_near(), from_near.__wrapped__()
    np.testing.assert_array_equal(first.t1w_to_boldref, second.t1w_to_boldref)
    assert first.cost == second.cost


@pytest.mark.study
def test_two_images_of_one_head_are_brought_together():
    bold, (t1w, tissue) = boldref(), anatomy(1)
    start = np.linalg.inv(phantom.rigid((3, -2, 2), (2, 1, 0)) @ POSE)
    found = rigid_near(bold, epi_brain(bold, "run"), t1w, tissue > 0, start)
    assert phantom.rms(np.linalg.inv(found), POSE) < 1.0
