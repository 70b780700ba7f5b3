import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk
from synthetic_study import make_config

from brainmass_core.config import ConfigError
from brainmass_core.finetune.statistics import regression
from brainmass_core.finetune.statistics.inference import (
    best_baseline,
    corrected_interval,
    fold_values,
    permutation_p,
    reliability,
)
from brainmass_core.finetune.statistics.metrics import Predictions, draw_weights, weighted_scores


def classes(seed, n=60, k=3, n_repeats=1):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    raw = rng.random((n_repeats, n, k)) + 0.6 * np.eye(k)[y]
    probability = raw / raw.sum(2, keepdims=True)
    pred, fold = probability.argmax(2), np.zeros((n_repeats, n), int)
    return Predictions(y, np.arange(n), probability[..., -1], pred, fold, probability, probability)


def numbers(seed, n=60, n_repeats=1, noise=1.0):
    rng = np.random.default_rng(seed)
    y = rng.normal(50, 10, n)
    pred = y + 10 * noise * rng.standard_normal((n_repeats, n))
    return Predictions(y, np.arange(n), pred, pred, np.zeros((n_repeats, n), int))


def plain(p, scores=weighted_scores):
    return {k: v[0] for k, v in scores(p, np.ones((1, len(p.y)))).items()}


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_several_classes_equal_scikit_learn_under_any_weights(seed):
    p = classes(seed)
    w = draw_weights(p.label_of, 1, seed)
    found = {k: v[0] for k, v in weighted_scores(p, w).items()}
    y, pred, prob, w = p.y, p.pred[0], p.probability[0], w[0]
    one = [
        sk.recall_score(y != k, pred != k, sample_weight=w) for k in range(3)
    ]  # specificity of k: recall of its complement
    assert found == pytest.approx(
        {
            "accuracy": sk.accuracy_score(y, pred, sample_weight=w),
            "auc": np.mean(
                [sk.roc_auc_score(y == k, prob[:, k], sample_weight=w) for k in range(3)]
            ),
            "sensitivity": sk.recall_score(y, pred, average="macro", sample_weight=w),
            "specificity": np.mean(one),
            "balanced_accuracy": sk.balanced_accuracy_score(y, pred, sample_weight=w),
            "f1": sk.f1_score(y, pred, average="macro", sample_weight=w),
            "brier": np.average(((prob - np.eye(3)[y]) ** 2).sum(1), weights=w),
        },
        abs=1e-10,
    )


def test_brier_score_of_two_classes_equals_scikit_learn():
    p = classes(1, k=2)
    expected = sk.brier_score_loss(p.y, p.probability[0, :, 1])
    assert plain(p)["brier"] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_regression_scores_equal_scikit_learn_and_scipy(seed):
    p = numbers(seed)
    w = np.random.default_rng(seed).integers(1, 4, (1, 60)).astype(float)
    found = {k: v[0] for k, v in regression.weighted_scores(p, w).items()}
    many = np.repeat(np.arange(60), w[0].astype(int))
    y, pred = p.y[many], p.pred[0, many]
    expected = {
        "r2": sk.r2_score(y, pred),
        "mse": sk.mean_squared_error(y, pred),
        "mae": sk.mean_absolute_error(y, pred),
        "pearson_r": stats.pearsonr(y, pred).statistic,
        "target_variance": y.var(),
    }
    assert found == pytest.approx(expected, rel=1e-9)


def test_the_training_mean_explains_nothing():
    p = numbers(0)
    fold = np.arange(60)[None] % 5
    means = np.array([p.y[fold[0] != f].mean() for f in range(5)])
    constant = Predictions(p.y, p.who, means[fold], means[fold], fold)
    found = plain(constant, regression.weighted_scores)
    assert found["pearson_r"] == 0
    assert -0.05 < found["r2"] <= 0
    assert found["mse"] == pytest.approx(found["target_variance"], rel=0.05)


def test_scans_that_a_repeat_does_not_test_do_not_count():
    p = classes(2, k=2, n_repeats=2)
    fold = p.fold.copy()
    fold[1, 30:] = -1
    found = plain(Predictions(p.y, p.who, p.score, p.pred, fold, p.class_scores, p.probability))
    first = sk.accuracy_score(p.y, p.pred[0])
    second = sk.accuracy_score(p.y[:30], p.pred[1, :30])
    assert found["accuracy"] == pytest.approx((first + second) / 2)
    auc = [sk.roc_auc_score(p.y, p.score[0]), sk.roc_auc_score(p.y[:30], p.score[1, :30])]
    assert found["auc"] == pytest.approx(np.mean(auc))


def test_the_corrected_interval_is_that_of_student_with_a_larger_variance():
    values = np.array([0.6, 0.7, 0.65, 0.72, 0.58])
    low, high, p = corrected_interval(values, 0.0)
    t = stats.ttest_1samp(values, 0.0)
    assert (low, high) == pytest.approx(tuple(t.confidence_interval()))
    assert p == pytest.approx(t.pvalue)
    wide = corrected_interval(values, 0.25)
    assert wide[1] - wide[0] == pytest.approx((high - low) * np.sqrt(1 + 0.25 * 5))
    assert corrected_interval(values[:1], 0.25) is None


