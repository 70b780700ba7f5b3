"""Cohorts of one to three participants per class: a result, or an error message of this package."""

import logging
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning

from brainmass_core.config.adaptation import FewShot, ZeroShot
from brainmass_core.config.tasks import Protocol
from brainmass_core.connectivity import pearson, vectorise
from brainmass_core.finetune.cohort.labels import TaskError, fifths
from brainmass_core.finetune.few_shot import learning_curves
from brainmass_core.finetune.folds.participants import make_folds
from brainmass_core.finetune.folds.protocols import protocol_folds
from brainmass_core.finetune.methods.fitting import Design, confounds_of, fit_method, predict_folds
from brainmass_core.finetune.methods.searches import in_our_words
from brainmass_core.finetune.zero_shot import transfer

SEARCHES = ["confounds_ridge", "fc_logistic", "fc_ridge", "fc_knn", "tangent_ridge"]
KFOLD = Protocol(kind="repeated_kfold", n_splits=2, n_repeats=1)
ACROSS = Protocol(kind="cross_cohort", train_datasets=["one"])
BY_SITE = Protocol(kind="leave_one_site_out", min_per_class=1)
FIXED = Protocol(kind="fixed_split", n_repeats=1, test_fraction=0.5)
RAW = re.compile(r"n_splits=|n_samples|member|populated|estimator|fits failed|solver|\bX\b|array")


