import numpy as np
import pytest
from marked_scans import marked

from brainmass_core.config.tasks import Protocol
from brainmass_core.finetune.cohort.labels import TaskError
from brainmass_core.finetune.cohort.leaks import refuse_leaks
from brainmass_core.finetune.folds.participants import make_folds
from brainmass_core.finetune.folds.protocols import protocol_folds
from brainmass_core.scans.copies import LeakError


def of(kind, **over):
    return Protocol(kind=kind, **over)


@pytest.fixture
def cohort(people):
    """The participants of conftest in two data sets with different site names."""
    second = people["participant"].str[-1].isin(["1", "2", "3", "4"])
    people["dataset"] = np.where(second, "two", "one")
    people["participant"] = people["dataset"] + "/" + people["scan_id"].str[:3]
    return marked(people)


PROTOCOLS = [
    of("repeated_kfold", n_splits=3, n_repeats=2),
    of("leave_one_site_out", min_per_class=1),
    of("fixed_split", n_repeats=4),
    of("cross_cohort", train_datasets=["one"]),
]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.kind)
def test_no_protocol_leaks_or_tests_what_pretraining_saw(cohort, protocol):
    folds = protocol_folds(cohort, protocol, seed=3)
    refuse_leaks(cohort, folds, cohort[cohort["split"] == "train"])
    for f in folds:
        assert len(f.test)
        assert set(cohort["y"].iloc[f.train]) == {0, 1}
    again = protocol_folds(cohort, protocol, seed=3)
    assert all((a.test == b.test).all() for a, b in zip(folds, again, strict=True))


def test_a_site_is_tested_by_a_model_that_saw_none_of_it(cohort):
    folds = protocol_folds(cohort, of("leave_one_site_out", min_per_class=1), seed=0)
    place = cohort["dataset"] + "/" + cohort["site"].fillna("?")
    tested = [set(place.iloc[f.test]) for f in folds]
    assert all(len(t) == 1 for t in tested)
    assert len(folds) == 6 == len(set.union(*tested))
    for f, sites in zip(folds, tested, strict=True):
        assert not sites & set(place.iloc[f.train])
        assert {"one/?", "two/?"} <= set(place.iloc[f.train]), "without a site: trained on"


def test_nobody_who_was_also_scanned_at_the_tested_site_is_trained_on(cohort):
    cohort.loc[cohort["scan_id"] == "s01_run-1", "site"] = "c"  # the first run is at b
    for f in protocol_folds(cohort, of("leave_one_site_out", min_per_class=1), seed=0):
        who = set(cohort["participant"].iloc[f.train])
        place = set(cohort["dataset"].iloc[f.test] + cohort["site"].iloc[f.test])
        if place & {"twoc", "twob"}:
            assert "two/s01" not in who


def test_small_sites_are_trained_on_but_not_tested(cohort):
    with pytest.raises(TaskError, match="min_per_class"):
        protocol_folds(cohort, of("leave_one_site_out", min_per_class=50), seed=0)
    few = protocol_folds(cohort, of("leave_one_site_out", min_per_class=2), seed=0)
    for f in few:
        once = cohort.iloc[f.test].drop_duplicates("participant")
        assert once["y"].value_counts().min() >= 2


def test_the_fixed_split_trains_on_one_set_and_redraws_who_is_tested(cohort):
    folds = protocol_folds(cohort, of("fixed_split", n_repeats=6, test_fraction=0.5), seed=0)
    kept = cohort[cohort["split"] == "test"]
    assert len(folds) == 6
    for f in folds:
        assert (f.train == folds[0].train).all()
        assert (cohort["split"].iloc[f.train] == "train").all()
        assert len(f.test) == pytest.approx(len(kept) / 2, abs=2)
        share = kept["y"].mean()
        assert cohort["y"].iloc[f.test].mean() == pytest.approx(share, abs=0.08)
    assert len({tuple(f.test) for f in folds}) == 6


def test_external_data_without_a_split_are_divided_once(cohort):
    cohort["split"] = "test"
    folds = protocol_folds(cohort, of("fixed_split", n_repeats=3, train_fraction=0.7), seed=0)
    assert len(folds[0].train) == pytest.approx(0.7 * len(cohort), abs=2)
    for f in folds:
        assert (f.train == folds[0].train).all()
        assert not set(f.train) & set(f.test)


def test_a_split_column_decides_and_a_pretrained_participant_is_never_tested(cohort):
    cohort["pheno_is_train"] = np.where(cohort.index < 60, "1.0", "0")
    folds = protocol_folds(cohort, of("fixed_split", split_column="is_train"), seed=0)
    assert folds[0].train.tolist() == list(range(60))
    for f in folds:
        assert (cohort["split"].iloc[f.test] == "test").all()
        assert f.test.min() >= 60
    with pytest.raises(TaskError, match="is_trian"):
        protocol_folds(cohort, of("fixed_split", split_column="is_trian"), seed=0)


def test_a_cohort_is_tested_by_what_another_taught(cohort):
    (fold,) = protocol_folds(cohort, of("cross_cohort", train_datasets=["one"]), seed=0)
    assert set(cohort["dataset"].iloc[fold.train]) == {"one"}
    assert set(cohort["dataset"].iloc[fold.test]) == {"two"}
    lost = (cohort["dataset"] == "one") & (cohort["y"] == 0)
    one_class = cohort[~lost].reset_index(drop=True)
    with pytest.raises(TaskError, match=r"train_datasets: .* of 1 classes"):
        protocol_folds(one_class, of("cross_cohort", train_datasets=["one"]), seed=0)


def test_a_protocol_whose_settings_contradict_is_refused():
    with pytest.raises(ValueError, match="train_datasets"):
        of("cross_cohort")
    with pytest.raises(ValueError, match="train_datasets"):
        of("repeated_kfold", train_datasets=["a"])
    with pytest.raises(ValueError, match="split_column"):
        of("repeated_kfold", split_column="x")


def test_a_second_scan_moved_across_a_fold_is_refused(cohort):
    folds = make_folds(cohort, 3, 1, seed=0)
    moved = folds[0].test[:1]
    planted = type(folds[0])(0, 0, np.append(folds[0].train, moved), folds[0].test[1:])
    with pytest.raises(LeakError, match="both sides"):
        refuse_leaks(cohort, [planted], cohort.iloc[:0])
