"""Head motion: the phantom's truth, and published displacements."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from preprocess_phantom import BOLD_AFFINE, rigid, rms

from brainmass_core.preprocess.functional.bold import load_bold
from brainmass_core.preprocess.functional.head import head_motion
from brainmass_core.preprocess.functional.motion import (
    estimate_motion,
    framewise_displacement,
    motion_parameters,
    resample_volume,
    rms_displacement,
)

CENTRE = (0.0, -12.0, 28.0)


@pytest.fixture(scope="module")
def estimated(run):
    return estimate_motion(run, BOLD_AFFINE)


def errors(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """RMS error (n_volumes,) in mm; the reference's own position is free."""
    change = np.linalg.inv(truth) @ found  # reference to rest, ideally the same for all volumes
    mean = np.linalg.inv(np.median(change, axis=0))
    return np.array([rms(c @ mean, CENTRE) for c in change])


def test_motion_of_the_phantom_is_found_to_a_twentieth_of_a_millimetre(estimated, motion):
    found = errors(estimated[0], motion)
    assert found.mean() < 0.05
    assert np.percentile(found, 95) < 0.10


def test_jumps_of_five_millimetres_are_found(estimated, motion):
    jumped = np.linalg.norm(motion[17:20, :3, 3] - motion[16, :3, 3], axis=1)
    assert jumped.min() > 5
    assert errors(estimated[0], motion)[17:20].max() < 0.15


def test_framewise_displacement_is_that_of_the_true_motion(estimated, motion):
    centre = np.array(CENTRE)
    found, truth = (
        framewise_displacement(motion_parameters(m, centre)) for m in (estimated[0], motion)
    )
    assert np.isnan(found[0])
    assert np.corrcoef(found[1:], truth[1:])[0, 1] > 0.995
    assert abs(found[1:].mean() - truth[1:].mean()) < 0.03


def test_the_step_from_the_last_dropped_volume_to_the_first_kept_is_no_motion(
    run, motion, tmp_path
):
    # the head jumps after the second volume, and two are dropped
    run, motion = run[..., 15:22], motion[15:22]
    nib.save(nib.Nifti1Image(run.astype(np.float32), BOLD_AFFINE), tmp_path / "bold.nii")
    bold = load_bold(tmp_path / "bold.nii", 2)
    moved = head_motion(bold, "bold.nii", lambda data, *_: motion[-data.shape[3] :])
    whole = framewise_displacement(motion_parameters(motion, np.array(CENTRE)))
    assert whole[2] > 5
    for fd in moved.displacement.values():
        assert np.isnan(fd[0])
        assert len(fd) == 5
    # the centre of rotation is that of the brain found, a little off
    assert moved.mean_fd == pytest.approx(whole[3:].mean(), rel=0.05)


def test_two_estimates_are_bit_identical(estimated, run):
    motion, boldref = estimate_motion(run, BOLD_AFFINE)
    np.testing.assert_array_equal(motion, estimated[0])
    np.testing.assert_array_equal(boldref, estimated[1])


def test_a_still_head_does_not_move(run):
    still = np.repeat(run[..., :1], 12, axis=3)
    motion, _ = estimate_motion(still, BOLD_AFFINE)
    assert max(rms(m @ np.linalg.inv(motion[0])) for m in motion) < 1e-3


def test_realignment_makes_volumes_more_alike(estimated, run):
    motion, boldref = estimated
    inside = boldref > 0.3 * boldref.max()
    moved = resample_volume(run[..., 18], BOLD_AFFINE, motion[18])
    before, after = (np.corrcoef(x[inside], boldref[inside])[0, 1] for x in (run[..., 18], moved))
    assert after > 0.97 > before


def test_power_displacement_is_that_of_the_published_series(shared_data):
    folder = shared_data / "oracle_nipype"
    rotation_first = np.loadtxt(folder / "fsl_mcflirt_movpar.txt")
    published = np.loadtxt(folder / "fsl_motion_outliers_fd.txt")
    parameters = rotation_first[:, [3, 4, 5, 0, 1, 2]]
    found = framewise_displacement(parameters)
    assert len(found) == len(published) + 1
    np.testing.assert_allclose(found[1:], published, atol=1e-6)


def test_power_displacement_is_that_of_fmriprep(shared_data):
    pd = pytest.importorskip("pandas")
    table = pd.read_csv(next((shared_data / "oracle_fmriprep_confounds").glob("*.tsv")), sep="\t")
    columns = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    found = framewise_displacement(table[columns].to_numpy())
    np.testing.assert_allclose(found, table["framewise_displacement"], atol=1e-12)


def test_jenkinson_displacement_of_a_translation_is_its_length():
    motion = np.array([rigid(np.array([*shift, 0, 0, 0])) for shift in [(0, 0, 0), (3, 0, 4)]])
    np.testing.assert_allclose(rms_displacement(motion, np.zeros(3))[1], 5.0)


def test_jenkinson_displacement_is_the_rms_over_the_sphere():
    rng = np.random.default_rng(0)
    motion = np.array([rigid(p) for p in rng.normal(0, 1, (2, 6))])
    centre = np.array([3.0, -10.0, 20.0])
    ball = rng.normal(size=(200_000, 3))
    ball *= (
        80
        * (rng.uniform(size=(len(ball), 1)) ** (1 / 3))
        / np.linalg.norm(ball, axis=1, keepdims=True)
    )
    points = np.c_[ball + centre, np.ones(len(ball))]
    change = motion[1] @ np.linalg.inv(motion[0])
    moved = (points @ change.T - points)[:, :3]
    expected = np.sqrt((moved**2).sum(axis=1).mean())
    np.testing.assert_allclose(rms_displacement(motion, centre)[1], expected, rtol=0.01)


def test_parameters_are_the_shift_of_the_centre_and_the_rotation():
    centre = np.array([10.0, -20.0, 30.0])
    turned = rigid(np.array([0, 0, 0, 5, 0, 0]))
    moved = (turned @ [*centre, 1])[:3] - centre
    found = motion_parameters(turned[None], centre)[0]
    np.testing.assert_allclose(found, [*moved, np.deg2rad(5), 0, 0], atol=1e-12)
