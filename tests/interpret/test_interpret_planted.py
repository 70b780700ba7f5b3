import numpy as np
import pandas as pd
import pytest
from interpret_study import PLANTED, SMALL, cohort, regions_of

from brainmass_core.finetune.folds.participants import make_folds
from brainmass_core.interpret.explain import both_classes, choose, explain_folds

SEEDS = (0, 1, 2)
FC_ALONE = SMALL.model_copy(update={"methods": ["fc_pattern"]})


@pytest.fixture(scope="module")
def planted():
    """Regions and stability of a cohort with a difference in five regions."""
    return regions_of(cohort(effect=1.0))


def first_ten(regions: pd.DataFrame, method: str) -> set[int]:
    rows = regions[(regions["method"] == method) & (regions["rank"] <= 10)]
    return set(rows["roi"] - 1)


@pytest.mark.parametrize("method", ["gradient", "permutation", "fc_pattern"])
def test_five_planted_regions_are_among_the_ten_first(planted, method):
    assert first_ten(planted[0], method) >= set(PLANTED)


def test_the_five_are_stable_and_significant_by_fc_and_a_score_is_behind_every_method(planted):
    regions, stability = planted
    mine = regions[(regions["method"] == "fc_pattern") & (regions["roi"] - 1).isin(PLANTED)]
    assert (mine["p_corrected"] < 0.05).all()
    assert mine["stable"].all()
    assert (stability["auc_low"] > 0.5).all()


def test_gradients_agree_with_the_permutation(planted):
    row = planted[1].set_index("method").loc["gradient"]
    assert row["rank_correlation_with_permutation"] > 0.4
    assert row["completeness_error"] < 0.1  # eight steps


@pytest.mark.parametrize("seed", SEEDS)
def test_without_a_difference_no_region_is_significant_and_none_is_called_stable(seed):
    regions, stability = regions_of(cohort(effect=0.0, seed=seed), FC_ALONE, encoder=False)
    assert regions["p_corrected"].min() > 0.05
    assert not regions["stable"].any()
    assert stability["reason"].str.contains("no better than chance").all()


def test_without_a_difference_the_encoder_has_no_significant_region_either():
    regions, stability = regions_of(cohort(effect=0.0))
    assert regions.groupby("method")["p_corrected"].min().gt(0.05).all()
    assert not regions["stable"].any()
    assert (stability["auc_low"] < 0.5).all()


def test_what_is_said_of_a_fold_does_not_change_with_the_scans_of_no_fold():
    # only training and test scans of one fold: the others are replaced by noise
    data = cohort(effect=1.0, n=60)
    fold = make_folds(data.scans, 3, 1, seed=1)[0]
    before = explain_folds(data, [fold], FC_ALONE, None, None, seed=5)["fc_pattern"]
    data.fc[fold.test] = np.random.default_rng(0).standard_normal(data.fc[fold.test].shape)
    after = explain_folds(data, [fold], FC_ALONE, None, None, seed=5)["fc_pattern"]
    # the fit used no test scan; its output for them must change
    np.testing.assert_allclose(after.importance[0], before.importance[0], rtol=1e-6)
    assert not np.allclose(after.evidence[0], before.evidence[0])


def test_explained_scans_are_of_both_classes_and_of_as_many_people_as_there_are():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(10), 2)
    y = np.repeat(np.r_[np.zeros(7, int), np.ones(3, int)], 2)
    rows = choose(np.arange(20), y, people, 6, rng)
    assert np.bincount(y[rows]).tolist() == [3, 3]
    assert len(set(people[rows])) == 6
    assert choose(np.arange(20), y, people, 99, rng).tolist() == list(range(20))


def test_a_fold_of_one_class_is_not_explained():
    data = cohort(effect=1.0, n=60)
    folds = make_folds(data.scans, 3, 1, seed=1)
    y = data.scans["y"].to_numpy().copy()
    y[folds[0].test] = 1
    assert both_classes(folds, y) == folds[1:]
