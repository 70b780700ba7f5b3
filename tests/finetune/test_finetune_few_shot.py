"""Few-shot: which participants are drawn and tested, and what the curves show."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from brainmass_core.auc import auc_influence, standard_error
from brainmass_core.config.adaptation import FewShot
from brainmass_core.finetune.few_shot import Draw, draw_shots, learning_curves, refuse_tested
from brainmass_core.finetune.folds.participants import Fold, make_folds
from brainmass_core.finetune.methods.few_shot_classifiers import (
    Prototype,
    classify,
    coordinates,
    gram,
)
from brainmass_core.finetune.statistics.balanced_accuracy import balanced_accuracy_influence
from brainmass_core.scans.copies import LeakError

SETTINGS = FewShot(shots=[1, 4, 16], n_draws=12)


def cohort(n_people=90, runs=2, effect=1.5, seed=0, n_features=80, n_classes=2):
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(n_people), runs)
    y = people % n_classes
    scans = pd.DataFrame(
        {
            "scan_id": [f"s{i:03d}" for i in range(len(y))],
            "dataset": "here",
            "participant": [f"p{i:03d}" for i in people],
            "y": y,
            "site": "here",
            "split": "test",
        }
    )
    own = rng.standard_normal((n_people, n_features))[
        people
    ]  # common part of the runs of one participant
    features = own + 0.5 * rng.standard_normal((len(y), n_features))
    features[:, :8] += effect * np.eye(n_classes, 8)[y] if n_classes > 2 else effect * y[:, None]
    return features, scans


def curves(features, scans, settings=SETTINGS, seed=3):
    folds = make_folds(scans, 3, 1, seed=0)
    return learning_curves({"fc": features}, scans, folds, settings, seed)


def test_a_draw_holds_k_participants_per_class_with_all_their_scans_and_none_that_is_tested():
    _, scans = cohort()
    y, who = scans["y"].to_numpy(), scans["participant"].to_numpy()
    for f in make_folds(scans, 3, 2, seed=1):
        held = {}
        for d in draw_shots(y, who, f.train, [1, 2, 8], 5, seed=9):
            drawn = set(who[d.rows])
            assert not drawn & set(who[f.test])
            assert len(d.rows) == 2 * len(drawn)
            per_class = scans.iloc[d.rows].drop_duplicates("participant")["y"].value_counts()
            assert per_class.tolist() == [d.k, d.k]
            assert held.get(d.number, set()) <= drawn, "larger draws hold smaller ones"
            held[d.number] = drawn
        assert len({frozenset(h) for h in held.values()}) == 5


def test_a_planted_leak_is_refused():
    _, scans = cohort()
    who = scans["participant"].to_numpy()
    fold = make_folds(scans, 3, 1, seed=1)[0]
    leaked = Draw(0, 1, np.append(fold.train[:2], fold.test[0]))
    with pytest.raises(LeakError, match=who[fold.test[0]]):
        refuse_tested(leaked, who, fold)
    wrong = Fold(0, 0, np.arange(len(who)), fold.test)
    with pytest.raises(LeakError):
        learning_curves({"fc": np.eye(len(who))}, scans, [wrong], SETTINGS, 0)


def test_more_shots_than_participants_are_left_out():
    _, scans = cohort(n_people=12)
    y, who = scans["y"].to_numpy(), scans["participant"].to_numpy()
    ks = {d.k for d in draw_shots(y, who, np.arange(len(y)), [1, 6, 7], 2, seed=0)}
    assert ks == {1, 6}


@pytest.fixture(scope="module")
def planted():
    """Rows and summary of a cohort with a difference."""
    return curves(*cohort())


def test_a_planted_difference_is_learned_better_with_more_shots(planted):
    rows, summary = planted
    assert set(rows["method"]) == {"fc_svm", "fc_logistic", "fc_prototype", "fc_knn"}
    assert len(rows) == 4 * 3 * 12 * 3
    for method, curve in summary.groupby("method"):
        auc = curve.set_index("k")["auc"]
        assert auc[1] < auc[4] < auc[16], method
        assert auc[16] > 0.9, method
        assert (curve["auc_low"] > 0.5).all(), method


def test_without_a_difference_intervals_hold_chance():
    inside = []
    settings = FewShot(shots=[1, 8], n_draws=10, classifiers=["svm", "prototype", "knn"])
    for seed in range(3):
        _, summary = curves(*cohort(n_people=60, effect=0.0, seed=seed), settings)
        inside.append((summary["auc_low"] <= 0.5) & (summary["auc_high"] >= 0.5))
        assert (summary["auc_draw_low"] <= summary["auc_draw_high"]).all()
    assert np.concatenate(inside).mean() > 0.85


def test_three_classes_have_curves():
    features, scans = cohort(n_classes=3, effect=6.0)
    folds = [Fold(0, 0, np.arange(0, 120), np.arange(120, 180))]
    rows, summary = learning_curves({"fc": features}, scans, folds, SETTINGS, 0)
    assert rows["auc"].notna().all()
    assert summary.set_index(["method", "k"]).loc[("fc_prototype", 16), "auc"] > 0.8


def test_the_summary_is_the_mean_over_the_rows(planted):
    rows, summary = planted
    for r in summary.itertuples():
        mine = rows[(rows["method"] == r.method) & (rows["k"] == r.k)]
        by_draw = mine.groupby("draw").apply(
            lambda t: np.average(t["auc"], weights=t["n_test_scans"]), include_groups=False
        )
        assert r.auc == pytest.approx(by_draw.mean())
        assert r.auc_draw_low == pytest.approx(mine["auc"].quantile(0.025))
        assert r.auc_draw_high == pytest.approx(mine["auc"].quantile(0.975))
        assert r.n_draws == 12
        assert r.n_folds == 3


def test_the_same_seed_gives_the_same_tables():
    settings = FewShot(shots=[2], n_draws=3)
    first, second = (curves(*cohort(n_people=30), settings) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        pd.testing.assert_frame_equal(a, b, check_exact=True)


def test_a_test_scan_is_scored_without_a_look_at_the_others():
    features, _ = cohort()
    train, test, y = np.arange(20), np.arange(100, 120), np.arange(20) % 2
    changed = features.copy()
    changed[test[1:]] *= 30
    before, after = (
        classify("svm", a, y, b)[0]
        for a, b in (coordinates(gram(x), train, test) for x in (features, changed))
    )
    assert before[0] == pytest.approx(after[0], rel=1e-9)
    assert not np.allclose(before[1:], after[1:])


def test_coordinates_keep_every_distance_up_to_one_factor():
    features, _ = cohort(n_features=300)
    train, test = np.arange(0, 40, 2), np.arange(41, 60)
    inside, outside = coordinates(gram(features), train, test)
    assert np.mean(inside**2) == pytest.approx(1)
    x = features[train]
    expected = np.linalg.norm(x[:, None] - x[None], axis=-1)
    found = np.linalg.norm(inside[:, None] - inside[None], axis=-1)
    ratio = (found / np.where(expected > 0, expected, 1))[expected > 0]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-8)
    # the distance of a test scan to all training scans grows by the part that they do not span
    lost = np.linalg.norm(features[test][:, None] - x[None], axis=-1) ** 2
    lost -= np.linalg.norm(outside[:, None] - inside[None], axis=-1) ** 2 / ratio[0] ** 2
    np.testing.assert_allclose(lost, np.broadcast_to(lost[:, :1], lost.shape), rtol=1e-6)


def test_classifiers_are_those_of_scikit_learn_on_all_features():
    features, _ = cohort(n_features=300)
    train, test = np.arange(0, 40, 2), np.arange(41, 100)
    y_train = np.arange(20) % 2
    inside, outside = coordinates(gram(features), train, test)
    x = features - features[train].mean(axis=0)
    x /= np.sqrt(np.mean((x[train] ** 2).sum(1)) / inside.shape[1])
    svm = SVC(kernel="linear", C=1.0).fit(x[train], y_train)
    np.testing.assert_allclose(
        classify("svm", inside, y_train, outside)[0], svm.decision_function(x[test]), atol=2e-3
    )
    knn = KNeighborsClassifier(5).fit(x[train], y_train)
    near = KNeighborsClassifier(5).fit(inside, y_train)
    np.testing.assert_array_equal(knn.kneighbors(x[test])[1], near.kneighbors(outside)[1])
    centroid = NearestCentroid().fit(x[train], y_train)
    _, predicted = classify("prototype", inside, y_train, outside)
    assert (predicted == centroid.predict(x[test])).all()


def test_identical_training_scans_give_every_scan_the_same_score():
    inside, outside = coordinates(gram(np.ones((6, 5))), np.arange(4), np.arange(4, 6))
    score, _ = classify("prototype", inside, np.array([0, 1, 0, 1]), outside)
    assert score[0] == score[1]


@parametrize_with_checks([Prototype()])
def test_the_prototype_classifier_is_an_estimator_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_auc_is_that_of_scikit_learn_with_ties(n_classes):
    rng = np.random.default_rng(n_classes)
    y = rng.integers(0, n_classes, 200)
    score = rng.integers(0, 9, (200, n_classes)).astype(float) + np.eye(n_classes)[y]
    if n_classes == 2:
        value, psi = auc_influence(y, score[:, 1])
        expected = roc_auc_score(y, score[:, 1])
    else:
        value, psi = auc_influence(y, score)
        expected = np.mean([roc_auc_score(y == c, score[:, c]) for c in range(3)])
    assert value == pytest.approx(expected)
    assert psi.mean() == pytest.approx(0, abs=1e-12)


def test_standard_errors_are_those_of_repeated_sampling():
    rng = np.random.default_rng(0)
    found: dict[str, list] = {"auc": [], "balanced": []}
    errors: dict[str, list] = {"auc": [], "balanced": []}
    for _ in range(600):
        y = (np.arange(60) >= 20).astype(int)
        who = np.repeat(np.arange(60), 2)
        score = np.repeat(y + rng.standard_normal(60), 2) + 0.2 * rng.standard_normal(120)
        for name, (value, psi) in {
            "auc": auc_influence(np.repeat(y, 2), score),
            "balanced": balanced_accuracy_influence(np.repeat(y, 2), (score > 0.5).astype(int)),
        }.items():
            found[name].append(value)
            errors[name].append(standard_error(psi, who))
    for name in found:
        assert np.mean(errors[name]) == pytest.approx(np.std(found[name]), rel=0.1), name
