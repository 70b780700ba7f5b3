"""Head motion by SimpleITK and antspyx, compared with the truth and with our estimate."""

from __future__ import annotations

import sys

import nibabel as nib
import numpy as np
import preprocess_moving_head as phantom
import pytest
from nibabel.affines import apply_affine

from brainmass_core.preprocess.engines import inprocess
from brainmass_core.preprocess.functional.motion import (
    estimate_motion,
    motion_to_reference,
    realigned_series,
    reference_volume,
)
from brainmass_core.preprocess.functional.motion_parameters import (
    framewise_displacement,
    motion_parameters,
)

ENGINES = ["motion_simpleitk", pytest.param("motion_ants", marks=pytest.mark.study)]


@pytest.fixture(scope="module")
def jumped() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Six volumes, the last two 5 mm and 5 degrees away, the reference, and the truth."""
    truth = phantom.true_motion(12)[:6]
    away = phantom.rigid(np.array([3.0, -3.0, 3.0, 3.0, -3.0, 3.0]))
    truth[4:] = away @ truth[4:]
    run = phantom.scanned(truth)
    return run, reference_volume(run[..., :4], phantom.AFFINE), truth


def errors(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return phantom.sphere_rms(phantom.relative_to_truth(found, truth))


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_transform_from_reference_to_volume(engine, jumped):
    run, reference, truth = jumped[0][..., 2:], jumped[1], jumped[2][2:]
    found = getattr(inprocess, engine)(run, phantom.AFFINE, reference)
    ours = motion_to_reference(run, phantom.AFFINE, reference)
    assert found.shape == (4, 4, 4)
    assert errors(found, truth).max() < 0.2
    apart = phantom.sphere_rms(found @ np.linalg.inv(ours))
    assert apart.max() < 0.2
    assert phantom.sphere_rms(ours)[2:].min() > 5  # the motion is not negligible


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_are_bit_identical_at_every_run(engine, jumped):
    run, reference, _ = jumped
    once, again = (
        getattr(inprocess, engine)(run[..., 4:5], phantom.AFFINE, reference) for _ in range(2)
    )
    np.testing.assert_array_equal(once, again)


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_take_oblique_and_permuted_grids(engine, jumped):
    run, reference, _ = jumped
    turn = phantom.rigid(np.array([20.0, -30.0, 10.0, 12.0, 8.0, -15.0]))
    affine = (turn @ phantom.AFFINE)[:, [2, 1, 0, 3]]
    there = run[..., 4:5].transpose(2, 1, 0, 3)
    found = getattr(inprocess, engine)(there, affine, reference.transpose(2, 1, 0))[0]
    ours = motion_to_reference(there, affine, reference.transpose(2, 1, 0))[0]
    back = np.linalg.inv(turn) @ (found @ np.linalg.inv(ours)) @ turn
    assert phantom.sphere_rms(back[None])[0] < 0.2


def test_missing_simpleitk_names_the_knob_and_the_package(monkeypatch, jumped):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(ValueError, match=r"engines\.motion is simpleitk.*pip install SimpleITK"):
        inprocess.motion_simpleitk(jumped[0], phantom.AFFINE, jumped[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "error", "correlation"),
    [
        ("motion_simpleitk", 0.04, 0.997),
        pytest.param("motion_ants", 0.08, 0.99, marks=pytest.mark.nightly),
    ],
)
def test_engines_agree_on_a_run_with_a_jump(engine, error, correlation):
    truth = phantom.true_motion(40, jumps=(5.0,))
    run = phantom.scanned(truth)
    reference = reference_volume(run, phantom.AFFINE)
    ours = motion_to_reference(run, phantom.AFFINE, reference)
    theirs = getattr(inprocess, engine)(run, phantom.AFFINE, reference)
    apart = phantom.sphere_rms(theirs @ np.linalg.inv(ours))
    assert np.sqrt(np.mean(apart**2)) < error
    fd, other, true = (
        framewise_displacement(motion_parameters(m, phantom.CENTRE))[1:]
        for m in (ours, theirs, truth)
    )
    assert np.corrcoef(fd, other)[0, 1] > correlation
    # the default is the more accurate one
    assert np.mean(errors(ours, truth) ** 2) < np.mean(errors(theirs, truth) ** 2)
    assert np.corrcoef(fd, true)[0, 1] > 0.999


@pytest.mark.nightly
@pytest.mark.slow
def test_a_real_head_moves_alike_for_both_engines_and_antspy_only_counts_otherwise(shared_data):
    """See docs/explanation/motion.md: 0.084 mm in SOURCE.md is another definition of FD."""
    folder = shared_data / "bids_studyforrest_sub02" / "sub-02" / "func"
    image = nib.load(folder / "sub-02_task-oneback_run-1_bold.nii.gz")
    run, affine = np.asarray(image.dataobj, dtype=np.float32), image.affine
    ours, reference = estimate_motion(run, affine)
    theirs = inprocess.motion_simpleitk(run, affine, reference)
    inside = reference > 0.3 * np.percentile(reference, 99)
    centre = apply_affine(affine, np.argwhere(inside).mean(axis=0))
    fd, other = (framewise_displacement(motion_parameters(m, centre))[1:] for m in (ours, theirs))
    assert np.corrcoef(fd, other)[0, 1] > 0.9
    assert fd.mean() == pytest.approx(0.123, abs=0.005)
    assert other.mean() == pytest.approx(fd.mean(), rel=0.1)
    assert _antspy_displacement(ours, centre).mean() == pytest.approx(0.084, abs=0.006)
    left, left_theirs, raw = (
        np.diff(realigned_series(run, affine, m, inside), axis=0).var(axis=0).mean()
        for m in (ours, theirs, np.repeat(np.eye(4)[None], len(ours), axis=0))
    )
    assert left < left_theirs < raw


def _antspy_displacement(motion: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """FD as in `ants.motion_correction`: twelve points, mean step per axis, then the sum."""
    corners = np.array(np.meshgrid(*[(-1, 0, 1)] * 3)).reshape(3, -1).T
    points = centre + 25.0 * corners[np.abs(corners).sum(axis=1) == 2]
    places = np.array([apply_affine(m, points) for m in motion])
    return np.abs(np.diff(places, axis=0)).mean(axis=1).sum(axis=1)
