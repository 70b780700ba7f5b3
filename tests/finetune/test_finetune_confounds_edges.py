"""Confounds: denominators, and the drawing of matched participants."""

import numpy as np
import pandas as pd

from brainmass_core.finetune.adjustment import _site_effect, match


def test_of_one_feature_the_site_has_its_unbiased_variance():
    z = np.random.default_rng(0).standard_normal((5, 1))
    shift, variance = _site_effect(z)
    np.testing.assert_allclose(shift, z.mean(0))
    np.testing.assert_allclose(variance, z.var(0, ddof=1))


def test_other_seeds_draw_other_partners_and_the_same_seed_the_same():
    y = np.r_[np.zeros(30, int), np.ones(10, int)]
    table = pd.DataFrame({"site": "a", "sex": "F"}, index=range(40))
    drawn = [match(np.arange(40), y, None, table, seed).tolist() for seed in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1]
    assert all((y[rows] == 0).sum() == (y[rows] == 1).sum() == 10 for rows in drawn)
