"""Motion parameters and displacements, compared with published ones and with closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from preprocess_phantom import rigid

from brainmass_core.preprocess.functional.motion_parameters import (
    framewise_displacement,
    motion_parameters,
    rms_displacement,
)


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
