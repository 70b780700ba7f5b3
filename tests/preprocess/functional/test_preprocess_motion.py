"""Head motion, compared with the known motion of the phantom."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from preprocess_phantom import BOLD_AFFINE, rms

from brainmass_core.preprocess.functional.bold import load_bold
from brainmass_core.preprocess.functional.head import head_motion
from brainmass_core.preprocess.functional.motion import (
    estimate_motion,
    resample_volume,
)
from brainmass_core.preprocess.functional.motion_parameters import (
    framewise_displacement,
    motion_parameters,
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
