"""Distortion: a phantom that is distorted by a known field, in both polarities."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import preprocess_epi as phantom
import pytest
from nibabel.affines import apply_affine
from scipy.ndimage import gaussian_filter, map_coordinates

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.distortion.b0field import field_of, hz_of_phase, smoothed
from brainmass_core.preprocess.distortion.displacement import opposite_pair, unwarped
from brainmass_core.preprocess.distortion.estimate import (
    coregister_undistorted,
    estimate_distortion,
    from_hz,
    undistorted,
    with_fieldmap,
    without_fieldmap,
)
from brainmass_core.preprocess.distortion.fieldmap import Fieldmap, LoadedFieldmap
from brainmass_core.preprocess.functional.coregistration import Coregistered, coregister
from brainmass_core.preprocess.functional.tissues import epi_brain, share_in_bold
from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.transform_files import load_distortion, save_distortion
from brainmass_core.preprocess.transforms import Distortion, ScanTransforms

POSE = phantom.rigid((-6, 8, -4), (-5, 4, -2))
SESSION = phantom.Session(phantom.Head(1), POSE)
MOVED = phantom.rigid((2, -1, 1.5), (1.5, -1, 2))  # of the head, before the fieldmap
GRE = phantom.Session(SESSION.head, MOVED @ POSE)
ECHOES = 0.00246  # s


@lru_cache(maxsize=4)
def epi(direction: str | None) -> Volume:
    return SESSION.epi(direction, grid=phantom.epi_grid(4.0, shape=(52, 60, 34)))


@lru_cache(maxsize=1)
def magnitude() -> Volume:
    return GRE.epi(grid=phantom.epi_grid(4.0, shape=(54, 60, 38)), name="gre", seed=5)


@lru_cache(maxsize=1)
def anatomy() -> tuple[Volume, np.ndarray]:
    t1w = SESSION.head.t1w(2.0)
    return t1w, SESSION.head.tissue(t1w)


def fieldmap(kind: str) -> LoadedFieldmap:
    if kind == "pepolar":
        images = (epi("j"), epi("j-"))
        return LoadedFieldmap(kind, images, (("j", phantom.READOUT), ("j-", phantom.READOUT)))
    grid = magnitude()
    hz = GRE.hz(grid.points()).reshape(grid.data.shape)
    if kind == "fieldmap":
        return LoadedFieldmap(kind, (grid.with_data(hz), grid))
    return LoadedFieldmap(kind, (grid.with_data(wrapped(hz)), grid), (), ECHOES)


def wrapped(hz: np.ndarray) -> np.ndarray:
    """Phase in rad with an offset, so that it wraps within the brain, and noise in the air."""
    noise = np.random.default_rng(3).normal(0, 1, hz.shape)
    noise *= np.minimum(3, 20 / np.maximum(magnitude().data, 1))
    return np.angle(np.exp(1j * (2 * np.pi * ECHOES * (hz + 150) + noise)))


def error(found: np.ndarray, distortion: Distortion | None, direction: str) -> float:
    """Mean distance (mm) over the brain between the estimated and the true position of a T1w point
    in the EPI.
    """
    points = SESSION.head.brain_points()
    there = apply_affine(found, points)
    there = there if distortion is None else distortion.to_distorted(there)
    truth = SESSION.shown_at(points, direction, epi(direction))
    return float(np.linalg.norm(there - truth, axis=1).mean())


# Transform


@pytest.fixture
def smooth_distortion() -> Distortion:
    rng = np.random.default_rng(0)
    values = gaussian_filter(rng.standard_normal((48, 48, 30)), 4)
    affine = phantom.epi_grid(4.0, shape=(48, 48, 30)).affine
    direction = np.array([0.1, 0.95, -0.3])
    values *= 8 / np.abs(values).max()
    return Distortion(values.astype(np.float32), affine, direction / np.linalg.norm(direction))


def test_undistorting_is_the_inverse_of_distorting(smooth_distortion):
    points = np.random.default_rng(1).uniform(-90, 90, (2000, 3))
    there = smooth_distortion.to_distorted(points)
    np.testing.assert_allclose(smooth_distortion.to_undistorted(there), points, atol=0.01)
    moved = there - points
    along = moved @ smooth_distortion.direction
    np.testing.assert_allclose(moved, along[:, None] * smooth_distortion.direction, atol=1e-12)
    assert np.abs(along).max() > 5


def test_a_distortion_is_read_as_it_was_written_and_small(tmp_path, smooth_distortion):
    save_distortion(tmp_path / "d.npz", smooth_distortion)
    assert (tmp_path / "d.npz").stat().st_size < 200_000
    found = load_distortion(tmp_path / "d.npz")
    np.testing.assert_allclose(found.displacement, smooth_distortion.displacement, atol=0.01)
    np.testing.assert_array_equal(found.affine, smooth_distortion.affine)
    np.testing.assert_array_equal(found.direction, smooth_distortion.direction)


# Sign


@pytest.mark.parametrize("direction", ["i", "i-", "j", "j-", "k", "k-"])
@pytest.mark.parametrize("flip", [False, True])
def test_a_positive_field_shows_signal_further_along_the_axis_of_the_file(direction, flip):
    """Independent: the index arithmetic of the file (as FSL and SDCFlows define it)."""
    grid = phantom.epi_grid(3.5, flip, (20, 22, 18))
    hz = 50 + 30 * np.sin(np.indices(grid.data.shape).sum(axis=0) / 9)
    found = from_hz(grid.with_data(hz), np.eye(4), grid, direction, 0.05)
    voxels = np.random.default_rng(0).uniform(2, 15, (200, 3))
    shown = apply_affine(
        np.linalg.inv(grid.affine), found.to_distorted(apply_affine(grid.affine, voxels))
    )
    expected = voxels.copy()
    shift = 0.05 * map_coordinates(hz, voxels.T, order=3)
    expected[:, "ijk".index(direction[0])] += -shift if direction.endswith("-") else shift
    np.testing.assert_allclose(shown, expected, atol=0.02)


@pytest.mark.parametrize("direction", ["j", "j-"])
def test_the_true_field_undistorts_a_truly_distorted_image(direction):
    grid = epi(direction)
    hz = grid.with_data(SESSION.hz(grid.points()).reshape(grid.data.shape))
    found = from_hz(hz, np.eye(4), grid, direction, phantom.READOUT)
    # intensities are not corrected, so the brain's outline is compared
    points = grid.points()
    brain = grid.with_data(
        SESSION.value("brain", SESSION.source(points, direction, phantom.READOUT, grid)[0]).reshape(
            grid.data.shape
        )
    )
    truth = SESSION.value("brain", points).reshape(grid.data.shape) > 0.5
    before, after = (np.mean((x.data > 0.5) != truth) for x in (brain, undistorted(brain, found)))
    assert after < 0.6 * before  # voxels at the border are of both
    wrong = from_hz(hz, np.eye(4), grid, {"j": "j-", "j-": "j"}[direction], phantom.READOUT)
    assert np.mean((undistorted(brain, wrong).data > 0.5) != truth) > before


# Fields


def test_phases_are_unwrapped_to_hz():
    grid = magnitude()
    truth = GRE.hz(grid.points()).reshape(grid.data.shape)
    mask = GRE.value("brain", grid.points()).reshape(truth.shape) > 0.5
    phase = wrapped(truth)
    assert np.ptp(truth[mask]) * ECHOES * 2 * np.pi > 2
    jumps = np.abs(np.diff(phase, axis=1))[mask[:, 1:] & mask[:, :-1]]
    assert jumps.max() > 5  # it wraps inside
    found = hz_of_phase(phase, grid, mask, ECHOES)
    apart = (found - truth)[mask]
    assert np.abs(apart - np.median(apart)).mean() < 3
    assert abs(np.median(found[mask])) < 1e-6
    assert not found[~mask].any()


def test_a_field_is_continued_smoothly_beyond_the_head():
    shape, size = (40, 40, 30), np.full(3, 3.0)
    x = np.indices(shape)[0]
    distance = np.sqrt(((np.indices(shape).T - [20, 20, 15]) ** 2).sum(axis=-1)).T
    inside = distance < 10
    hz = np.where(inside, 2.0 * x, 1e4)  # meaningless values in the air
    found = smoothed(hz, inside.astype(float), size)
    assert np.abs(found - hz)[distance < 8].max() < 1.0
    assert 2.0 * 9 < found.min() < found.max() < 2.0 * 31
    assert np.abs(np.diff(found, axis=0)).max() < 6


def test_two_phases_are_as_good_as_their_difference():
    both = fieldmap("phasediff")
    wrapped_twice = [
        both.images[0].with_data(np.angle(np.exp(1j * p)))
        for p in (np.full(both.images[0].data.shape, 0.7), both.images[0].data + 0.7)
    ]
    two = LoadedFieldmap("phasediff", (*wrapped_twice, both.images[1]), (), ECHOES)
    bold = (epi("j"), "j", phantom.READOUT)
    first, second = (field_of(f, "embedded", bold)[0].data for f in (both, two))
    np.testing.assert_allclose(first, second, atol=0.1)


def test_opposite_encodings_give_the_displacement():
    grid = epi("j")
    points = grid.points()
    truth = (phantom.READOUT * SESSION.hz(points)).reshape(grid.data.shape)
    brain = (SESSION.value("brain", points) > 0.5).reshape(truth.shape)
    found = opposite_pair(grid.data, epi("j-").data, (1.0, -1.0), 1, grid.voxel_size)
    assert np.abs(found - truth)[brain].mean() < 0.25 * np.abs(truth)[brain].mean()


def test_unwarping_moves_signal_and_makes_none():
    image = gaussian_filter(np.random.default_rng(0).random((10, 60, 8)), 2)
    image[:, :12] = image[:, -12:] = 0
    v = np.broadcast_to(3 * np.sin(np.arange(60) / 9)[None, :, None], image.shape)
    total = unwarped(image, v, 1).value.reshape(image.shape).sum(axis=1)
    np.testing.assert_allclose(total, image.sum(axis=1), rtol=0.01)


def test_one_direction_only_fails_and_says_what_to_add():
    one = LoadedFieldmap("pepolar", (epi("j"),), (("j", phantom.READOUT),))
    with pytest.raises(ScanFailed, match="opposite"):
        field_of(one, "embedded", (epi("j"), "j", phantom.READOUT))


@pytest.mark.slow
def test_the_run_itself_is_the_partner_of_a_single_opposite_image():
    one = LoadedFieldmap("pepolar", (epi("j"),), (("j", phantom.READOUT),))
    found = field_of(one, "embedded", (epi("j-"), "j-", phantom.READOUT))[0].data
    both = field_of(fieldmap("pepolar"), "embedded", (epi("j"), "j", phantom.READOUT))[0].data
    np.testing.assert_array_equal(found, both)


# Everything together


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["j", pytest.param("j-", marks=pytest.mark.nightly)])
def test_fieldmaps_leave_less_than_a_third_of_the_error(direction):
    bold, (t1w, tissue) = epi(direction), anatomy()
    mask = epi_brain(bold, "run")
    before = coregister(bold, mask, t1w, tissue)
    first = error(before.t1w_to_boldref, None, direction)
    assert first > 1.0
    for kind in ("fieldmap", "phasediff", "pepolar"):
        encoded = (bold, direction, phantom.READOUT)
        found = with_fieldmap(encoded, mask, fieldmap(kind), Preprocess())
        after = coregister_undistorted(bold, mask, t1w, tissue, before, found)
        assert error(after.t1w_to_boldref, found, direction) < first / 3, kind
        assert after.cost < before.cost, kind


@pytest.mark.slow
def test_without_a_fieldmap_less_than_two_thirds_of_the_error_are_left():
    bold, (t1w, tissue) = epi("j-"), anatomy()
    mask = epi_brain(bold, "run")
    before = coregister(bold, mask, t1w, tissue)
    found = without_fieldmap(bold, mask, t1w, tissue, before.t1w_to_boldref, "j")
    after = coregister_undistorted(bold, mask, t1w, tissue, before, found)
    first = error(before.t1w_to_boldref, None, "j-")
    assert error(after.t1w_to_boldref, found, "j-") < 2 / 3 * first
    assert after.cost < before.cost
    np.testing.assert_allclose(np.abs(found.direction), [0, 1, 0])  # along that axis only


def test_tissues_are_looked_for_where_the_epi_shows_them():
    bold, (t1w, tissue) = epi("j"), anatomy()
    hz = bold.with_data(SESSION.hz(bold.points()).reshape(bold.data.shape))
    distortion = from_hz(hz, np.eye(4), bold, "j", phantom.READOUT)
    source = SESSION.source(bold.points(), "j", phantom.READOUT, bold)[0]
    truth = (SESSION.value("brain", source) > 0.5).reshape(bold.data.shape)
    shares = [share_in_bold(t1w, tissue > 0, bold, POSE, d) for d in (distortion, None)]
    with_it, without = (np.mean((s > 0.5) != truth) for s in shares)
    assert with_it < 0.5 * without


def test_the_way_from_the_template_passes_through_the_distortion(smooth_distortion):
    class Straight:
        def template_to_t1w(self, points):
            return points

    points = np.random.default_rng(2).uniform(-60, 60, (100, 3))
    transforms = ScanTransforms(Straight(), POSE, np.eye(4)[None], smooth_distortion)
    expected = smooth_distortion.to_distorted(apply_affine(POSE, points))
    np.testing.assert_array_equal(transforms.template_to_boldref(points), expected)
    np.testing.assert_array_equal(transforms.template_to_volume(points, 0), expected)


# Choice


@pytest.mark.parametrize(
    ("wanted", "map_", "encoding", "readout", "done"),
    [
        ("none", True, "j", 0.04, "none: preprocess.distortion is none"),
        ("fieldmap", False, "j", 0.04, "none: no fieldmap"),
        ("fieldmap", True, None, 0.04, "none: no PhaseEncodingDirection"),
        ("any", False, None, None, "none: no PhaseEncodingDirection"),
        ("fieldmap", True, "j", None, "none: no TotalReadoutTime"),
    ],
)
def test_what_cannot_be_done_is_not_done_and_said(wanted, map_, encoding, readout, done):
    bold = phantom.epi_grid()
    some = Fieldmap("pepolar", (), ()) if map_ else None
    place = (bold, np.zeros(1), np.eye(4), Preprocess(distortion=wanted), encoding, readout)
    assert estimate_distortion(bold, np.zeros(1), some, *place) == (None, done)


def test_without_distortion_the_coregistration_stays():
    before = Coregistered(np.eye(4), 0.6, "boundary")
    nothing = (epi("j"), np.zeros(1), epi("j"), np.zeros(1))
    assert coregister_undistorted(*nothing, before, None) is before