def test_the_corrected_interval_covers_a_difference_of_nothing():
    # folds with shared training scans: correlation n_test/(n_test+n_train) between them
    rng = np.random.default_rng(0)
    n_studies, j, rho = 1000, 10, 0.2
    shared = rng.standard_normal((n_studies, 1)) * np.sqrt(rho)
    values = shared + rng.standard_normal((n_studies, j)) * np.sqrt(1 - rho)
    corrected = [corrected_interval(v, rho / (1 - rho)) for v in values]
    covered = np.mean([low <= 0 <= high for low, high, _ in corrected])
    naive = np.mean(
        [low <= 0 <= high for low, high, _ in (corrected_interval(v, 0) for v in values)]
    )
    assert 0.93 <= covered <= 0.97
    assert naive < 0.85


@pytest.mark.parametrize("leading", ["auc", "r2"])
def test_the_permutation_p_is_uniform_where_nothing_is_predicted(leading):
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        y = rng.permutation(np.arange(40) % 2) if leading == "auc" else rng.standard_normal(40)
        score, fold = rng.standard_normal((1, 40)), rng.integers(0, 4, (1, 40))
        found.append(
            permutation_p(Predictions(y, np.arange(40), score, score, fold), leading, 99, seed)
        )
    assert stats.kstest(found, "uniform").pvalue > 0.001
    assert 0.02 <= np.mean(np.array(found) <= 0.05) <= 0.09


def test_the_permutation_p_of_a_perfect_prediction_is_the_smallest():
    p = classes(0, k=2)
    perfect = Predictions(p.y, p.who, p.y[None] * 1.0, p.y[None], p.fold)
    assert permutation_p(perfect, "auc", 199, 0) == pytest.approx(1 / 200)
    assert permutation_p(perfect, "auc", 0, 0) is None
    three = classes(0, k=3)
    assert permutation_p(three, "auc", 199, 0) < 0.02


def test_scans_of_a_participant_keep_one_label_in_a_permutation():
    # five copies of a scan add no information: the p-value must not decrease
    rng = np.random.default_rng(5)
    y, score = np.arange(30) % 2, rng.standard_normal((1, 30)) + 0.5 * (np.arange(30) % 2)
    one = Predictions(y, np.arange(30), score, score, np.zeros((1, 30), int))
    five = Predictions(
        np.tile(y, 5), np.tile(np.arange(30), 5), np.tile(score, 5), np.tile(score, 5),
        np.zeros((1, 150), int),
    )  # fmt: skip
    assert permutation_p(one, "auc", 499, 1) == permutation_p(five, "auc", 499, 1)


def test_fold_values_equal_scikit_learn():
    p = classes(3, k=2)
    fold = np.arange(60)[None] // 2 % 3
    p = Predictions(p.y, p.who, p.score, p.pred, fold)
    expected = [sk.roc_auc_score(p.y[fold[0] == f], p.score[0, fold[0] == f]) for f in range(3)]
    assert fold_values(p, "auc") == pytest.approx(expected)


def test_a_calibrated_forecast_lies_on_the_diagonal():
    rng = np.random.default_rng(9)
    given = rng.random(40_000)
    y = (rng.random(40_000) < given).astype(int)
    probability = np.stack([1 - given, given], axis=1)[None]
    p = Predictions(
        y, np.arange(len(y)), given[None], y[None], np.zeros((1, len(y)), int), None, probability
    )
    curve = reliability(p)
    assert len(curve) == 10
    assert curve["n"].sum() == 40_000
    assert np.abs(curve["predicted"] - curve["observed"]).max() < 0.03
    over = Predictions(y, p.who, p.score, p.pred, p.fold, None, probability**2)
    assert np.abs(reliability(over)["predicted"] - reliability(over)["observed"]).max() > 0.15


def test_the_best_baseline_is_never_the_method_itself():
    points = {"fc_svm": 0.8, "chance": 0.5, "brainmass_svm": 0.9}
    baselines = {"fc_svm", "chance"}
    assert best_baseline(points, baselines, "brainmass_svm") == "fc_svm"
    assert best_baseline(points, baselines, "fc_svm") == "chance"
    assert best_baseline({"chance": 0.5}, {"chance"}, "chance") is None


@pytest.mark.parametrize(
    ("over", "found"),
    [
        ({"kind": "regression"}, "no classes"),
        ({"transform": "zscore"}, "kind: regression"),
        ({"kind": "regression", "classes": {}, "confounds": "match"}, "match balances"),
        (
            {"protocol": {"kind": "cross_cohort", "train_datasets": ["demo"]}},
            "no participants remain",
        ),
    ],
)
def test_a_task_that_contradicts_itself_is_refused(tmp_path, over, found):
    with pytest.raises(ConfigError, match=found):
        make_config(tmp_path, **over)
