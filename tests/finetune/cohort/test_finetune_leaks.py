"""A planted leak changes the scores of a tested scan; the pipeline's own fits do not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainmass_core.config import parse_config
from brainmass_core.config.adaptation import FewShot
from brainmass_core.config.tasks import Task
from brainmass_core.encoders.methods import OWN, Estimator, Method
from brainmass_core.encoders.registry import FEATURES, METHODS
from brainmass_core.finetune import LeakError, few_shot
from brainmass_core.finetune.adjustment import ComBat
from brainmass_core.finetune.cohort.leaks import refuse_leaks
from brainmass_core.finetune.few_shot import learning_curves
from brainmass_core.finetune.folds.participants import Fold, make_folds
from brainmass_core.finetune.folds.protocols import leave_one_site_out
from brainmass_core.finetune.methods import fitting as methods
from brainmass_core.finetune.methods.estimators import ESTIMATORS
from brainmass_core.finetune.methods.fitting import BEFORE, Design, predict_folds
from brainmass_core.scans.copies import persons

N, N_ROIS = 60, 8
FOLD = Fold(0, 0, np.arange(40), np.arange(40, N))
NEURAL = {"max_epochs": 2, "brainnetcnn_maps": 4}  # settings of the networks
DATASET = {"kind": "timeseries", "role": "internal", "path": "."}
CONFIG = parse_config({"datasets": {"x": DATASET}, "neural": NEURAL}, "test")
FC_METHODS = sorted(m for m, v in METHODS.items() if v.given in ("fc", "brainmass"))


def scans(seed=0, kind="classification"):
    """FC of 60 scans of 30 participants at three sites, and their design without its handling of
    confounds.
    """
    rng = np.random.default_rng(seed)
    y = np.arange(N) // 2 % 2
    series = rng.standard_normal((N, 60, N_ROIS)) + 0.8 * rng.standard_normal((N, 60, 1))
    fc = np.stack([np.corrcoef(s.T)[np.triu_indices(N_ROIS, 1)] for s in series])
    confounds = pd.DataFrame(
        {
            "site": np.array(["a", "b", "c"])[rng.integers(0, 3, N)],
            "sex": np.where(rng.random(N) < 0.5, "F", "M"),
            "age": rng.uniform(10, 60, N),
            "mean_fd": rng.exponential(0.2, N),
        }
    )
    target = y + rng.normal(0, 0.1, N) + 2 if kind == "regression" else y
    groups = np.arange(N) // 2
    return fc, {
        "y": target,
        "groups": groups,
        "confounds": confounds,
        "kind": kind,
        "config": CONFIG,
    }


def first_score(method, fc, **design):
    found = predict_folds(method, fc, Design(**design), [FOLD], seed=1)
    return found["y_score"].to_numpy()


def differs_when_the_other_tested_scans_change(method, handling, kind, **more) -> bool:
    """Whether the score of the first tested scan depends on features, sites and labels of the
    others.
    """
    fc, design = scans(kind=kind)
    before = first_score(method, fc, **design, handling=handling, **more)
    changed, other = fc.copy(), design["confounds"].copy()
    changed[41:] = 0.5 * fc[41:][::-1]  # still correlation matrices
    other.loc[41:, ["age", "mean_fd"]] = 1000.0
    other.loc[41:, "site"] = "a"
    y = design["y"].copy()
    y[41:] = y[41:][::-1]
    design |= {"y": y, "confounds": other}
    after = first_score(method, changed, **design, handling=handling, **more)
    if method != "chance":
        assert not np.allclose(before[1:], after[1:]), "the change must matter"
    return not np.isclose(before[0], after[0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("handling", ["none", "regress", "combat", "match"])
@pytest.mark.parametrize("method", FC_METHODS)
def test_nothing_of_a_classification_is_fitted_to_tested_scans(method, handling):
    assert not differs_when_the_other_tested_scans_change(method, handling, "classification")


@pytest.mark.parametrize("transform", ["none", "zscore", "minmax", "max", "log1p", "log1p_max"])
@pytest.mark.parametrize("method", ["fc_svm", "fc_ridge"])
def test_nothing_of_a_regression_is_fitted_to_tested_scans(method, transform):
    assert not differs_when_the_other_tested_scans_change(
        method, "regress", "regression", transform=transform
    )


def plant(monkeypatch, make=None, before=None):
    of_fc = replace(FEATURES["fc"], name="leaky")
    monkeypatch.setitem(OWN, "leaky", Method(of_fc, Estimator("leaky", "", alone=True)))
    monkeypatch.setitem(ESTIMATORS, "leaky", make or ESTIMATORS["logistic"])
    if before:
        monkeypatch.setitem(BEFORE, "leaky", before)


class OutsideTheFold:
    """A transformer that is fitted to all scans instead of those given."""

    seen: np.ndarray
    labels: np.ndarray

    def __init__(self, inner):
        self.inner = inner

    def fit(self, X, y=None):
        self.inner.fit(self.seen, self.labels)
        return self

    def transform(self, X):
        return self.inner.transform(X)


@pytest.mark.parametrize(
    "inner", [StandardScaler, lambda: SelectKBest(f_classif, k=5)], ids=["scaler", "selection"]
)
def test_what_is_fitted_outside_the_fold_is_found(monkeypatch, inner):
    plant(
        monkeypatch,
        make=lambda s, features: LogisticRegression(C=0.01),
        before=lambda: OutsideTheFold(inner()),
    )
    original = methods.predict_folds

    def remember(method, features, design, folds, seed):
        OutsideTheFold.seen, OutsideTheFold.labels = features, design.y
        return original(method, features, design, folds, seed)

    monkeypatch.setitem(globals(), "predict_folds", remember)
    assert differs_when_the_other_tested_scans_change("leaky", "none", "classification")


def test_a_harmoniser_that_saw_the_tested_scans_is_found(monkeypatch):
    fit = ComBat.fit
    everything = {}

    def leaky(self, X, confounds):
        return fit(self, everything["fc"], everything["confounds"])

    monkeypatch.setattr(ComBat, "fit", leaky)
    original = methods.predict_folds

    def remember(method, features, design, folds, seed):
        everything.update(fc=features, confounds=design.confounds)
        return original(method, features, design, folds, seed)

    monkeypatch.setitem(globals(), "predict_folds", remember)
    assert differs_when_the_other_tested_scans_change("fc_logistic", "combat", "classification")


def test_a_search_keeps_participants_together_within_the_training_set(monkeypatch):
    seen = []
    from sklearn.model_selection import StratifiedGroupKFold

    split = StratifiedGroupKFold.split

    def spy(self, X, y=None, groups=None):
        for train, test in split(self, X, y, groups):
            seen.append(set(groups[train]) & set(groups[test]))
            yield train, test

    monkeypatch.setattr(StratifiedGroupKFold, "split", spy)
    fc, design = scans()
    first_score("fc_logistic", fc, **design)
    assert seen == [set()] * 3


def test_a_pipeline_that_scales_inside_is_no_leak(monkeypatch):
    plant(
        monkeypatch, make=lambda s, features: make_pipeline(StandardScaler(), LogisticRegression())
    )
    assert not differs_when_the_other_tested_scans_change("leaky", "none", "classification")


def test_the_same_file_in_two_cohorts_is_no_test(people):
    twin = people.assign(
        dataset="copy", scan_id="copy_" + people["scan_id"], split="test",
        participant="copy/other_" + people["participant_id"], person="other_" + people["person"],
    )  # fmt: skip
    both = pd.concat([people.assign(split="test"), twin], ignore_index=True)
    fold = Fold(0, 0, np.arange(120), np.arange(120, 240))
    with pytest.raises(LeakError, match=r"120 tested scans .*copy_s00_run-0 \(the same file"):
        refuse_leaks(both, [fold], people.iloc[:0])


def test_one_id_in_two_data_sets_of_a_task_is_one_person(people):
    twin = people.assign(
        dataset="copy", scan_id="copy_" + people["scan_id"], split="test",
        participant="copy/" + people["participant_id"], file="/copy" + people["file"],
    )  # fmt: skip
    both = pd.concat([people.assign(split="test"), twin], ignore_index=True)
    fold = Fold(0, 0, np.arange(120), np.arange(120, 240))
    with pytest.raises(LeakError, match=r"\(the same participant as s00_run-0\).*allow_same_ids"):
        refuse_leaks(both, [fold], people.iloc[:0])
    allowed = both.assign(person=persons(both, ["copy"]))
    refuse_leaks(allowed, [fold], people.iloc[:0])


def test_a_scan_that_a_tested_participant_has_at_another_site_is_not_tested(people):
    # others of site c are in training, so its scan there would not be new to the model
    people.loc[people["scan_id"] == "s01_run-1", "site"] = "c"
    folds = leave_one_site_out(people, 1)
    tested = people.iloc[np.concatenate([f.test for f in folds])]
    assert "s01_run-0" in set(tested["scan_id"])
    assert "s01_run-1" not in set(tested["scan_id"])
    for f in folds:
        assert not set(people["site"].iloc[f.test]) & set(people["site"].iloc[f.train])


def few_shot_cohort():
    rng = np.random.default_rng(0)
    n = 60
    scans = pd.DataFrame(
        {
            "scan_id": [f"s{i:02d}" for i in range(n)],
            "dataset": "here",
            "participant": [f"here/p{i:02d}" for i in range(n)],
            "y": np.arange(n) % 2,
            "site": np.where(np.arange(n) // 2 % 2, "north", "south"),
            "sex": "F",
            "age": rng.uniform(10, 60, n),
            "mean_fd": rng.exponential(0.2, n),
            "split": "test",
        }
    )
    return rng.standard_normal((n, 30)) + (scans["site"] == "north").to_numpy()[:, None], scans


def first_fold_curve(features, scans, handling):
    """AUC rows of a fold in which all tested scans except two are changed afterwards."""
    fold = make_folds(few_shot_cohort()[1], 3, 1, seed=0)[0]
    task = Task(datasets=["here"], label="dx", classes={"a": ["1"], "b": ["2"]}, confounds=handling)
    s = FewShot(shots=[8], n_draws=2, classifiers=["svm"])
    scores = []
    original = few_shot.classify

    def spy(*arguments):
        found = original(*arguments)
        scores.append(found[0])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(few_shot, "classify", spy)
        learning_curves({"fc": features}, scans, [fold], s, 0, task)
    return fold, np.array(scores)


def few_shot_score_moves(handling) -> bool:
    features, scans = few_shot_cohort()
    fold, before = first_fold_curve(features, scans, handling)
    changed, others = features.copy(), fold.test[1:]
    changed[others] *= -3
    other = scans.copy()
    other.loc[others, ["age", "mean_fd"]] = 500.0
    _, after = first_fold_curve(changed, other, handling)
    assert not np.allclose(before[:, 1:], after[:, 1:]), "the change must matter"
    return not np.allclose(before[:, 0], after[:, 0], rtol=1e-7)


@pytest.mark.parametrize("handling", ["none", "regress", "combat", "match"])
def test_no_confound_handling_of_few_shots_looks_at_other_tested_scans(handling):
    assert not few_shot_score_moves(handling)


def test_a_few_shot_harmoniser_that_saw_the_tested_scans_is_found(monkeypatch):
    def leaky(values, scans, f, task):
        everybody = replace(f, train=np.arange(len(scans)))
        return original(values, scans, everybody, task)

    original = few_shot._adjusted
    monkeypatch.setattr(few_shot, "_adjusted", leaky)
    assert few_shot_score_moves("combat")
    assert few_shot_score_moves("regress")
