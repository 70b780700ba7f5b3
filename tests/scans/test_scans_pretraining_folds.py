"""Folds of the pre-training: a person has one, whatever is listed; folds are of similar size."""

from __future__ import annotations

import math

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from brainmass_core.scans.pretraining_folds import fold_of, folds_of, left_out

numbers = st.integers(1, 10**6)
counts = st.integers(2, 10)
listings = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), numbers), min_size=1, max_size=30, unique=True
)

# the same few ids in several data sets
overlapping = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(1, 8)),
    min_size=1,
    max_size=24,
    unique=True,
)


def listed(people: list[tuple[str, int]], name: str = "sub-{}") -> pd.DataFrame:
    """Two scans of each participant."""
    rows = [(dataset, name.format(n)) for dataset, n in people for _ in range(2)]
    return pd.DataFrame(rows, columns=["dataset", "participant_id"])


@settings(max_examples=20)
@given(listings, counts, seeds)
def test_a_person_is_in_one_fold_in_all_scans_and_data_sets(people, k, seed):
    scans = listed(people)
    folds = folds_of(scans, k, seed)
    assert folds.between(1, k).all()
    assert (folds.groupby(scans["participant_id"]).nunique() == 1).all()


@settings(max_examples=20)
@given(numbers, counts, seeds)
def test_the_same_id_in_another_spelling_is_in_the_same_fold(n, k, seed):
    spelled = [f"sub-{n}", str(n), f"00{n}", f"{n}.0", f"sub-00{n}"]
    scans = pd.DataFrame({"dataset": list("abcde"), "participant_id": spelled})
    assert folds_of(scans, k, seed).nunique() == 1


def test_ids_that_are_other_people_in_each_data_set_have_independent_folds():
    scans = listed([(d, n) for d in "ab" for n in range(1, 400)])
    shared = folds_of(scans, 2, 0)
    apart = folds_of(scans, 2, 0, ["sub-*"])
    first = (scans["dataset"] == "a").to_numpy()
    assert (shared[first].to_numpy() == shared[~first].to_numpy()).all()
    same = (apart[first].to_numpy() == apart[~first].to_numpy()).mean()
    assert abs(same - 0.5) < 5 * 0.5 / math.sqrt(399)


@settings(max_examples=20)
@given(listings, listings, counts, seeds, st.randoms())
def test_nobody_moves_when_others_come_or_the_order_changes(people, others, k, seed, random):
    before = listed(people)
    expected = dict(zip(before["participant_id"], folds_of(before, k, seed), strict=True))
    more = list(dict.fromkeys([*others, *people]))
    random.shuffle(more)
    after = listed(more)
    found = dict(zip(after["participant_id"], folds_of(after, k, seed), strict=True))
    assert {p: found[p] for p in expected} == expected


@settings(max_examples=30)
@given(st.integers(100, 400), counts, seeds, st.integers(0, 10**9))
def test_folds_are_of_the_size_that_independent_draws_have(n, k, seed, start):
    folds = pd.Series([fold_of(str(start + i), k, seed) for i in range(n)])
    sizes = folds.value_counts().reindex(range(1, k + 1), fill_value=0)
    assert (abs(sizes - n / k) < 6 * math.sqrt(n * (k - 1)) / k).all()


@settings(max_examples=20)
@given(overlapping, counts, st.data())
def test_every_tested_person_is_left_out_by_exactly_one_encoder_and_nobody_else_by_any(
    people, k, data
):
    splits = data.draw(st.lists(st.sampled_from(["crossed", "pretrain"]), min_size=3, max_size=3))
    scans = listed(people)
    scans["split"] = scans["dataset"].map(dict(zip("abc", splits, strict=True)))
    times = sum(left_out(scans, fold, k, 3).astype(int) for fold in range(1, k + 1))
    tested = set(scans.loc[scans["split"] == "crossed", "participant_id"])
    assert (times == scans["participant_id"].isin(tested).astype(int)).all()
