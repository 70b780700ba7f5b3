"""One interpolation from raw BOLD to parcels: against known truth and nilearn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.affines import apply_affine
from nilearn.image import smooth_img
from nilearn.maskers import NiftiLabelsMasker
from scipy.ndimage import map_coordinates

from brainmass_core.atlas import atlas_from_image, published_labels, voronoi_atlas
from brainmass_core.connectivity import pearson, vectorise
from brainmass_core.demo import scanner
from brainmass_core.demo.dynamics import at_times, parcel_signals
from brainmass_core.demo.head import Head, random_head, random_pose
from brainmass_core.preprocess.functional.slice_timing import correct_slice_timing
from brainmass_core.timeseries.parcellate import coverage, empty_rois, parcel_means, parcel_rows
from brainmass_core.timeseries.resample import (
    atlas_targets,
    average_parcels,
    nearest_values,
    sample_parcels,
    smoothed,
)

T_R, N_VOLUMES = 2.0, 60


class Run(NamedTuple):
    """A synthetic run and what made it."""

    bold: np.ndarray
    affine: np.ndarray
    slice_times: np.ndarray
    to_reference: np.ndarray
    motion: np.ndarray
    truth: np.ndarray


def into_head(head: Head, points: np.ndarray) -> np.ndarray:
    """Template to head: the deformation is smooth, so fixed-point iteration inverts it."""
    inverse = np.linalg.inv(head.affine)
    found = apply_affine(inverse, points)
    for _ in range(20):
        bend = head.to_template(found) - apply_affine(head.affine, found)
        found = apply_affine(inverse, points - bend)
    np.testing.assert_allclose(head.to_template(found), points, atol=0.05)
    return found


@pytest.fixture(scope="module")
def run() -> Run:
    rng = np.random.default_rng(7)
    head, pose = random_head(rng), random_pose(rng, 5.0, 6.0)
    signals = parcel_signals(rng, list(published_labels()["network"]), "control", N_VOLUMES * T_R)
    n_slices = scanner.bold_shape(4.0)[2]
    slice_times = np.arange(n_slices) * T_R / n_slices  # ascending: parcels differ most in time
    parameters = scanner.random_motion(rng, N_VOLUMES, 0.6)
    rest = scanner.head_at_rest(rng, head, pose, 4.0)
    # nothing is regressed out here, so fluid and white matter hold still
    rest = replace(rest, csf=0 * rest.csf, white_matter=0 * rest.white_matter)
    bold, affine = scanner.scan_bold(
        rng, rest, signals, parameters, slice_times, T_R, 0.005, flip=True
    )
    points = atlas_targets(voronoi_atlas(), 3.0).points
    middle = np.arange(N_VOLUMES) * T_R + slice_times.mean()
    return Run(
        bold=bold.astype(np.float32),
        affine=affine,
        slice_times=slice_times,
        to_reference=apply_affine(np.linalg.inv(pose), into_head(head, points)),
        motion=np.stack([np.linalg.inv(scanner.rigid(p)) for p in parameters]),
        truth=at_times(signals, middle),
    )


def recovered(run: Run, motion: np.ndarray, timed: bool = True) -> np.ndarray:
    """Parcel series without drift and without what all parcels share."""
    bold = correct_slice_timing(run.bold, run.slice_times, T_R) if timed else run.bold
    mask = run.bold.mean(axis=3) > 30
    targets = atlas_targets(voronoi_atlas(), 3.0)
    series, share = sample_parcels(bold, run.affine, mask, targets, run.to_reference, motion)
    assert share.min() > 0.8
    return series / series.mean(axis=0)


@pytest.fixture(scope="module")
def series(run: Run) -> np.ndarray:
    """Parcel series with motion and slice timing undone."""
    return recovered(run, run.motion)


def agreement(series: np.ndarray, truth: np.ndarray) -> float:
    """Median correlation of a parcel with its truth, quadratic drift removed from both."""
    drift = np.vander(np.linspace(-1, 1, len(truth)), 3)
    residuals = [x - drift @ np.linalg.lstsq(drift, x, rcond=None)[0] for x in (series, truth)]
    both = pearson(np.column_stack(residuals))
    return float(np.median(np.diag(both[:100, 100:])))


def test_planted_activity_comes_back(run: Run, series: np.ndarray) -> None:
    assert agreement(series, run.truth) > 0.9
    fc, truth = vectorise(pearson(series)), vectorise(pearson(run.truth))
    assert np.corrcoef(fc, truth)[0, 1] > 0.85


def test_motion_is_undone_and_not_doubled(run: Run, series: np.ndarray) -> None:
    still = np.tile(np.eye(4), (N_VOLUMES, 1, 1))
    right, none, doubled = (
        1 - agreement(found, run.truth)
        for found in (series, recovered(run, still), recovered(run, np.linalg.inv(run.motion)))
    )
    assert 1.5 * right < none
    assert 1.5 * none < doubled


def test_slice_timing_is_undone(run: Run, series: np.ndarray) -> None:
    right, untimed = (
        1 - agreement(found, run.truth) for found in (series, recovered(run, run.motion, False))
    )
    assert 1.15 * right < untimed


def test_parcels_of_a_ramp_are_the_ramp_at_their_centroids() -> None:
    """Cubic splines and means reproduce linear images; so the geometry is exact."""
    targets = atlas_targets(voronoi_atlas(), 4.0)
    affine = np.diag([-4.0, 4, 4, 1])
    affine[:3, 3] = [110, -140, -100]
    shape = (56, 70, 56)
    points = apply_affine(affine, np.indices(shape).reshape(3, -1).T)
    ramp = (points @ [1.0, 2.0, -0.5] + 500).reshape(shape)
    shift = np.eye(4)
    shift[:3, 3] = [3, -2, 1]
    series, share = sample_parcels(
        np.stack([ramp, ramp], axis=-1),
        affine,
        np.ones(shape, dtype=bool),
        targets,
        targets.points,
        np.stack([np.eye(4), shift]),
    )
    centroids = parcel_means(targets.points, targets.parcels, 100)
    np.testing.assert_array_equal(share, 1)
    expected = centroids @ [1.0, 2.0, -0.5] + 500
    np.testing.assert_allclose(series[0], expected, rtol=1e-3)
    np.testing.assert_allclose(series[1], expected + 3 - 4 - 0.5, rtol=1e-3)


def wavy(points: np.ndarray) -> np.ndarray:
    """A smooth image as a function of mm, so that it depends on no grid."""
    x, y, z = (points / 25).T
    return 500 + 40 * np.sin(x + 0.3 * y) * np.cos(z) + 30 * np.cos(y - z)


def shear(degrees: float) -> np.ndarray:
    """Grid of 3 mm, with its third axis not at right angles to the others (gantry tilt)."""
    affine = np.diag([-3.0, 3, 3, 1])
    affine[1, 2] = 3 * np.tan(np.radians(degrees))
    affine[:3, 3] = [111, -140 - 96 * np.tan(np.radians(degrees)), -96]
    return affine


@pytest.mark.parametrize("degrees", [5.0, 15.0])
def test_a_sheared_grid_gives_the_same_parcels(degrees: float) -> None:
    targets = atlas_targets(voronoi_atlas(), 4.0)
    shape = (75, 84, 70)
    motion = np.tile(np.eye(4), (2, 1, 1))
    motion[1, :3, 3] = [2.0, -1.0, 1.5]
    found = []
    for affine in (shear(0), shear(degrees)):
        points = apply_affine(affine, np.indices(shape).reshape(3, -1).T)
        volume = wavy(points).reshape(shape)
        series, share = sample_parcels(
            *(np.stack([volume, volume], axis=-1), affine, np.ones(shape, dtype=bool)),
            *(targets, targets.points, motion),
        )
        assert share.min() > 0.95
        found.append(series)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3)
    assert np.abs(found[0][0] - found[0][1]).max() > 1  # the motion is seen


def test_single_precision_is_enough() -> None:
    """Against the same in double precision by scipy; signals are about a hundredth of the mean."""
    targets = atlas_targets(voronoi_atlas(), 4.0)
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = [-110, -140, -100]
    bold = np.random.default_rng(0).uniform(500, 1500, (56, 70, 56, 2)).astype(np.float32)
    motion = np.tile(np.eye(4), (2, 1, 1))
    mask = np.ones(bold.shape[:3], dtype=bool)
    series, _ = sample_parcels(bold, affine, mask, targets, targets.points, motion)
    voxels = apply_affine(np.linalg.inv(affine), targets.points).T
    for t in range(2):
        exact = map_coordinates(bold[..., t].astype(np.float64), voxels, order=3, mode="mirror")
        np.testing.assert_allclose(series[t], parcel_means(exact, targets.parcels, 100), rtol=1e-6)


def test_smoothing_is_nilearn_s_in_mm_whatever_the_axes() -> None:
    affine = np.array([[0, -2.0, 0, 40], [3, 0, 0, -50], [0, 0, 4, -60], [0, 0, 0, 1]])
    volume = np.random.default_rng(0).normal(1000, 100, (40, 42, 30)).astype(np.float32)
    theirs = smooth_img(nib.Nifti1Image(volume, affine), 6.0).get_fdata()
    inside = (slice(8, -8),) * 3  # at the border nilearn mixes zeros in
    np.testing.assert_allclose(smoothed(volume, affine, 6.0)[inside], theirs[inside], rtol=1e-4)
    np.testing.assert_array_equal(smoothed(volume, affine, None), volume)


def test_smoothing_reaches_the_parcels(run: Run, tmp_path: Path) -> None:
    mask = run.bold.mean(axis=3) > 30
    targets = atlas_targets(voronoi_atlas(), 3.0)
    place = (run.affine, mask, targets, run.to_reference, run.motion[:2])
    bold = run.bold[..., :2]
    smooth = np.stack([smoothed(bold[..., t], run.affine, 8.0) for t in range(2)], axis=-1)
    expected, _ = sample_parcels(smooth, *place)
    found, _ = sample_parcels(bold, *place, smoothing_fwhm=8.0)
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found / sample_parcels(bold, *place)[0] - 1).max() > 0.01
    where = (run.affine, mask, voronoi_atlas())
    found, _ = average_parcels(bold, *where, smoothing_fwhm=8.0)
    np.testing.assert_array_equal(found, average_parcels(smooth, *where)[0])


def test_parcels_outside_the_field_of_view_are_not_covered() -> None:
    targets = atlas_targets(voronoi_atlas(), 4.0)
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = [-110, -140, 0]  # the lower half of the head was not recorded
    bold = np.random.default_rng(0).uniform(1, 2, (56, 70, 25, 3))
    mask = np.ones(bold.shape[:3], dtype=bool)
    motion = np.tile(np.eye(4), (3, 1, 1))
    series, share = sample_parcels(bold, affine, mask, targets, targets.points, motion)
    low, high = (
        parcel_means(targets.points, targets.parcels, 100)[:, 2] < -12,
        parcel_means(targets.points, targets.parcels, 100)[:, 2] > 25,
    )
    assert share[low].max() < 0.2
    assert share[high].min() == 1
    assert np.isnan(series[:, share == 0]).all()
    assert np.isfinite(series[:, share > 0]).all()


class TestTemplateSpace:
    """Runs that lie in the atlas's space already."""

    @pytest.fixture
    def image(self, tmp_path: Path) -> tuple[nib.Nifti1Image, nib.Nifti1Image, Path]:
        rng = np.random.default_rng(3)
        affine = np.diag([3.0, 3, 3, 1])
        labels = rng.choice([0, 1, 2, 4, 7], (12, 13, 11)).astype(np.int16)
        path = tmp_path / "atlas.nii.gz"
        nib.save(nib.Nifti1Image(labels, affine), path)
        bold = nib.Nifti1Image(rng.normal(1000, 50, (12, 13, 11, 20)).astype(np.float32), affine)
        mask = nib.Nifti1Image((rng.uniform(size=labels.shape) < 0.8).astype(np.uint8), affine)
        return bold, mask, path

    def test_parcel_means_equal_nilearn(self, image) -> None:
        bold, mask, path = image
        masker = NiftiLabelsMasker(str(path), mask_img=mask, standardize=None)
        theirs = masker.fit_transform(bold)
        inside = np.asarray(mask.dataobj) > 0
        atlas = atlas_from_image(path, "mine", "MNI152NLin6Asym")
        ours, _ = average_parcels(bold.get_fdata(), bold.affine, inside, atlas)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)

    def test_coverage_is_the_share_of_the_mask(self, image) -> None:
        bold, mask, path = image
        inside, labels = np.asarray(mask.dataobj) > 0, np.asarray(nib.load(path).dataobj)
        atlas = atlas_from_image(path, "mine", "MNI152NLin6Asym")
        _, share = average_parcels(bold.get_fdata(), bold.affine, inside, atlas)
        expected = [inside[labels == i].mean() for i in (1, 2, 4, 7)]
        np.testing.assert_allclose(share, expected)

    def test_a_finer_atlas_gives_voxels_the_label_of_their_centre(self, tmp_path: Path) -> None:
        labels = np.kron(np.arange(1, 9).reshape(2, 2, 2), np.ones((6, 6, 6))).astype(np.int16)
        nib.save(nib.Nifti1Image(labels, np.diag([1.0, 1, 1, 1])), tmp_path / "fine.nii.gz")
        atlas = atlas_from_image(tmp_path / "fine.nii.gz", "fine", "MNI152NLin6Asym")
        coarse = np.diag([3.0, 3, 3, 1])
        coarse[:3, 3] = 1  # its voxels are blocks of 3 x 3 x 3 of the atlas's
        bold = np.arange(64.0).reshape(4, 4, 4, 1)
        series, share = average_parcels(bold, coarse, np.ones((4, 4, 4), dtype=bool), atlas)
        expected = bold.reshape(2, 2, 2, 2, 2, 2).mean(axis=(1, 3, 5)).ravel()
        np.testing.assert_allclose(series[0], expected)
        np.testing.assert_array_equal(share, 1)


