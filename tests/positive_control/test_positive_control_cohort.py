"""The simulated people of the positive control."""

from __future__ import annotations

import numpy as np
import pytest

from brainmass_core.positive_control import cohort
from brainmass_core.positive_control.cohort import (
    NOISE_SD,
    SOURCE_SD,
    TRAIT_EFFECT,
    population,
    simulate,
)

N_ROIS = 8


def test_patterns_are_orthogonal_and_as_long_as_documented():
    people = population(N_ROIS, 3, seed=1)
    patterns = np.concatenate([people.traits, people.states])
    expected = 0.16 * N_ROIS * np.eye(N_ROIS)
    np.testing.assert_allclose(patterns @ patterns.T, expected, atol=1e-12)
    assert people.traits.shape == (3, N_ROIS)
    assert people.n_rois == N_ROIS


@pytest.mark.parametrize("n_traits", [0, N_ROIS])
def test_without_traits_or_without_states_there_is_no_population(n_traits):
    with pytest.raises(ValueError, match=f"found {n_traits} traits of 8 ROIs, expected 1 to 7"):
        population(N_ROIS, n_traits, 0)


def test_a_larger_cohort_begins_with_the_people_of_a_smaller_one(monkeypatch):
    monkeypatch.setattr(cohort, "CHUNK", 5)
    people = population(N_ROIS, 2, 0)
    small, large = (simulate(people, n, 30, seed=3) for n in (10, 17))
    np.testing.assert_array_equal(large.series[:10], small.series)
    np.testing.assert_array_equal(large.label[:10], small.label)
    assert len(np.unique(large.series[:, 0, 0])) == 17
    other = simulate(people, 10, 30, seed=4)
    assert not np.isin(other.series[:, 0, 0], large.series[:, 0, 0]).any()


@pytest.mark.parametrize("informative", [True, False])
def test_the_variance_along_a_trait_is_that_of_its_source_and_noise(informative):
    people = population(N_ROIS, 2, 0)
    made = simulate(people, 1500, 60, seed=5, informative=informative)
    length = np.linalg.norm(people.traits[0])
    along = (made.series @ (people.traits[0] / length)).var(axis=1)  # (n_people,)
    # the mean of exp(2 a z) over standard normal z is exp(2 a^2)
    spread = np.exp(2 * TRAIT_EFFECT**2) if informative else 1.0
    expected = SOURCE_SD**2 * spread * length**2 + NOISE_SD**2
    assert along.mean() == pytest.approx(expected, rel=0.05)
    by_class = along[made.label == 1].mean() / along[made.label == 0].mean()
    assert (by_class > 1.3) == informative
    assert informative or abs(by_class - 1) < 0.03
    assert made.label.mean() == pytest.approx(0.5, abs=0.05)


def test_a_state_changes_within_a_scan_and_a_trait_does_not():
    people = population(N_ROIS, 1, 0)
    made = simulate(people, 800, 120, seed=6)
    for patterns, lasting in ((people.traits, True), (people.states, False)):
        unit = patterns[0] / np.linalg.norm(patterns[0])
        power = (made.series @ unit) ** 2
        first, last = power[:, :40].mean(axis=1), power[:, -40:].mean(axis=1)
        correlation = np.corrcoef(np.log(first), np.log(last))[0, 1]
        assert (correlation > 0.4) == lasting
        assert lasting or abs(correlation) < 0.1
