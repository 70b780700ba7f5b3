"""Small parts: smoothness, and draws that can be compared."""

import numpy as np
import torch

from brainmass_core.series_model.perturbation import Search, _penalty
from brainmass_core.series_model.scores import score_draws


def test_smooth_is_what_changes_little_over_time_whatever_the_parcels_do():
    steep_over_parcels = torch.arange(4.0)[:, None].expand(4, 6)
    steep_over_time = torch.arange(6.0)[None].expand(4, 6)
    only = Search(l2=0.0, smoothness=2.0)
    assert float(_penalty(steep_over_parcels, only)) == 0
    assert float(_penalty(steep_over_time, only)) == 2.0


def test_methods_are_compared_on_the_same_draws_of_participants():
    rng = np.random.default_rng(0)
    y, p = rng.standard_normal((2, 12, 30))
    ones = np.full(12, 30.0)
    products = [y.sum(1), (y**2).sum(1), p.sum(1), (p**2).sum(1), (y * p).sum(1)]
    sums = np.stack([ones, *products], axis=-1)
    first, again, other = (score_draws(sums, 40, seed)["mse"] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
