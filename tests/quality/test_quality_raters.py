"""Agreement between raters, against Cohen's formula and worked examples."""

import math

import numpy as np
import pytest

from brainmass_core.quality.raters import agreement
from brainmass_core.readers.ratings import RATINGS, Rating


def rated(rater, words):
    return [
        Rating(f"x_{i}", word, (), "", rater, "", "", "") for i, word in enumerate(words) if word
    ]


def cohen(a, b, cost):
    """1 - observed / expected cost, from the table of counts."""
    table = np.zeros((3, 3))
    for x, y in zip(a, b, strict=True):
        table[RATINGS.index(x), RATINGS.index(y)] += 1
    table /= table.sum()
    weights = np.array([[cost(i, j) for j in range(3)] for i in range(3)])
    expected = np.outer(table.sum(1), table.sum(0))
    return 1 - (weights * table).sum() / (weights * expected).sum()


def test_kappa_is_cohens_over_the_scans_that_both_rated():
    rng = np.random.default_rng(0)
    a = [RATINGS[i] for i in rng.integers(0, 3, 40)]
    b = [w if rng.random() < 0.6 else RATINGS[rng.integers(3)] for w in a]
    known = [*b[:30], *[None] * 10]  # b has not rated the last ones
    (row,) = agreement([*rated("a", a), *rated("b", known)])
    assert row["raters"] == ("a", "b")
    assert row["n"] == 30
    assert row["same"] == pytest.approx(np.mean(np.array(a[:30]) == np.array(b[:30])))
    assert row["kappa"] == pytest.approx(cohen(a[:30], b[:30], lambda i, j: i != j))
    assert row["weighted"] == pytest.approx(cohen(a[:30], b[:30], lambda i, j: abs(i - j)))


def test_kappa_is_1_for_equal_ratings_and_0_for_unrelated_ones():
    words = ["accept", "accept", "exclude", "exclude"]
    (same,) = agreement([*rated("a", words), *rated("b", words)])
    (none,) = agreement([*rated("a", words), *rated("b", ["accept", "exclude"] * 2)])
    assert same["kappa"] == 1
    assert none["kappa"] == pytest.approx(0)


def test_kappa_is_unknown_if_no_rating_differs_and_missing_without_common_scans():
    (row,) = agreement([*rated("a", ["accept"] * 5), *rated("b", ["accept"] * 5)])
    assert row["same"] == 1
    assert math.isnan(row["kappa"])
    assert math.isnan(row["weighted"])
    assert agreement([*rated("a", ["accept", None]), *rated("b", [None, "accept"])]) == []


def test_three_raters_give_three_pairs():
    rows = agreement([r for who in "cab" for r in rated(who, ["accept", "exclude"])])
    assert [row["raters"] for row in rows] == [("a", "b"), ("a", "c"), ("b", "c")]
