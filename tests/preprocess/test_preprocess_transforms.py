"""Transforms: `timeseries` reads exactly what was estimated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from nibabel.affines import apply_affine
from scipy.spatial.transform import Rotation

from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.transform_files import (
    load_transforms,
    save_affine,
    save_distortion,
    save_motion,
    save_normalisation,
)
from brainmass_core.preprocess.transforms import Distortion, Normalisation, ScanTransforms

OUTPUTS = {"normalisation": "a/n.npz", "coregistration": "a/c.txt", "motion": "a/m.npy"}


def random_rigid(rng: np.random.Generator) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", rng.normal(0, 0.2, 3)).as_matrix()
    matrix[:3, 3] = rng.normal(0, 20, 3)
    return matrix


@pytest.fixture
def transforms() -> ScanTransforms:
    rng = np.random.default_rng(0)
    shape, affine = (36, 46, 38), np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = [-72, -106, -64]
    waves = [np.cos(np.arange(n) / 6) for n in shape]
    field = 6 * np.einsum("i,j,k,c->ijkc", *waves, np.array([1, -0.5, 0.8])).astype(np.float32)
    normalisation = Normalisation(random_rigid(rng) @ np.diag([1.1, 0.9, 1, 1]), field, affine)
    motion = np.array([random_rigid(rng) for _ in range(5)])
    return ScanTransforms(normalisation, random_rigid(rng), motion)


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(1).uniform([-80, -110, -70], [80, 80, 90], (500, 3))


def write(folder, transforms) -> None:
    save_normalisation(folder / OUTPUTS["normalisation"], transforms.normalisation)
    save_affine(folder / OUTPUTS["coregistration"], transforms.t1w_to_boldref)
    save_motion(folder / OUTPUTS["motion"], transforms.motion)


def test_reading_is_the_inverse_of_writing(tmp_path, transforms, points):
    write(tmp_path, transforms)
    for outputs in (OUTPUTS, list(OUTPUTS.items())):  # pyarrow gives pairs
        found = load_transforms(tmp_path, outputs)
        for t in (0, 4):
            moved = found.template_to_volume(points, t)
            np.testing.assert_allclose(moved, transforms.template_to_volume(points, t), atol=0.01)
        np.testing.assert_array_equal(found.motion, transforms.motion)
        np.testing.assert_array_equal(found.t1w_to_boldref, transforms.t1w_to_boldref)


def test_the_way_to_a_volume_is_the_three_ways_one_after_another(transforms, points):
    in_t1w = transforms.normalisation.template_to_t1w(points)
    in_boldref = apply_affine(transforms.t1w_to_boldref, in_t1w)
    np.testing.assert_array_equal(transforms.template_to_boldref(points), in_boldref)
    in_volume = apply_affine(transforms.motion[2], in_boldref)
    np.testing.assert_array_equal(transforms.template_to_volume(points, 2), in_volume)


def test_at_its_nodes_the_field_is_the_field(transforms):
    n = transforms.normalisation
    index = np.array([[0, 0, 0], [10, 20, 30], [35, 45, 37]])
    nodes = apply_affine(n.field_affine, index)
    expected = apply_affine(n.affine, nodes + n.field[tuple(index.T)])
    np.testing.assert_allclose(n.template_to_t1w(nodes), expected, atol=1e-4)


def test_no_field_is_an_affine(points):
    matrix = random_rigid(np.random.default_rng(2))
    affine_only = Normalisation(matrix, np.zeros((2, 2, 2, 3), np.float32), np.eye(4))
    np.testing.assert_allclose(affine_only.template_to_t1w(points), apply_affine(matrix, points))


def test_a_participant_costs_less_than_a_megabyte(tmp_path, transforms):
    write(tmp_path, transforms)
    assert (tmp_path / OUTPUTS["normalisation"]).stat().st_size < 1e6


@pytest.mark.parametrize("name", list(OUTPUTS.values()))
@pytest.mark.parametrize("harm", ["missing", "truncated"])
def test_damaged_transforms_fail_the_scan_and_say_what_to_run(tmp_path, transforms, name, harm):
    write(tmp_path, transforms)
    file = tmp_path / name
    if harm == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    with pytest.raises(ScanFailed) as caught:
        load_transforms(tmp_path, OUTPUTS)
    assert "preprocess" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("motion", np.ones((16, 4))),
        ("motion", np.full((3, 4, 4), np.nan)),
        ("coregistration", np.eye(3)),
        ("normalisation", np.ones((4, 4))),
    ],
)
def test_what_is_no_transform_fails_the_scan(tmp_path, transforms, name, content):
    write(tmp_path, transforms)
    file = tmp_path / OUTPUTS[name]
    with open(file, "wb") as stream:
        np.savetxt(stream, content) if name == "coregistration" else np.save(stream, content)
    with pytest.raises(ScanFailed, match="cannot be read") as caught:
        load_transforms(tmp_path, OUTPUTS)
    assert "preprocess" in caught.value.remedy


@pytest.fixture
def with_distortion(tmp_path, transforms) -> ScanTransforms:
    shift = 5 * np.cos(np.indices((20, 24, 16)).sum(axis=0) / 8).astype(np.float32)
    affine = np.diag([6.0, 6, 6, 1])
    affine[:3, 3] = [-57, -69, -45]
    distortion = Distortion(shift, affine, np.array([0.0, 1.0, 0.0]))
    write(tmp_path, transforms)
    save_distortion(tmp_path / "a/d.npz", distortion)
    return replace(transforms, distortion=distortion)


def test_a_distortion_is_read_where_the_table_names_one(tmp_path, with_distortion, points):
    found = load_transforms(tmp_path, OUTPUTS | {"distortion": "a/d.npz"})
    expected = with_distortion.template_to_boldref(points)
    np.testing.assert_allclose(found.template_to_boldref(points), expected, atol=0.03)
    without = load_transforms(tmp_path, OUTPUTS)
    assert without.distortion is None
    moved = expected - without.template_to_boldref(points)
    assert np.abs(moved[:, 1]).max() > 2
    np.testing.assert_allclose(moved[:, [0, 2]], 0, atol=0.02)


def test_a_missing_distortion_fails_the_scan(tmp_path, with_distortion):
    (tmp_path / "a/d.npz").unlink()
    with pytest.raises(ScanFailed, match=r"d\.npz"):
        load_transforms(tmp_path, OUTPUTS | {"distortion": "a/d.npz"})
