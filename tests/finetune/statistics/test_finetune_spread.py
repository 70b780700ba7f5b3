"""Standard errors from halves of the participants and from the bootstrap, and what follows."""

import numpy as np
import pytest
from scipy import stats

from brainmass_core.finetune.statistics.spread import Spread, within_limits


def halves(seed=0, n=25, scale=0.1):
    return np.random.default_rng(seed).normal(0.5, scale, (n, 2))


def test_the_variance_of_a_mean_is_found_from_the_means_of_both_halves():
    # a mean is the score whose variance is known: that of the observations, divided by n
    rng = np.random.default_rng(3)
    x = rng.standard_normal(400)
    order = rng.random((2000, 400)).argsort(1)
    both = x[order].reshape(2000, 2, 200).mean(2)
    assert Spread("halves", {"auc": both}).error("auc") == pytest.approx(stats.sem(x), rel=0.05)


def test_the_interval_from_halves_is_students_with_one_degree_of_freedom_per_halving():
    spread = Spread("halves", {"auc": halves()})
    low, high = spread.interval(0.6, "auc")
    error = np.sqrt(np.mean(np.diff(halves(), axis=1) ** 2) / 4)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 25, 0.6, error))


def test_the_doubled_variance_is_twice_that_of_the_draws_within_repeats():
    draws = np.random.default_rng(1).normal([[0.5], [0.9]], 0.05, (2, 4000))
    assert Spread("doubled", {"auc": draws}).error("auc") == pytest.approx(0.05 * 2**0.5, rel=0.03)


@pytest.mark.parametrize("how", ["halves", "doubled"])
def test_p_is_below_5_percent_exactly_if_the_interval_excludes_the_value(how):
    spread = Spread(how, {"auc": halves(n=12)})
    for distance in np.linspace(-0.3, 0.3, 61):
        low, high = spread.interval(distance, "auc")
        assert (spread.p_value(distance, "auc") < 0.05) == (low > 0 or high < 0)


@pytest.mark.parametrize("how", ["halves", "doubled"])
def test_a_method_does_not_differ_from_itself(how):
    spread = Spread(how, {"auc": halves()})
    none = spread.minus(spread)
    assert none.interval(0.0, "auc") == (0.0, 0.0)
    assert none.p_value(0.0, "auc") == 1.0


def test_what_both_methods_share_cancels_in_their_difference():
    shared, own = halves(0, scale=0.2), halves(1, scale=0.01)
    a, b = Spread("halves", {"auc": shared}), Spread("halves", {"auc": shared + own})
    assert b.minus(a).error("auc") < 0.1 * a.error("auc")


def test_spreads_of_different_sources_are_not_subtracted():
    with pytest.raises(ValueError, match="found halves minus doubled"):
        Spread("halves", {"auc": halves()}).minus(Spread("doubled", {"auc": halves()}))


def test_a_score_that_a_method_does_not_have_has_no_interval():
    spread = Spread("halves", {"brier": np.full((5, 2), np.nan)})
    assert np.isnan(spread.interval(float("nan"), "brier")).all()


def test_limits_are_those_of_the_metric():
    assert within_limits("auc", -0.1, 1.2) == (0.0, 1.0)
    assert within_limits("r2", -3.0, 1.2) == (-3.0, 1.0)
    assert within_limits("mse", -1.0, 9.0) == (0.0, 9.0)