def cohort(n_per_class: int, regression: bool = False) -> tuple[np.ndarray, pd.DataFrame]:
    """Participants of two classes in two data sets and at two sites, one scan each, with FC."""
    rng = np.random.default_rng(n_per_class)
    rows = [
        {"dataset": d, "participant": f"{d}/{i}", "y": i % 2, "site": "ab"[i // 2 % 2]}
        for d in ("one", "two")
        for i in range(2 * n_per_class)
    ]
    scans = pd.DataFrame(rows).assign(split="test", sex="F", age=30.0, mean_fd=0.1)
    scans["participant_id"] = scans["scan_id"] = scans["participant"]
    if regression:
        scans["y"] = np.linspace(0, 1, len(scans))
        scans["stratum"] = fifths(scans)
    series = rng.standard_normal((len(scans), 30, 5)).astype(np.float32)
    return np.stack([vectorise(pearson(one)) for one in series]), scans


def predict(method: str, fc: np.ndarray, scans: pd.DataFrame, folds: list, name: str = "t"):
    """Predictions; any warning is an error."""
    kind = "regression" if "stratum" in scans else "classification"
    y, who = scans["y"].to_numpy(), scans["participant"].to_numpy()
    design = Design(y, who, kind=kind, name=name, classes=("ill", "well"))
    features = confounds_of(scans) if method.startswith("confounds") else fc
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return predict_folds(method, features, design, folds, seed=0)


@pytest.mark.parametrize(
    ("regression", "protocol", "n", "least"),
    [
        (False, KFOLD, 2, 2),
        (False, ACROSS, 3, 3),
        (True, BY_SITE, 1, 2),
        (True, FIXED, 2, 4),
    ],
)
def test_a_search_uses_as_many_inner_folds_as_there_are_people_and_says_so_once(
    regression, protocol, n, least, caplog
):
    fc, scans = cohort(n, regression)
    name = f"{protocol.kind}-{regression}-{n}"  # a warning of a task is logged once
    folds = protocol_folds(scans, protocol, seed=0, name=name)
    with caplog.at_level(logging.WARNING):
        found = predict("fc_ridge", fc, scans, folds, name)
        predict("tangent_ridge", fc, scans, folds, name)
    assert len(found) == sum(len(f.test) for f in folds)
    lowered = [r.getMessage() for r in caplog.records if "inner folds" in r.getMessage()]
    assert len(lowered) == (least < 3)
    for line in lowered:
        assert f"{least} participants" in line
        assert f"by {least} inner folds, not 3 (finetune.inner_splits)" in line


@pytest.mark.parametrize("method", ["chance", "confounds_svm", "fc_svm", *SEARCHES])
def test_every_method_is_fitted_to_two_people_of_each_class(method):
    fc, scans = cohort(2)
    folds = protocol_folds(scans, ACROSS, seed=0)
    assert len(predict(method, fc, scans, folds)) == 4


@pytest.mark.parametrize("method", ["tangent_ridge", "fc_knn", "fc_svm"])
def test_every_method_of_a_regression_is_fitted_to_two_people(method):
    fc, scans = cohort(1, regression=True)
    folds = protocol_folds(scans, ACROSS, seed=0)
    assert np.isfinite(predict(method, fc, scans, folds)["y_pred"]).all()


def test_of_one_person_of_a_class_only_what_searches_is_refused_and_the_remedy_helps():
    fc, scans = cohort(1)
    folds = protocol_folds(scans, ACROSS, seed=0)
    left = [*SEARCHES, "chance", "confounds_svm", "fc_svm"]
    for method in SEARCHES:
        with pytest.raises(TaskError, match=r"task t: .* found one with 1 of class 'ill'") as error:
            predict(method, fc, scans, folds)
        assert "expected at least 2" in str(error.value)
        left.remove(re.search(r"leave (\w+) out of finetune.methods", str(error.value))[1])
    for method in left:
        assert len(predict(method, fc, scans, folds)) == 2
    alone, scans = cohort(1, regression=True)
    with pytest.raises(TaskError, match="found one with 1 among its participants, expected at"):
        fit_method("fc_ridge", alone, Design(scans["y"].to_numpy(), kind="regression"), [0], 0)


def test_the_inner_folds_keep_a_person_together_and_hold_each_class():
    fc, scans = cohort(3)
    who = scans["participant"].to_numpy().copy()
    who[1:4:2] = who[1]  # two of the second class are one person: it has two in the training set
    y, train = scans["y"].to_numpy(), np.arange(6)
    search = fit_method("fc_ridge", fc, Design(y, who), train, 0).model
    assert search.n_splits_ == 2
    for inner, held_out in search.cv.split(fc[train], y[train], who[train]):
        assert not set(who[inner]) & set(who[held_out])
        assert set(y[inner]) == set(y[held_out]) == {0, 1}


@pytest.mark.parametrize(
    ("protocol", "n", "said"),
    [
        (KFOLD.model_copy(update={"n_splits": 3}), 1, r"2 of the first class and 2 of the second"),
        (BY_SITE.model_copy(update={"min_per_class": 3}), 1, r"0 of 2 sites have 3 or more"),
        (FIXED, 1, r"the test set of repeat 0: 1 scans of 1 classes, expected 2"),
        (ACROSS.model_copy(update={"train_datasets": ["none"]}), 1, r": 0 scans of 0 classes"),
    ],
    ids=lambda p: p.kind if isinstance(p, Protocol) else None,
)
def test_a_protocol_refuses_too_few_people_in_our_words(protocol, n, said):
    _, scans = cohort(n)
    with pytest.raises(TaskError, match=said) as error:
        protocol_folds(scans, protocol, seed=0, name="t")
    assert not RAW.search(str(error.value))
    assert "expected" in str(error.value)
    assert (
        "tasks.t.protocol." in str(error.value).split(";")[1]
    )  # a remedy with the name of the setting


@pytest.mark.parametrize("people", [3, 7, 20, 24, 26])
def test_a_regression_of_few_people_is_dealt_into_as_many_folds_as_asked_for(people):
    _, scans = cohort(7, regression=True)
    scans = scans.head(people).assign(split="test")
    scans["stratum"] = fifths(scans)
    splits = min(5, people)
    folds = make_folds(scans, splits, 1, seed=0)
    assert sorted(np.concatenate([f.test for f in folds])) == list(range(people))
    assert max(len(f.test) for f in folds) - min(len(f.test) for f in folds) <= 1 + people // 5


def test_more_neighbours_than_training_scans_are_not_tried(recwarn):
    fc, scans = cohort(3)
    fitted = fit_method("fc_knn", fc, Design(scans["y"].to_numpy()), np.arange(6), 0)
    assert fitted.model.param_grid["kneighborsclassifier__n_neighbors"] == [3]
    assert not recwarn.list


def fit_noisily() -> None:
    with in_our_words("fc_logistic"):
        for _ in range(3):
            warnings.warn("lbfgs failed to converge (status=1)", ConvergenceWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)


def test_fits_that_do_not_converge_are_one_line_of_ours_and_other_warnings_stay(caplog):
    with pytest.warns(UserWarning, match="something else") as others:
        fit_noisily()
    assert len(others) == 1
    (line,) = [r.getMessage() for r in caplog.records]
    assert line.startswith("fc_logistic: 3 fits stopped at the largest number of iterations")


def test_evaluation_fraction_is_no_remedy_where_all_are_evaluated():
    _, scans = cohort(1)
    with pytest.raises(TaskError) as error:
        make_folds(scans, 3, 1, seed=0, name="t")
    assert "evaluation_fraction" not in str(error.value)
    assert "set tasks.t.protocol.n_splits to 2" in str(error.value)
    scans.loc[0, "split"] = "train"
    with pytest.raises(TaskError, match="evaluation_fraction of the internal data sets"):
        make_folds(scans, 3, 1, seed=0, name="t")


@pytest.mark.parametrize("n", [1, 2])
def test_few_shot_of_few_people_gives_curves_or_says_how_many_there_are(n):
    fc, scans = cohort(n)
    folds = protocol_folds(scans, ACROSS, seed=0)
    settings = FewShot(shots=[2, 4], features=["fc"], n_draws=2)
    if n >= 2:
        rows, _ = learning_curves({"fc": fc}, scans, folds, settings, seed=0)
        assert set(rows["k"]) == {2}
        return
    with pytest.raises(TaskError, match=r"found 1 participants.*expected at least 2") as error:
        learning_curves({"fc": fc}, scans, folds, settings, seed=0)
    assert "set few_shot.shots to numbers up to 1" in str(error.value)


@pytest.mark.parametrize("n", [1, 2])
def test_zero_shot_of_few_people_gives_scores(n):
    fc, scans = cohort(n)
    here = (scans["dataset"] == "one").to_numpy()
    source, target = (scans[m].reset_index(drop=True) for m in (here, ~here))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows, _ = transfer({"fc": (fc[here], fc[~here])}, source, target, ZeroShot())
    assert rows["auc"].between(0, 1).all()
