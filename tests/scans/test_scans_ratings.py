"""Decisions of several raters about a scan."""

import itertools

import pytest

from brainmass_core.readers.ratings import RATINGS, Rating
from brainmass_core.scans.ratings import decide


def rated(scan, *words, comment="", artefacts=()):
    return [
        Rating(scan, word, tuple(artefacts), comment, f"rater {i}", "", "", "file: line 2")
        for i, word in enumerate(words)
    ]


@pytest.mark.parametrize("words", [*itertools.product(RATINGS, repeat=3)])
def test_the_rule_counts_the_raters_who_exclude(words):
    n = words.count("exclude")
    for rule, expected in (("any", n >= 1), ("majority", n / 3 > 0.5), ("all", n == 3)):
        found = decide(rated("x", *words), rule)["x"]
        assert found.excluded is expected, rule
        assert bool(found.reason) is expected
        assert found.agreed is (len(set(words)) == 1)


def test_half_of_the_raters_are_no_majority():
    assert not decide(rated("x", "exclude", "accept"), "majority")["x"].excluded


def test_uncertain_alone_excludes_nothing():
    for rule in ("any", "majority", "all"):
        assert not decide(rated("x", "uncertain", "uncertain"), rule)["x"].excluded


def test_scans_are_decided_one_by_one_whatever_the_order_of_rows():
    rows = [*rated("y", "accept"), *rated("x", "exclude", "accept")]
    forth, back = decide(rows, "any"), decide(rows[::-1], "any")
    assert forth == back
    assert list(forth) == ["x", "y"]
    assert [d.excluded for d in forth.values()] == [True, False]


def test_the_reason_names_the_rater_the_artefacts_and_the_comment():
    (row,) = rated("x", "exclude", comment="see slice 3", artefacts=("motion", "dropout"))
    assert decide([row], "any")["x"].reason == (
        'rated exclude by rater 0 (motion; signal dropout; "see slice 3")'
    )
    several = decide(rated("x", "exclude", "accept", "exclude"), "any")["x"].reason
    assert several == "rated exclude by rater 0, rater 2, 2 of 3 raters"
