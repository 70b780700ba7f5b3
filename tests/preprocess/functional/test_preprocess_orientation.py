"""Runs are read in RAS order, whatever the order in the file; directions are reoriented with the
voxels.
"""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine

from brainmass_core.preprocess.functional.bold import load_bold
from brainmass_core.preprocess.functional.orientation import RAS, orientation_of, scan_in_ras

SHAPE = (5, 6, 7)
AFFINE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.1, -0.15, 0.2) @ np.diag([3.0, 3.5, 4.0]), [-90, -120, -60]
)
CODES = [
    "".join(pair[(signs >> i) & 1] for i, pair in enumerate(order))
    for order in itertools.permutations(("LR", "PA", "IS"))
    for signs in range(8)
]


def stored(codes: str, data: np.ndarray) -> nib.Nifti1Image:
    """The RAS image, stored in the axis order `codes`."""
    image = nib.Nifti1Image(data, AFFINE)
    to = nib.orientations.axcodes2ornt(codes)
    return image.as_reoriented(nib.orientations.ornt_transform(RAS, to))


@pytest.mark.parametrize("codes", CODES)
def test_any_order_of_axes_gives_the_same_run(codes, tmp_path):
    data = np.random.default_rng(0).normal(100, 10, (*SHAPE, 4)).astype(np.float32)
    stored(codes, data).to_filename(tmp_path / "run.nii.gz")
    run = load_bold(tmp_path / "run.nii.gz")
    assert np.array_equal(run.data, data)
    np.testing.assert_allclose(run.affine, AFFINE, atol=1e-4)
    assert run.data.flags.f_contiguous  # volumes stay contiguous


@pytest.mark.parametrize("codes", CODES)
def test_every_voxel_keeps_its_slice_time(codes, tmp_path):
    axis = 1
    rng = np.random.default_rng(1)
    shape = stored(codes, np.zeros((*SHAPE, 2), np.float32)).shape
    times = rng.uniform(0, 2, shape[axis])
    # each voxel contains the time of its slice, in the order of the file
    along = np.expand_dims(times, [i for i in range(4) if i != axis])
    change = np.array([1.0, 1.5])  # a series must change
    data = (np.ones((*shape[:3], 2)) * along * change).astype(np.float32)
    image = nib.Nifti1Image(data, stored(codes, np.zeros((*SHAPE, 2), np.float32)).affine)
    image.to_filename(tmp_path / "run.nii")

    run = load_bold(tmp_path / "run.nii")
    scan = {"slice_axis": axis, "slice_timing": times.tolist(), "phase_encoding": None}
    turned = scan_in_ras(scan, run.orientation)
    seen = np.moveaxis(run.data[..., 0], turned["slice_axis"], 0)
    expected = np.asarray(turned["slice_timing"], np.float32)[:, None, None]
    np.testing.assert_allclose(seen, np.broadcast_to(expected, seen.shape))


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("direction", ["i", "i-", "j", "j-", "k", "k-"])
def test_phase_encoding_points_the_same_way_in_space(codes, direction):
    image = stored(codes, np.zeros(SHAPE, np.float32))
    scan = {"slice_axis": None, "slice_timing": None, "phase_encoding": direction}
    turned = scan_in_ras(scan, orientation_of(image.affine))["phase_encoding"]

    def step(affine: np.ndarray, text: str) -> np.ndarray:
        voxel = np.zeros(3)
        voxel["ijk".index(text[0])] = -1 if text.endswith("-") else 1
        return apply_affine(affine, voxel) - apply_affine(affine, np.zeros(3))

    np.testing.assert_allclose(step(AFFINE, turned), step(image.affine, direction), atol=1e-5)


def test_a_run_in_ras_order_keeps_its_directions():
    scan = {"slice_axis": 2, "slice_timing": [0.0, 1.0], "phase_encoding": "j-", "task": "rest"}
    assert scan_in_ras(scan, RAS) == scan
