"""The split: proportion in every stratum, and stability when participants come and go."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import fractions, labels, seeds, strata

from brainmass_core.scans.split import evaluation_participants, quota


@given(strata(), fractions, seeds, labels, st.sampled_from(["patient", "control"]))
def test_a_newcomer_moves_at_most_one_other_and_only_in_its_own_stratum(
    people, fraction, seed, newcomer, label
):
    newcomer = f"sub-{newcomer}"
    assume(newcomer not in people)
    before = evaluation_participants(people, fraction, seed, "d")
    after = evaluation_participants({**people, newcomer: (label, "A")}, fraction, seed, "d")
    moved = (before ^ after) - {newcomer}
    assert len(moved) <= 1
    assert all(people[p] == (label, "A") for p in moved)


@given(strata(), fractions, seeds, st.randoms())
def test_the_split_does_not_depend_on_the_order_of_listing(people, fraction, seed, random):
    shuffled = list(people.items())
    random.shuffle(shuffled)
    expected = evaluation_participants(people, fraction, seed, "d")
    assert evaluation_participants(dict(shuffled), fraction, seed, "d") == expected


@given(strata(), fractions, seeds)
def test_each_stratum_keeps_its_share(people, fraction, seed):
    kept = evaluation_participants(people, fraction, seed, "d")
    sizes = Counter(people.values())
    kept_sizes = Counter(people[p] for p in kept)
    for stratum, n in sizes.items():
        share = n * fraction
        slack = 0.5 if share >= 0.5 else 1  # one cannot keep a third of a participant
        assert abs(kept_sizes[stratum] - share) <= slack + 1e-9


@given(st.integers(0, 300), fractions, st.floats(0, 1, exclude_max=True))
def test_the_quota_grows_by_none_or_one(n, fraction, lot):
    assert quota(n + 1, fraction, lot) - quota(n, fraction, lot) in (0, 1)
    assert 0 <= quota(n, fraction, lot) <= n


def test_sites_with_a_single_participant_are_kept_at_the_wanted_rate():
    people = {f"sub-{i}": ("patient", f"site-{i}") for i in range(4000)}
    kept = len(evaluation_participants(people, 0.3, 1, "d")) / 4000
    assert abs(kept - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 4000)


def test_another_seed_and_another_data_set_split_independently():
    people = {f"sub-{i}": ("", "") for i in range(1000)}
    first = evaluation_participants(people, 0.3, 1, "d")
    for other in (
        evaluation_participants(people, 0.3, 2, "d"),
        evaluation_participants(people, 0.3, 1, "e"),
    ):
        # 300 of 1000 twice: 90 in common by chance, standard deviation 6.6 * sqrt(0.7)
        assert abs(len(first & other) - 90) < 40


def test_a_doubled_cohort_moves_few_of_the_old():
    old = {f"sub-{i}": ("", "") for i in range(500)}
    both = old | {f"sub-{i}": ("", "") for i in range(500, 1000)}
    before = evaluation_participants(old, 0.3, 7, "d")
    after = evaluation_participants(both, 0.3, 7, "d")
    # shuffling again would move 2 * 0.3 * 0.7 = 42 %, 210 participants
    assert len((before ^ after) & set(old)) < 50
