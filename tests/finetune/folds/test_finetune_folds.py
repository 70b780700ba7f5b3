import numpy as np
import pandas as pd
import pytest

from brainmass_core.finetune.cohort.labels import TaskError
from brainmass_core.finetune.cohort.leaks import refuse_leaks, refuse_shown
from brainmass_core.finetune.folds.participants import (
    Fold,
    make_folds,
    make_strata,
    permute_labels,
)
from brainmass_core.scans.copies import LeakError


def test_every_evaluation_scan_is_tested_once_per_repeat_and_no_other_ever(people):
    folds = make_folds(people, 5, 3, seed=1)
    kept = np.flatnonzero(people["split"] == "test")
    assert len(folds) == 15
    for repeat in range(3):
        tested = np.concatenate([f.test for f in folds if f.repeat == repeat])
        assert sorted(tested) == kept.tolist()


def test_a_fold_trains_on_everybody_it_does_not_test(people):
    for f in make_folds(people, 5, 2, seed=1):
        assert sorted([*f.train, *f.test]) == list(range(len(people)))
        who = people["participant"].to_numpy()
        assert not set(who[f.train]) & set(who[f.test])


def test_classes_are_dealt_evenly_to_the_folds(people):
    for repeat in range(2):
        folds = [f for f in make_folds(people, 5, 2, seed=3) if f.repeat == repeat]
        for y in (0, 1):
            counts = [(people["y"].iloc[f.test] == y).sum() / 2 for f in folds]
            assert max(counts) - min(counts) <= 2


def test_same_seed_same_folds_and_repeats_differ(people):
    a, b, c = (make_folds(people, 4, 2, seed=s) for s in (1, 1, 2))
    assert all((x.test == y.test).all() for x, y in zip(a, b, strict=True))
    assert any(not np.array_equal(x.test, y.test) for x, y in zip(a, c, strict=True))
    assert not np.array_equal(a[0].test, a[4].test)


def test_strata_have_at_least_as_many_participants_as_folds(people):
    once = people.drop_duplicates("participant")
    strata = make_strata(once["y"], once["site"].fillna("unknown"), 8)
    names, counts = np.unique(strata.astype(str), return_counts=True)
    assert counts.min() >= 8
    assert len(names) > 2, "sites that are large enough keep a stratum of their own"
    assert all(
        len({y for y, s in zip(once["y"], strata, strict=True) if s == n}) == 1 for n in names
    )


def test_a_site_with_just_enough_participants_keeps_its_own_stratum():
    site = pd.Series(["a"] * 8 + ["b"] * 4 + ["c"] * 3)
    strata = make_strata(pd.Series(0, index=site.index), site, 4)
    assert strata.tolist()[:12] == ["0|a"] * 8 + ["0|b"] * 4
    assert len(set(strata[12:])) == 1


def test_too_few_participants_of_a_class_is_an_error_with_the_remedy(people):
    few = people[(people["y"] == 0) | people["participant"].isin(["demo/s03", "demo/s05"])]
    with pytest.raises(TaskError, match=r"2 of the second class.*n_splits to 2.*evaluation_frac"):
        make_folds(few, 5, 1, seed=0, name="x")


def test_no_leak_passes(people):
    refuse_leaks(
        people, make_folds(people, 5, 2, seed=1), shown=people[people["scan_id"] == "s00_run-0"]
    )


def test_a_participant_in_both_splits_is_refused(people):
    people.loc[people["scan_id"] == "s01_run-1", "split"] = "train"
    with pytest.raises(LeakError, match="demo/s01"):
        refuse_leaks(people, [], people.iloc[:0])


def test_an_evaluation_scan_in_the_shards_is_refused(people):
    with pytest.raises(LeakError, match="s01_run-0"):
        refuse_leaks(people, [], people[people["scan_id"] == "s01_run-0"])


@pytest.mark.parametrize("mark", ["person", "file", "source_checksum", "series_fingerprint"])
def test_scans_without_a_mark_are_not_compared_less_unnoticed(people, mark):
    with pytest.raises(LeakError, match=f"no column {mark}"):
        refuse_leaks(people.drop(columns=mark), [], people.iloc[:0])
    with pytest.raises(LeakError, match=f"no column {mark}"):
        refuse_shown(people, people.iloc[:0].drop(columns=mark))


@pytest.mark.parametrize(("train", "test"), [([2], [3]), ([4], [0])])
def test_a_fold_that_tests_what_training_saw_is_refused(people, train, test):
    # rows 2 and 3 are runs of one participant; row 0 has split train
    fold = Fold(0, 0, np.array(train), np.array(test))
    with pytest.raises(LeakError, match="fold 0"):
        refuse_leaks(people, [fold], people.iloc[:0])


def test_permutation_keeps_class_sizes_and_one_label_per_participant(people):
    new = people.assign(y=permute_labels(people, seed=5))
    assert (new.groupby("participant")["y"].nunique() == 1).all()
    assert new["y"].sum() == people["y"].sum()
    assert (new["y"] != people["y"]).mean() > 0.2
    assert (permute_labels(people, seed=5) == new["y"]).all()
