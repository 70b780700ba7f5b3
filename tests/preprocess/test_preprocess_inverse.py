"""The inverse map from the T1w to the template, and grids that contain an image."""

import numpy as np
import pytest

from brainmass_core.preprocess.anatomical.registration import t1w_to_template
from brainmass_core.preprocess.grids import Volume, isotropic_grid, to_isotropic
from brainmass_core.preprocess.transforms import Normalisation


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_bend_along_one_axis_is_undone_whatever_the_others_do(axis):
    waves = [np.cos(np.arange(n) / 3) for n in (12, 14, 13)]
    field = np.zeros((12, 14, 13, 3), np.float32)
    field[..., axis] = 5 * np.einsum("i,j,k->ijk", *waves)
    affine = np.diag([8.0, 8.0, 8.0, 1.0])
    found = Normalisation(np.eye(4), field, affine)
    points = np.random.default_rng(0).uniform(16, 72, (300, 3))
    back = t1w_to_template(found.template_to_t1w(points), found)
    assert np.abs(found.template_to_t1w(back) - found.template_to_t1w(points)).max() < 0.03


def test_an_image_of_such_cubes_is_its_own_isotropic_grid():
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = [-10, 4, 7]
    shape, found = isotropic_grid((5, 6, 7), affine, 2.0)
    assert shape == (5, 6, 7)
    np.testing.assert_allclose(found, affine)
    image = Volume(np.random.default_rng(0).random((5, 6, 7)).astype(np.float32), affine)
    np.testing.assert_allclose(to_isotropic(image, 2.0).data, image.data, atol=1e-6)
