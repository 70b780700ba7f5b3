"""T1w to template and T1w to BOLD, compared with the phantom's truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import preprocess_phantom as phantom
import pytest
from nibabel.affines import apply_affine
from nilearn import datasets
from scipy.ndimage import binary_dilation
from scipy.spatial.transform import Rotation

from brainmass_core.config.preprocess import Engines, Preprocess
from brainmass_core.pipeline.workers import in_processes
from brainmass_core.preprocess.anatomical.registration import deform, t1w_to_template
from brainmass_core.preprocess.anatomical.segmentation import FLUID, GREY, WHITE, labels_of, segment
from brainmass_core.preprocess.anatomical.structural import Structure, estimate
from brainmass_core.preprocess.anatomical.t1w import anatomy_of
from brainmass_core.preprocess.anatomical.template import Template, TemplateError, load_template
from brainmass_core.preprocess.engines.antspy import register
from brainmass_core.preprocess.functional.coregistration import (
    boundary_cost,
    coregister,
    white_boundary,
)
from brainmass_core.preprocess.functional.tissues import epi_brain, noise_regions
from brainmass_core.preprocess.grids import Volume, to_isotropic
from brainmass_core.preprocess.steps import Steps
from brainmass_core.preprocess.transforms import Normalisation


@pytest.fixture(scope="module")
def template() -> Template:
    return load_template(None, None, 3.0)


@pytest.fixture(scope="module")
def normalised(template) -> Structure:
    return estimated(template)


def estimated(template: Template, **engines: str) -> Structure:
    image = phantom.t1w()
    head = Volume(image.get_fdata(), image.affine)
    settings = Preprocess(resolution=3.0, registration="syn_fast", engines=Engines(**engines))
    return estimate(head, template, settings, Steps())


@pytest.fixture(scope="module")
def tissue(normalised) -> np.ndarray:
    return labels_of(normalised.posteriors, normalised.mask)


@pytest.fixture(scope="module")
def boldref() -> Volume:
    data = phantom.bold(np.array([np.eye(4)] * 8), noise=0.01).mean(axis=3)
    return Volume(data, phantom.BOLD_AFFINE)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def mean_error(found: Normalisation) -> float:
    """Error (mm) of the normalisation in grey matter: to the T1w, and back by the true map."""
    grey = datasets.load_mni152_gm_mask(resolution=2)
    points = apply_affine(grey.affine, np.argwhere(np.asarray(grey.dataobj) > 0)[::11])
    back = phantom.t1w_to_template(found.template_to_t1w(points))
    return float(np.linalg.norm(back - points, axis=1).mean())


@pytest.mark.study
def test_points_of_the_template_are_found_in_the_t1w(normalised):
    assert mean_error(normalised.normalisation) < 1.8  # measured 1.36; an affine alone 1.78
    assert normalised.template_correlation > 0.85


@pytest.mark.study
def test_the_deformation_is_better_than_an_affine_alone(normalised):
    found = normalised.normalisation
    straight = replace(found, field=np.zeros_like(found.field))
    assert mean_error(found) < 0.8 * mean_error(straight)


@pytest.mark.study
def test_the_brain_is_found(normalised):
    points = phantom.t1w_to_template(normalised.t1w.points())
    truth = phantom.sample(phantom.maps().brain, points, order=1).reshape(normalised.mask.shape)
    assert dice(normalised.mask, truth > 0.5) > 0.96


@pytest.mark.study
def test_tissues_are_told_apart(normalised, tissue):
    points = phantom.t1w_to_template(normalised.t1w.points())
    truth = phantom.sample(phantom.maps().white, points, order=1).reshape(tissue.shape) > 0.5
    assert dice(tissue == WHITE, truth) > 0.85
    means = [normalised.t1w.data[tissue == k].mean() for k in (FLUID, GREY, WHITE)]
    assert means == sorted(means)
    np.testing.assert_array_equal(tissue > 0, normalised.mask)


def test_posteriors_are_probabilities():
    rng = np.random.default_rng(0)
    mask = np.ones((12, 12, 12), dtype=bool)
    priors = rng.dirichlet([1, 1, 1], mask.shape)
    posteriors = segment(rng.normal(100, 20, mask.shape), mask, priors)
    np.testing.assert_allclose(posteriors.sum(axis=-1), 1, atol=1e-5)
    with pytest.raises(ValueError, match="contrast"):
        segment(np.ones(mask.shape), mask, priors)


@pytest.mark.parametrize("turn", ["flip", "permute", "oblique"])
def test_the_orientation_of_the_file_does_not_matter(turn):
    image = phantom.t1w()
    data, affine = image.get_fdata(), image.affine.copy()
    if turn == "flip":
        data = data[::-1]
        affine = affine @ np.array(
            [[-1, 0, 0, len(data) - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
        )
    elif turn == "permute":
        data, affine = np.transpose(data, (2, 0, 1)), affine[:, [2, 0, 1, 3]]
    else:
        tilt = np.eye(4)
        tilt[:3, :3] = Rotation.from_euler("x", 12, degrees=True).as_matrix()
        affine = tilt @ affine
    found = to_isotropic(Volume(data, affine), 3.0)
    np.testing.assert_allclose(found.affine[:3, :3], 3 * np.eye(3))
    expected = Volume(data, affine).at(found.points())
    np.testing.assert_allclose(found.data.ravel(), expected, atol=0.01)
    assert found.data.max() > 0.9 * data.max()


@pytest.mark.study
def test_t1w_and_bold_are_brought_together(normalised, tissue, boldref):
    mask = epi_brain(boldref, "run")
    found = coregister(boldref, mask, normalised.t1w, tissue)
    error = phantom.rms(found.t1w_to_boldref @ np.linalg.inv(phantom.T1W_TO_BOLD_WORLD))
    assert error < 0.5
    assert 0 < found.cost < 0.9


@pytest.mark.study
def test_the_boundary_cost_is_least_where_the_images_match(normalised, tissue, boldref):
    boundary = white_boundary(normalised.t1w, tissue)
    best = boundary_cost(boldref, boundary, phantom.T1W_TO_BOLD_WORLD)
    for shift in [*np.eye(3) * 3, *np.eye(3) * -3]:
        away = np.eye(4)
        away[:3, 3] = shift
        assert boundary_cost(boldref, boundary, away @ phantom.T1W_TO_BOLD_WORLD) > best + 0.03


@pytest.mark.study
def test_noise_regions_hold_no_cortex(normalised, tissue, boldref):
    mask = epi_brain(boldref, "run")
    regions = noise_regions(normalised.t1w, tissue, boldref, phantom.T1W_TO_BOLD_WORLD, mask, "run")
    assert min(r.sum() for r in regions.values()) >= 20
    assert not (regions["csf"] & regions["white_matter"]).any()
    assert boldref.data[regions["csf"]].mean() > boldref.data[regions["white_matter"]].mean()
    cortex = binary_dilation(mask) & ~mask  # the brain's rim
    assert not any((r & cortex).any() for r in regions.values())


@pytest.mark.study
def test_two_bends_of_one_head_are_bit_identical(template, normalised):
    affine = normalised.normalisation.affine
    first, second = (
        deform(normalised.t1w, normalised.mask, template, "syn_fast", affine) for _ in range(2)
    )
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["greedy", pytest.param("embedded", marks=pytest.mark.nightly)])
def test_registrations_are_bit_identical(name, template, normalised):
    first = normalised if name == "greedy" else estimated(template, normalisation=name)
    again = estimated(template, normalisation=name)
    a, b = again.normalisation, first.normalisation
    np.testing.assert_array_equal(a.affine, b.affine)
    np.testing.assert_array_equal(a.field, b.field)
    np.testing.assert_array_equal(again.mask, first.mask)
    np.testing.assert_array_equal(again.t1w.data, first.t1w.data)


def derivatives(t1w: Path, folder: Path) -> dict[str, bytes]:
    """Content of the anatomical derivatives, by name; also called in worker processes."""
    found = anatomy_of(str(t1w), folder, Preprocess(resolution=4.0, registration="syn"))
    return {name: file.read_bytes() for name, file in found.files.items()}


@pytest.mark.slow
def test_two_workers_at_once_and_this_process_write_the_same_bytes(tmp_path):
    phantom.t1w().to_filename(tmp_path / "sub-1_T1w.nii.gz")
    head, names = tmp_path / "sub-1_T1w.nii.gz", ("a", "b")
    found = dict(in_processes(derivatives, {n: (head, tmp_path / n) for n in names}, 2))
    here = derivatives(head, tmp_path / "here")
    assert here.keys() >= {"normalisation", "tissue", "t1w_preproc"}
    assert found == {"a": here, "b": here}


def test_ants_transforms_are_read_in_our_coordinates(template):
    moved = np.eye(4)
    moved[:3, :3] = Rotation.from_euler("xyz", [5, -4, 8], degrees=True).as_matrix()
    moved[:3, 3] = [4, 9, -6]
    other = Volume(template.brain.data, moved @ template.brain.affine)
    found = register(template.brain, other, "Rigid")
    assert phantom.rms(found.affine @ np.linalg.inv(moved)) < 0.1


def test_an_affine_given_to_ants_is_the_one_it_starts_from(template):
    start = np.eye(4)
    start[:3, :3] = Rotation.from_euler("xyz", [5, -4, 8], degrees=True).as_matrix() * 1.05
    start[:3, 3] = [4, 9, -6]
    found = register(template.brain, template.brain, "SyNOnly", None, start, reg_iterations=(0,))
    np.testing.assert_allclose(found.affine, start, atol=1e-4)


@pytest.mark.study
def test_the_way_back_is_the_inverse_of_the_normalisation(normalised):
    rng = np.random.default_rng(0)
    points = rng.uniform([-60, -90, -40], [60, 60, 70], (500, 3))
    there = normalised.normalisation.template_to_t1w(points)
    back = t1w_to_template(there, normalised.normalisation)
    np.testing.assert_allclose(back, points, atol=0.05)


def test_a_template_without_mask_is_refused(tmp_path):
    with pytest.raises(TemplateError, match="template_mask"):
        load_template(tmp_path / "t.nii.gz", None, 3.0, "MNI152NLin6Asym")


def test_a_template_of_no_known_space_is_refused(tmp_path):
    with pytest.raises(TemplateError, match=r"t.nii.gz: its space is not known.*MNI152NLin6Asym"):
        load_template(tmp_path / "t.nii.gz", tmp_path / "m.nii.gz", 3.0)
