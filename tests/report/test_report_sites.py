import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from brainmass_core.report.sites import (
    site_results,
    site_table,
    small_sites,
    wilson,
)
from brainmass_core.report.streams import read_predictions
from brainmass_core.tables import read_table


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


def test_scans_of_a_participant_do_not_narrow_the_interval_of_a_site():
    once = people({("here", 0): 12, ("here", 1): 12})
    table = pd.concat([once.assign(repeat=r) for r in range(4)])
    columns = ["auc_low", "auc", "auc_high"]
    few, many = (site_results(t, "binary")[columns].to_numpy() for t in (once, table))
    np.testing.assert_allclose(many, few)


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
