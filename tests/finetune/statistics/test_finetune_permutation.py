"""The permutation test with refitting: null distribution, power, and what it keeps fixed."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.model_selection import RepeatedStratifiedKFold, permutation_test_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from brainmass_core.config.tasks import Protocol
from brainmass_core.finetune.folds.participants import permute_labels
from brainmass_core.finetune.methods.fitting import Design
from brainmass_core.finetune.statistics import permutation
from brainmass_core.finetune.statistics.permutation import leading_score, refit_p

PROTOCOL = Protocol(n_splits=3, n_repeats=1)


def cohort(seed, n=30, runs=1, effect=0.0, by_site=0.0, n_features=6, share=(0.5, 0.5)):
    """Features of participants at two sites with these shares of patients."""
    rng = np.random.default_rng(seed)
    site = np.arange(n) % 2
    y = (rng.permuted(np.arange(n)) / n < np.asarray(share)[site]).astype(int)
    own = rng.standard_normal((n, n_features)) + by_site * site[:, None]
    own[:, 0] += effect * y
    who = np.repeat(np.arange(n), runs)
    scans = pd.DataFrame(
        {
            "scan_id": [f"s{i:03d}" for i in range(len(who))],
            "dataset": "d",
            "participant_id": [f"p{i:03d}" for i in who],
            "participant": [f"d/p{i:03d}" for i in who],
            "y": y[who],
            "site": np.array(["north", "south"])[site[who]],
            "split": "test",
        }
    )
    return own[who] + 0.1 * rng.standard_normal((len(who), n_features)), scans


def p_of(features, scans, n, seed, protocol=PROTOCOL, kind="classification"):
    design = Design(scans["y"].to_numpy(), scans["participant"].to_numpy(), kind=kind)
    return refit_p("fc_svm", features, design, scans, protocol, n, seed)


@pytest.mark.slow  # half a minute
def test_the_refitted_p_is_uniform_where_labels_say_nothing():
    found = np.array([p_of(*cohort(seed), n=9, seed=seed) for seed in range(60)])
    # p takes the values 1/10, 2/10, ..., each as likely
    spread = found - np.random.default_rng(0).random(60) / 10
    assert stats.kstest(spread, "uniform").pvalue > 0.001
    assert stats.binomtest(int((found <= 0.2).sum()), 60, 0.2).pvalue > 0.001


def test_the_refitted_p_of_a_planted_difference_is_the_smallest():
    assert p_of(*cohort(1, effect=3.0), n=19, seed=0) == 1 / 20


def test_a_site_that_tells_the_label_is_no_evidence():
    # features predict the site, and the site the label: shuffles within sites score as well
    features, scans = cohort(2, n=60, by_site=3.0, share=(0.2, 0.8))
    design = Design(scans["y"].to_numpy(), scans["participant"].to_numpy())
    assert leading_score("fc_svm", features, design, scans, PROTOCOL, 0) > 0.6
    assert p_of(features, scans, n=19, seed=0) > 0.1


@pytest.mark.slow  # 1,800 fits
def test_with_one_scan_each_and_one_site_it_is_the_test_of_scikit_learn():
    features, scans = cohort(3, n=60, effect=0.7)
    scans["site"] = "one"
    model = make_pipeline(StandardScaler(), SVC(kernel="linear"))
    cv = RepeatedStratifiedKFold(n_splits=3, n_repeats=5, random_state=0)
    theirs = permutation_test_score(
        model, features, scans["y"], cv=cv, scoring="roc_auc", n_permutations=59, random_state=0
    )
    ours = p_of(features, scans, n=59, seed=0, protocol=Protocol(n_splits=3, n_repeats=5))
    assert 0.02 < theirs[2] < 0.5, "neither end of the scale"
    assert ours == pytest.approx(theirs[2], abs=0.12)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_every_shuffle_moves_participants_whole_and_within_their_site(monkeypatch, kind):
    features, scans = cohort(4, runs=2, share=(0.3, 0.7))
    scans.loc[scans["participant_id"] > "p014", "split"] = "train"
    if kind == "regression":
        scans["y"] = scans["y"] + scans["participant_id"].str[1:].astype(float) / 100
        scans["stratum"] = permutation.fifths(scans)
    seen = []

    def spy(method, features, design, shuffled, *rest):
        seen.append(shuffled)
        return 0.0

    monkeypatch.setattr(permutation, "leading_score", spy)
    assert p_of(features, scans, n=5, seed=1, kind=kind) == 1.0
    keys, original = ["site", "split"], scans.drop_duplicates("participant")
    before = original.groupby(keys)["y"].apply(sorted)
    for shuffled in seen[1:]:
        assert (shuffled.groupby("participant")["y"].nunique() == 1).all()
        once = shuffled.drop_duplicates("participant")
        assert (once.groupby(keys)["y"].apply(sorted) == before).all()
        assert (shuffled["y"] != scans["y"]).mean() > 0.1
        if kind == "regression":
            assert (once.groupby("stratum")["y"].max().diff().dropna() > 0).all(), "fifths again"
    assert (seen[0]["y"] == scans["y"]).all()


def test_shuffles_within_strata_leave_each_stratum_its_labels():
    _, scans = cohort(5, share=(0.2, 0.8))
    new = scans.assign(y=permute_labels(scans, 0, within=scans["site"]))
    assert (new.groupby("site")["y"].sum() == scans.groupby("site")["y"].sum()).all()
    assert (new["y"] != scans["y"]).any()
