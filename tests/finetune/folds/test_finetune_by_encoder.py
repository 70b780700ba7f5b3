"""With several encoders a test fold has one, which has not seen any of its participants."""

import numpy as np
import pandas as pd
import pytest
from marked_scans import marked

from brainmass_core.config.tasks import Protocol
from brainmass_core.finetune.cohort.labels import TaskError
from brainmass_core.finetune.cohort.leaks import refuse_leaks
from brainmass_core.finetune.folds.participants import Fold, make_folds
from brainmass_core.finetune.folds.protocols import protocol_folds
from brainmass_core.finetune.methods.features import ByEncoder
from brainmass_core.finetune.methods.fitting import predict_folds
from brainmass_core.scans.copies import LeakError

PROTOCOLS = [
    Protocol(kind="repeated_kfold", n_splits=5, n_repeats=2),
    Protocol(kind="leave_one_site_out", min_per_class=1),
    Protocol(kind="fixed_split", n_repeats=3),
    Protocol(kind="cross_cohort", train_datasets=["one"]),
]


@pytest.fixture
def crossed(people):
    """The participants of conftest in two data sets, all tested, by one of two encoders each."""
    second = people["participant"].str[-1].isin(["1", "2", "3", "4"])
    people["dataset"] = np.where(second, "two", "one")
    people["participant"] = people["dataset"] + "/" + people["scan_id"].str[:3]
    people["split"] = "crossed"
    people["encoder"] = 1 + people["participant_id"].str[1:].astype(int) * 7 % 11 % 2
    return marked(people)


def seen(scans):
    """What each encoder was trained on: everybody that the other one tests."""
    return {e: scans[scans["encoder"] != e] for e in (1, 2)}


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.kind)
def test_a_test_fold_has_one_encoder_that_has_not_seen_it(crossed, protocol):
    folds = protocol_folds(crossed, protocol, seed=3)
    refuse_leaks(crossed, folds, seen(crossed))
    for f in folds:
        assert set(crossed["encoder"].iloc[f.test]) == {f.encoder}
        assert set(crossed["y"].iloc[f.train]) == {0, 1}
        assert set(crossed["encoder"].iloc[f.train]) == {1, 2}  # trained on all others
    numbers = [(f.repeat, f.fold) for f in folds]
    assert len(set(numbers)) == len(numbers)


def test_everybody_is_tested_once_in_each_repeat_in_as_many_folds_as_asked_for(crossed):
    folds = make_folds(crossed, 5, 2, seed=1)
    for repeat in (0, 1):
        mine = [f for f in folds if f.repeat == repeat]
        assert len(mine) == 5
        assert sorted(np.concatenate([f.test for f in mine])) == list(range(len(crossed)))
        n_of = [sum(f.encoder == e for f in mine) for e in (1, 2)]
        sizes = [(crossed["encoder"] == e).sum() for e in (1, 2)]
        assert sorted(n_of) == [2, 3]
        assert np.argmax(n_of) == np.argmax(sizes)
        for f in mine:
            assert len(f.train) + len(f.test) == len(crossed)
            assert set(crossed["y"].iloc[f.test]) == {0, 1}  # stratified by class


def test_the_folds_of_an_encoder_do_not_depend_on_the_participants_of_the_others(crossed):
    fewer = crossed.drop(crossed.index[crossed["encoder"] == 2][:8]).reset_index(drop=True)
    found = []
    for scans in (crossed, fewer):
        folds = [f for f in make_folds(scans, 4, 1, seed=1) if f.encoder == 1]
        found.append([set(scans["scan_id"].iloc[f.test]) for f in folds])
    assert found[0] == found[1]


def test_fewer_test_folds_than_encoders_are_refused(crossed):
    crossed["encoder"] = 1 + np.arange(len(crossed)) // 2 % 4
    with pytest.raises(TaskError, match="at least 4, one test fold for each fold of the pre-tr"):
        make_folds(crossed, 3, 1, seed=0)


def test_too_few_of_a_class_in_a_fold_of_the_pretraining_are_refused_by_name(crossed):
    rare = crossed["encoder"].eq(2) & crossed["y"].eq(1)
    kept = crossed[~rare | crossed["participant_id"].isin(crossed.loc[rare, "participant_id"][:1])]
    with pytest.raises(TaskError, match="of fold 2 of the pre-training there are 1 tested"):
        make_folds(kept.reset_index(drop=True), 6, 1, seed=0)


@pytest.mark.parametrize("mark", ["scan_id", "file", "series_fingerprint", "source_checksum"])
def test_a_leak_to_the_encoder_of_a_fold_is_refused(crossed, mark):
    folds, shown = make_folds(crossed, 4, 1, seed=1), seen(crossed)
    victim = crossed.index[crossed["encoder"] == 2][0]
    if crossed[mark].isna().all():
        crossed[mark] = [f"{mark}-{i}" for i in range(len(crossed))]
        shown = seen(crossed)
    other = shown[2].copy()  # a scan of somebody else, that is a copy of the tested one
    other.iloc[0, other.columns.get_loc(mark)] = crossed.loc[victim, mark]
    refuse_leaks(crossed, folds, shown)
    with pytest.raises(LeakError, match=str(crossed.loc[victim, "scan_id"])):
        refuse_leaks(crossed, folds, shown | {2: other})
    refuse_leaks(crossed, folds, shown | {1: shown[1]})


def test_another_scan_of_a_tested_person_in_any_data_set_is_a_leak(crossed):
    folds, shown = make_folds(crossed, 4, 1, seed=1), seen(crossed)
    victim = crossed[crossed["encoder"] == 1].iloc[[0]]
    session = victim.assign(scan_id="elsewhere", dataset="corpus", bold_path="/e", file="/e\x1f")
    with pytest.raises(LeakError, match="the same participant as elsewhere"):
        refuse_leaks(crossed, folds, shown | {1: pd.concat([shown[1], session])})


def test_a_fold_that_is_tested_with_the_wrong_encoder_is_refused(crossed):
    good, *others = make_folds(crossed, 4, 1, seed=1)
    wrong = Fold(good.repeat, good.fold, good.train, good.test, 3 - good.encoder)
    with pytest.raises(LeakError, match=f"with encoder {3 - good.encoder}, which was trained on"):
        refuse_leaks(crossed, [wrong, *others], seen(crossed))


def test_a_classifier_is_given_embeddings_of_its_own_encoder_only(crossed):
    y = crossed["y"].to_numpy()
    rng = np.random.default_rng(0)
    # the two encoders write the class with opposite sign: mixed, nothing could be learned
    shown = (2.0 * y - 1)[:, None] + 0.1 * rng.standard_normal((len(y), 3))
    folds = make_folds(crossed, 4, 1, seed=1)
    # one encoder that tells nothing: only the folds of the other one are right
    half = predict_folds("fc_svm", ByEncoder({1: shown, 2: 0 * shown}), y, folds, seed=0)
    right = half["y_pred"].to_numpy() == y[half["row"]]
    assert right[half["encoder"] == 1].all()
    assert not right[half["encoder"] == 2].all()
    found = predict_folds("fc_svm", ByEncoder({1: shown, 2: -shown}), y, folds, seed=0)
    assert (found["y_pred"].to_numpy() == y[found["row"]]).all()
    assert (found["encoder"].to_numpy() == crossed["encoder"].to_numpy()[found["row"]]).all()