def test_targets_carry_the_label_of_the_voxel_they_lie_in() -> None:
    atlas = voronoi_atlas()
    targets = atlas_targets(atlas, 3.0)
    image = atlas.load()
    found = nearest_values(np.asarray(image.dataobj), image.affine, targets.points)
    np.testing.assert_array_equal(found, targets.parcels + 1)
    volume = 27 * np.bincount(targets.parcels, minlength=100)
    expected = 8 * np.bincount(np.asarray(image.dataobj).ravel())[1:]
    np.testing.assert_allclose(volume, expected, rtol=0.2)


def test_parcel_means_equal_a_group_by() -> None:
    rng = np.random.default_rng(0)
    values, parcels = rng.standard_normal((200, 3)), rng.integers(-1, 6, 200)
    theirs = pd.DataFrame(values).groupby(parcels).mean().loc[0:].to_numpy()
    np.testing.assert_allclose(parcel_means(values, parcels, 6), theirs)


def test_a_parcel_without_voxels_is_nan_and_not_covered() -> None:
    parcels = np.array([0, 0, 2])
    assert np.isnan(parcel_means(np.ones(3), parcels, 4)).tolist() == [False, True, False, True]
    np.testing.assert_array_equal(
        coverage(np.array([True, False, True]), parcels, 4), [0.5, 0, 1, 0]
    )


def test_labels_without_a_row_belong_to_no_parcel() -> None:
    rows = parcel_rows(np.array([0, 2, 3, 9, 12]), np.array([2, 9]))
    assert rows.tolist() == [-1, 0, -1, 1, -1]


def test_constant_and_missing_parcels_are_empty() -> None:
    x = np.random.default_rng(0).standard_normal((50, 5)) + 1000
    x[:, 1], x[:, 2], x[7, 3] = 3.25, 0, np.nan
    assert empty_rois(x).tolist() == [False, True, True, True, False]
