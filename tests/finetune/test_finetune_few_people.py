"""Cohorts of one to three participants per class: a result, or a sentence of ours."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest

from brainmass_core.config.adaptation import FewShot, ZeroShot
from brainmass_core.config.tasks import Finetune, Protocol
from brainmass_core.finetune.dataset import TaskError, fifths
from brainmass_core.finetune.few_shot import learning_curves
from brainmass_core.finetune.folds import Fold, make_folds
from brainmass_core.finetune.methods import Design, confounds_of, fit_method, predict_folds
from brainmass_core.finetune.protocols import protocol_folds
from brainmass_core.finetune.zero_shot import transfer

METHODS = ["chance", "confounds_svm", "confounds_ridge", "fc_svm", "fc_logistic", "fc_ridge"]
METHODS += ["fc_knn", "tangent_ridge"]
PROTOCOLS = [
    Protocol(kind="repeated_kfold", n_splits=2, n_repeats=1),
    Protocol(kind="leave_one_site_out", min_per_class=1),
    Protocol(kind="fixed_split", n_repeats=1, test_fraction=0.5),
    Protocol(kind="cross_cohort", train_datasets=["one"]),
]
RAW = re.compile(r"n_splits=|n_samples|member|populated|estimator|fits failed|solver|\bX\b|array")


def cohort(n_per_class: int, regression: bool = False) -> tuple[np.ndarray, pd.DataFrame]:
    """Participants of two classes in two data sets and at two sites, one scan each."""
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
    return rng.standard_normal((len(scans), 15)).astype(np.float32), scans


def ours(error: TaskError) -> bool:
    said = str(error)
    assert not RAW.search(said), said
    assert "expected" in said, said
    assert ";" in said, "no remedy: " + said
    return True


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.kind)
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_a_protocol_on_few_people_gives_scores_or_says_why_not(n, protocol, kind):
    fc, scans = cohort(n, kind == "regression")
    if kind == "regression" and protocol.kind == "repeated_kfold":
        protocol = protocol.model_copy(update={"n_splits": 3})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            folds = protocol_folds(scans, protocol, seed=0, name="t")
        except TaskError as error:
            assert ours(error)
            return
        for method in METHODS:
            if kind == "regression" and method == "fc_logistic":
                continue
            features = confounds_of(scans) if method.startswith("confounds") else fc
            design = Design(
                scans["y"].to_numpy(), scans["participant"].to_numpy(), kind=kind, name="t"
            )
            try:
                found = predict_folds(method, features, design, folds, seed=0)
            except TaskError as error:
                assert ours(error)
            else:
                assert len(found) == sum(len(f.test) for f in folds)


@pytest.mark.parametrize("people", [3, 7, 20, 24, 26])
def test_a_regression_of_few_people_is_dealt_into_as_many_folds_as_asked_for(people):
    _, scans = cohort(7, regression=True)
    scans = scans.head(people).assign(split="test")
    scans["stratum"] = fifths(scans)
    splits = min(5, people)
    folds = make_folds(scans, splits, 1, seed=0)
    assert sorted(np.concatenate([f.test for f in folds])) == list(range(people))
    assert max(len(f.test) for f in folds) - min(len(f.test) for f in folds) <= 1 + people // 5


def test_the_remedies_for_a_search_that_is_too_large_are_taken():
    fc, scans = cohort(2)
    fold = Fold(0, 0, np.arange(4), np.arange(4, 8))
    y, who = scans["y"].to_numpy(), scans["participant"].to_numpy()
    with pytest.raises(TaskError, match=r"2 in its smallest class, expected at least 3") as error:
        fit_method("fc_ridge", fc, Design(y, who), fold.train, 0)
    lower = int(re.search(r"set finetune\.inner_splits to (\d)", str(error.value))[1])
    assert Finetune(inner_splits=lower).inner_splits == 2
    fit_method("fc_ridge", fc, Design(y, who, inner_splits=lower), fold.train, 0)
    fit_method("fc_svm", fc, Design(y, who), fold.train, 0)
    with pytest.raises(TaskError) as error:  # of one there is nothing to lower
        fit_method("fc_ridge", fc, Design(y, who, inner_splits=2), fold.train[:2], 0)
    assert "set finetune.inner_splits" not in str(error.value)


def test_more_neighbours_than_training_scans_are_not_tried(recwarn):
    fc, scans = cohort(3)
    fitted = fit_method("fc_knn", fc, Design(scans["y"].to_numpy()), np.arange(6), 0)
    assert fitted.model.param_grid["kneighborsclassifier__n_neighbors"] == [3]
    assert not recwarn.list


def test_a_fit_that_does_not_converge_is_one_line_of_ours(caplog, recwarn):
    fc, scans = cohort(3)
    far = np.where(scans["y"].to_numpy()[:, None], 1e6, -1e6) * np.abs(fc)
    design = Design(scans["y"].to_numpy(), scans["participant"].to_numpy())
    fit_method("fc_logistic", far, design, np.arange(12), 0)
    assert not [w for w in recwarn.list if "sklearn" in str(w.category)]


def test_evaluation_fraction_is_no_remedy_where_all_are_evaluated():
    _, scans = cohort(1)
    with pytest.raises(TaskError) as error:
        make_folds(scans, 3, 1, seed=0, name="t")
    assert "evaluation_fraction" not in str(error.value)
    assert "set tasks.t.protocol.n_splits to 2" in str(error.value)
    scans.loc[0, "split"] = "train"
    with pytest.raises(TaskError, match="evaluation_fraction of the internal data sets"):
        make_folds(scans, 3, 1, seed=0, name="t")


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_shot_of_few_people_gives_curves_or_says_how_many_there_are(n):
    fc, scans = cohort(n)
    folds = protocol_folds(scans, PROTOCOLS[3], seed=0)
    settings = FewShot(shots=[2, 4], features=["fc"], n_draws=2)
    if n >= 2:
        rows, _ = learning_curves({"fc": fc}, scans, folds, settings, seed=0)
        assert set(rows["k"]) == {2}
        return
    with pytest.raises(TaskError, match=r"found 1 participants.*expected at least 2") as error:
        learning_curves({"fc": fc}, scans, folds, settings, seed=0)
    assert "set few_shot.shots to numbers up to 1" in str(error.value)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_zero_shot_of_few_people_gives_scores(n):
    fc, scans = cohort(n)
    here = (scans["dataset"] == "one").to_numpy()
    source, target = (scans[m].reset_index(drop=True) for m in (here, ~here))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows, _ = transfer({"fc": (fc[here], fc[~here])}, source, target, ZeroShot())
    assert rows["auc"].between(0, 1).all()
