"""Greedy on a small head with a known deformation."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import lru_cache

import numpy as np
import pytest
from nibabel.affines import apply_affine
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.anatomical.registration import coarse, t1w_to_template
from brainmass_core.preprocess.anatomical.template import Template
from brainmass_core.preprocess.engines import greedy
from brainmass_core.preprocess.grids import Volume

SHAPE, SIZE = (30, 36, 30), 5.0


@lru_cache(maxsize=1)
def template() -> Template:
    """An ellipsoid with folds of a few voxels in an empty image."""
    affine = np.diag([SIZE, SIZE, SIZE, 1.0])
    affine[:3, 3] = -SIZE * (np.array(SHAPE) - 1) / 2
    grid = np.indices(SHAPE) - (np.array(SHAPE).reshape(3, 1, 1, 1) - 1) / 2
    mask = (((grid / np.array([11, 14, 10]).reshape(3, 1, 1, 1)) ** 2).sum(axis=0)) < 1
    folds = gaussian_filter(np.random.default_rng(3).standard_normal(SHAPE), 1.5)
    data = np.where(mask, 2 + folds / folds.std() * 0.5, 0).astype(np.float32)
    return Template(Volume(data, affine), mask, np.zeros((*SHAPE, 3), np.float32))


def bend(points: np.ndarray) -> np.ndarray:
    """Positions (mm) of points (n, 3) of the head without the deformation."""
    x, y, z = points.T
    return points + 7.0 * np.stack([np.sin(y / 25), np.sin(z / 22), np.sin(x / 24)], axis=1)


def pose(degrees: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("x", degrees, degrees=True).as_matrix() * 1.05
    matrix[:3, 3] = [8, -6, 5]
    return matrix


@lru_cache(maxsize=3)
def head(degrees: float = 6.0) -> tuple[Volume, np.ndarray]:
    """A head on a separate grid, and its brain; `bend` maps its points to the template."""
    grid = np.diag([4.0, 4.0, 4.0, 1.0])
    grid[:3, 3] = [-84, -96, -90]
    shape = (42, 48, 46)
    at = bend(apply_affine(pose(degrees), Volume(np.zeros(shape), grid).points()))
    brain, mask = template().brain, template().mask.astype(np.float32)
    inside = template().brain.with_data(mask).at(at).reshape(shape) > 0.5
    return Volume(3 * brain.at(at).reshape(shape) + 40 * ~inside, grid), inside


def error(found: tuple[np.ndarray, np.ndarray | None], degrees: float) -> float:
    """Mean distance (mm) of points of the brain from themselves, after the estimated map and the
    true inverse.
    """
    points = template().brain.points()[template().mask.ravel()]
    there = coarse(*found, template().brain).template_to_t1w(points)
    back = bend(apply_affine(pose(degrees), there))
    return float(np.linalg.norm(back - points, axis=1).mean())


@lru_cache(maxsize=3)
def registered(kind: str = "syn") -> tuple[np.ndarray, np.ndarray | None]:
    return greedy.normalisation(*head(), template(), kind)


def test_points_of_the_template_are_found_in_the_head():
    affine, nothing = registered("affine")
    assert nothing is None
    straight = error((affine, None), 6)
    assert straight > 4  # the deformation is not negligible
    assert error(registered(), 6) < 0.6 * straight


@pytest.mark.parametrize(("kind", "least"), [("syn_fast", 0.3), ("syn", 0.1)])
def test_no_point_of_the_bend_is_folded(kind, least):
    field = registered(kind)[1]
    slopes = [np.stack(np.gradient(field[..., k], SIZE), axis=-1) for k in range(3)]
    stretch = np.linalg.det(np.stack(slopes, axis=-2) + np.eye(3))[template().mask]
    assert stretch.min() > 0.2
    assert stretch.max() < 3
    assert np.ptp(stretch) > least  # it deforms; `syn` less at 5 mm, where 4 voxels are much


def test_there_and_back_is_where_one_began():
    found = coarse(*registered(), template().brain)
    points = template().brain.points()[template().mask.ravel()]
    back = t1w_to_template(found.template_to_t1w(points), found)
    assert np.linalg.norm(back - points, axis=1).max() < 0.05


def test_a_known_affine_is_taken_as_it_is():
    start = registered("affine")[0]
    affine, field = greedy.normalisation(*head(), template(), "syn", start)
    np.testing.assert_array_equal(affine, start)
    np.testing.assert_allclose(field, registered()[1], atol=1e-5)


@pytest.mark.study
@pytest.mark.parametrize("degrees", [-35.0, 35.0])
def test_a_turned_head_is_found_from_turned_starts(degrees, monkeypatch):
    found = greedy.normalisation(*head(degrees), template(), "affine")
    monkeypatch.setattr(greedy, "TURNS", [])
    straight = greedy.normalisation(*head(degrees), template(), "affine")
    assert error(found, degrees) < 0.6 * error(straight, degrees)


def test_two_runs_give_the_same_bits_and_print_nothing(capfd):
    affine, field = greedy.normalisation(*head(), template(), "syn")
    np.testing.assert_array_equal(affine, registered()[0])
    np.testing.assert_array_equal(field, registered()[1])
    assert capfd.readouterr() == ("", "")


def test_no_file_is_left_even_in_a_folder_with_a_space(tmp_path, monkeypatch):
    folder = tmp_path / "of a user"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    affine, _ = greedy.normalisation(*head(), template(), "affine")
    np.testing.assert_array_equal(affine, registered("affine")[0])
    assert not list(folder.iterdir())


def test_a_greedy_that_gives_up_fails_the_scan(monkeypatch):
    class Broken:
        def execute(self, *_, **__):
            raise RuntimeError("no overlap")

    monkeypatch.setattr("picsl_greedy.GreedyFloat3D", Broken)
    with pytest.raises(ScanFailed, match="Greedy could not register") as caught:
        greedy.normalisation(*head(), template(), "syn")
    assert caught.value.step == "normalisation"
    assert caught.value.remedy


@pytest.mark.slow
def test_threads_that_others_may_use_change_nothing(tmp_path, monkeypatch):
    code = (
        "import sys, numpy as np, test_preprocess_engines_greedy as t;"
        "np.save(sys.argv[1], t.registered()[1])"
    )
    for threads in ("1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        monkeypatch.setenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", threads)
        monkeypatch.setenv("PYTHONPATH", __file__.rpartition("/")[0], prepend=":")
        out = tmp_path / f"{threads}.npy"
        subprocess.run([sys.executable, "-c", code, str(out)], check=True)
        np.testing.assert_array_equal(np.load(out), registered()[1])
