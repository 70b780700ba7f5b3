import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sk

from brainmass_core.auc import wilson_lower
from brainmass_core.finetune.statistics.metrics import (
    METRICS,
    Predictions,
    bootstrap,
    draw_weights,
    paired_gain,
    summarise,
    weighted_scores,
)


def predictions(y, score, pred=None, fold=None, who=None) -> Predictions:
    y = np.asarray(y)
    score = np.atleast_2d(np.asarray(score, float))
    pred = (score > 0).astype(int) if pred is None else np.atleast_2d(pred)
    fold = np.zeros(score.shape, int) if fold is None else np.atleast_2d(fold)
    return Predictions(y, np.arange(len(y)) if who is None else who, score, pred, fold)


def plain(p: Predictions) -> dict[str, float]:
    return {k: v[0] for k, v in weighted_scores(p, np.ones((1, len(p.label_of)))).items()}


def random_predictions(seed, n=40, n_repeats=1, shift=1.0) -> Predictions:
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], n // 2)
    score = np.round(rng.normal(shift * y - shift / 2, 1, (n_repeats, n)), 1)  # with ties
    fold = np.stack([rng.permutation(n) % 4 for _ in range(n_repeats)])
    return predictions(y, score, fold=fold)


def test_sensitivity_and_specificity_are_the_true_ones():
    # TP 9, FP 2, TN 8, FN 1: the released BrainMass prints 0.818 and 0.889 for this table
    y = [1] * 10 + [0] * 10
    pred = [1] * 9 + [0] + [1] * 2 + [0] * 8
    found = plain(predictions(y, pred, pred=pred))
    assert found["sensitivity"] == pytest.approx(0.9)
    assert found["specificity"] == pytest.approx(0.8)
    assert found["accuracy"] == pytest.approx(0.85)
    assert found["balanced_accuracy"] == pytest.approx(0.85)
    assert found["f1"] == pytest.approx(18 / 21)


@pytest.mark.parametrize("seed", range(5))
def test_every_metric_equals_scikit_learn_under_any_weights(seed):
    p = random_predictions(seed)
    p = predictions(p.y, p.score)  # one fold
    weights = draw_weights(p.label_of, 1, seed)
    found = {k: v[0] for k, v in weighted_scores(p, weights).items()}
    y, score, pred, w = p.y, p.score[0], p.pred[0], weights[0]
    expected = {
        "accuracy": sk.accuracy_score(y, pred, sample_weight=w),
        "auc": sk.roc_auc_score(y, score, sample_weight=w),
        "sensitivity": sk.recall_score(y, pred, sample_weight=w),
        "specificity": sk.recall_score(y, pred, pos_label=0, sample_weight=w),
        "balanced_accuracy": sk.balanced_accuracy_score(y, pred, sample_weight=w),
        "f1": sk.f1_score(y, pred, sample_weight=w),
    }
    assert {*expected, "brier"} == set(METRICS)
    assert np.isnan(found.pop("brier"))  # no probabilities
    assert found == pytest.approx(expected, abs=1e-12)


def test_auc_is_the_pair_weighted_mean_of_the_folds():
    p = random_predictions(3)
    aucs, pairs = [], []
    for fold in np.unique(p.fold):
        rows = p.fold[0] == fold
        aucs.append(sk.roc_auc_score(p.y[rows], p.score[0, rows]))
        pairs.append(p.y[rows].sum() * (1 - p.y[rows]).sum())
    assert plain(p)["auc"] == pytest.approx(np.average(aucs, weights=pairs))


def test_auc_does_not_depend_on_the_scale_of_a_fold():
    p = random_predictions(4)
    moved = p.score * (1 + p.fold) + 10 * p.fold
    assert plain(predictions(p.y, moved, fold=p.fold))["auc"] == pytest.approx(plain(p)["auc"])


def test_scores_are_means_over_repeats():
    p = random_predictions(5, n_repeats=3)
    single = [plain(predictions(p.y, p.score[r], fold=p.fold[r])) for r in range(3)]
    found = plain(p)
    for metric in METRICS[:-1]:
        assert found[metric] == pytest.approx(np.mean([s[metric] for s in single]))


def test_a_draw_keeps_the_number_of_participants_in_each_class():
    label = np.array([0] * 7 + [1] * 13)
    weights = draw_weights(label, 50, seed=1)
    assert (weights[:, label == 0].sum(1) == 7).all()
    assert (weights[:, label == 1].sum(1) == 13).all()
    assert weights.std() > 0.5


def test_more_scans_of_the_same_participants_do_not_narrow_the_interval():
    one = random_predictions(6)
    who = np.concatenate([one.who] * 5)
    many = predictions(np.tile(one.y, 5), np.tile(one.score, 5), fold=np.tile(one.fold, 5), who=who)
    a, b = (summarise(p, bootstrap(p, 300, seed=2)) for p in (one, many))
    assert a == pytest.approx(b, nan_ok=True)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    shift, n_studies = 1.0, 150
    truth = 0.7602  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)
    covered = 0
    for seed in range(n_studies):
        rng = np.random.default_rng(1000 + seed)
        y = np.repeat([0, 1], 40)
        p = predictions(y, rng.normal(shift * y - shift / 2, 1))
        low, high = np.quantile(bootstrap(p, 300, seed)["auc"], [0.025, 0.975])
        covered += low <= truth <= high
    assert 0.89 <= covered / n_studies <= 0.99


def test_a_perfect_score_still_has_an_interval():
    y = np.repeat([0, 1], 6)
    p = predictions(y, 2.0 * y - 1)
    row = summarise(p, bootstrap(p, 100, seed=0))
    wilson = binomtest(12, 12).proportion_ci(method="wilson")
    assert row["accuracy"] == 1 == row["accuracy_high"]
    assert row["accuracy_low"] == pytest.approx(wilson.low)
    assert row["auc_low"] == pytest.approx(wilson_lower(6))


def test_a_score_that_says_nothing_is_half():
    y = np.repeat([0, 1], 10)
    assert plain(predictions(y, np.zeros(20)))["auc"] == 0.5


def test_a_method_gains_nothing_over_itself():
    p = random_predictions(8)
    draws = bootstrap(p, 100, seed=1)
    assert set(paired_gain(p, draws, p, draws).values()) == {0.0}


def test_a_repeat_without_some_scan_is_refused():
    rows = [
        {"repeat": r, "fold": 0, "scan_id": s, "dataset": "d", "participant_id": s}
        for r, s in ((0, "a"), (0, "b"), (1, "a"))
    ]
    table = pd.DataFrame(rows).assign(y_true=1, y_score=0.0, y_pred=1)
    with pytest.raises(ValueError, match="lacks predictions"):
        Predictions.from_table(table)
    kept = Predictions.from_table(table, complete=False)
    assert (kept.fold == -1).sum() == 1
