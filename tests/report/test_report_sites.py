import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from brainmass_core.report.sites import (
    pooled_auc,
    site_results,
    site_table,
    small_sites,
    wilson,
)
from brainmass_core.report.streams import read_predictions
from brainmass_core.tables import read_table


def test_the_auc_of_one_fold_is_scikit_learns_with_delongs_error():
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    score = np.round(rng.standard_normal(80) + y, 1)  # with ties
    auc, error = pooled_auc(y, score, np.zeros(80), np.arange(80))
    assert auc == pytest.approx(roc_auc_score(y, score))
    a, b = score[y == 1], score[y == 0]
    wins = (a[:, None] > b) + 0.5 * (a[:, None] == b)
    delong = wins.mean(1).var(ddof=1) / len(a) + wins.mean(0).var(ddof=1) / len(b)
    assert error == pytest.approx(np.sqrt(delong), rel=0.01)


def test_only_pairs_of_one_fold_are_compared():
    y = np.array([0, 1, 0, 1, 0, 1, 1])
    score = np.array([0, 1, 100, 99, 50, 50, 60.0])
    fold = np.array([0, 0, 1, 1, 2, 2, 2])
    auc, _ = pooled_auc(y, score, fold, np.arange(7))
    assert auc == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    assert np.isnan(pooled_auc(y, score, np.arange(7), np.arange(7))[0]), "no pair at all"


def test_scans_of_a_participant_are_not_independent():
    rng = np.random.default_rng(1)
    y = np.arange(60) % 2
    score = rng.standard_normal(60) + y
    once = pooled_auc(y, score, np.zeros(60), np.arange(60))
    many = pooled_auc(
        np.tile(y, 5), np.tile(score, 5), np.repeat(np.arange(5), 60), np.tile(np.arange(60), 5)
    )
    assert many == pytest.approx(once)


def test_intervals_of_the_auc_hold_the_truth_nineteen_times_of_twenty():
    rng = np.random.default_rng(2)
    y = np.arange(100) % 2
    inside = 0
    for _ in range(400):
        score = rng.standard_normal(100) + y
        auc, error = pooled_auc(y, score, np.zeros(100), np.arange(100))
        inside += abs(auc - 0.7602499) < 1.96 * error  # Phi(1 / sqrt 2)
    assert 0.92 <= inside / 400 <= 0.98


@pytest.mark.parametrize(("k", "n"), [(0, 5), (3, 10), (40, 40), (700, 1000)])
def test_wilsons_interval_is_scipys(k, n):
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k / n, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.study
def test_scores_of_sites_are_those_of_their_predictions(study):
    path = study.paths.finetune("demo_task") / "predictions.parquet"
    predictions = read_predictions(path, ["fc_svm"])
    found = site_results(predictions, "binary").set_index("site")
    everything = read_table(path, "predictions").to_pandas().query("method == 'fc_svm'")
    assert len(predictions) == len(everything)
    for site, here in everything.groupby("site"):
        right = here["y_pred"] == here["y_true"]
        assert found.loc[site, "accuracy"] == pytest.approx(right.mean())
        assert found.loc[site, "n_people"] == here["participant_id"].nunique()
        assert found.loc[site, "n_positive"] == here.query("y_true == 1")["scan_id"].nunique()
        low, auc, high = found.loc[site, ["auc_low", "auc", "auc_high"]]
        assert 0 <= low <= auc <= high <= 1


def people(sizes, tested=None):
    """One scan per participant: (site, class) to a number of them."""
    rows = [
        {"site": site, "y_true": float(y), "participant_id": f"{site}{y}{i}", "dataset": "d"}
        for (site, y), n in sizes.items()
        for i in range(n)
    ]
    table = pd.DataFrame(rows).assign(method="fc_svm", repeat=0, fold=0)
    table["scan_id"] = table["participant_id"]
    table["y_score"] = table["y_true"] + np.arange(len(table)) % 3
    return table.assign(y_pred=(table["y_score"] > 1.0).astype(float))


def test_sites_without_a_score_of_their_own_are_named():
    table = people({("big", 0): 9, ("big", 1): 8, ("small", 0): 9, ("small", 1): 4, ("one", 1): 20})
    cohort = pd.concat([table, table.head(3).assign(site="unseen", participant_id=list("abc"))])
    found = site_results(table, "binary")
    named = small_sites(found, cohort.assign(used=True))
    assert named == {"small": ["one (20)", "small (13)"], "untested": ["unseen (3)"]}
    rows = {r["Site"]: r for r in site_table(found, "binary")}
    assert rows["small"]["AUC, FC"].text == ""
    assert rows["big"]["AUC, FC"].text != ""
    assert rows["one"]["Accuracy, FC"].text != ""
    assert list(rows) == ["one", "big", "small"], "the largest first"
