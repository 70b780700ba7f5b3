"""Masks of a run: both images must agree, depth is in millimetres, overlap is measured by Dice."""

import numpy as np
from scipy.ndimage import binary_erosion

from brainmass_core.preprocess.anatomical.segmentation import FLUID, GREY, WHITE
from brainmass_core.preprocess.anatomical.template import Template
from brainmass_core.preprocess.functional.tissues import (
    bold_brain,
    noise_regions,
    overlap_with_template,
)
from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.transforms import Normalisation, ScanTransforms

SIZE = np.array([1.5, 1.5, 1.5])
GRID = Volume(np.ones((40, 40, 40), np.float32), np.diag([*SIZE, 1.0]))


def block(first, last):
    found = np.zeros(GRID.data.shape, bool)
    found[tuple(slice(a, b) for a, b in zip(first, last, strict=True))] = True
    return found


def test_brain_is_what_both_images_call_brain():
    epi, tissue = block((5, 5, 5), (25, 25, 25)), block((15, 5, 5), (35, 25, 25))
    found = bold_brain(epi, GRID, np.where(tissue, GREY, 0), GRID, np.eye(4))
    np.testing.assert_array_equal(found, epi & tissue)


def test_white_matter_within_three_millimetres_of_its_border_is_left_out():
    head = block((1, 1, 1), (39, 39, 39))
    white, fluid = block((8, 8, 8), (20, 30, 30)), block((24, 12, 12), (32, 28, 28))
    tissue = np.where(head, GREY, 0)
    tissue[white], tissue[fluid] = WHITE, FLUID
    found = noise_regions(GRID, tissue, GRID, np.eye(4), head, "run")
    # a voxel k from the border is 1.5 (k + 1) mm from the nearest other tissue: k = 2 is inside
    np.testing.assert_array_equal(found["white_matter"], binary_erosion(white, iterations=2))
    np.testing.assert_array_equal(found["csf"], fluid)


def test_brains_of_which_half_overlaps_have_a_dice_of_a_half():
    mask, epi = block((4, 4, 4), (24, 36, 36)), block((14, 4, 4), (34, 36, 36))
    template = Template(GRID.with_data(mask.astype(np.float32)), mask, np.zeros((*mask.shape, 3)))
    same = Normalisation(np.eye(4), np.zeros((2, 2, 2, 3), np.float32), np.eye(4))
    transforms = ScanTransforms(same, np.eye(4), np.eye(4)[None])
    thin = (slice(None, None, round(4 / 1.5)),) * 3
    a, b = mask[thin], epi[thin]
    expected = 2 * (a & b).sum() / (a.sum() + b.sum())
    assert 0.45 < expected < 0.55
    found = overlap_with_template(GRID.with_data(epi.astype(np.uint8)), template, transforms)
    assert found == expected
