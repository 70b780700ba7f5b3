"""Halves of the participants: who is in them, and how methods are scored in them."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from brainmass_core.config.tasks import Finetune, Protocol
from brainmass_core.finetune.folds.protocols import protocol_folds
from brainmass_core.finetune.methods import fitting
from brainmass_core.finetune.methods.fitting import Design
from brainmass_core.finetune.statistics.halving import halve, scores_in

KFOLD = Protocol(n_splits=3, n_repeats=2)
BY_SITE = Protocol(kind="leave_one_site_out", min_per_class=3)
FIXED = Protocol(kind="fixed_split", n_repeats=3)


def cohort(n=60, runs=2, n_training=12, seed=0):
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(n), runs)
    y = rng.permutation(np.arange(n) % 2)
    scans = pd.DataFrame(
        {
            "scan_id": [f"s{i:03d}" for i in range(len(who))],
            "dataset": "d",
            "participant_id": [f"p{i:03d}" for i in who],
            "participant": [f"d/p{i:03d}" for i in who],
            "y": y[who],
            "site": np.array(["north", "south"])[rng.permutation(np.arange(n) // 2 % 2)[who]],
            "split": np.where(who < n_training, "train", "test"),
        }
    )
    features = rng.standard_normal((n, 4))[who] + 0.1 * rng.standard_normal((len(who), 4))
    features[:, 0] += scans["y"]
    return features, scans


def of_half(folds, repeat):
    mine = [f for f in folds if f.repeat == repeat]
    return {int(row) for f in mine for row in np.concatenate([f.train, f.test])}


@pytest.mark.parametrize("protocol", [KFOLD, BY_SITE, FIXED], ids=lambda p: p.kind)
def test_halves_share_no_participant_and_keep_the_folds_of_the_task(protocol):
    _, scans = cohort(n=120)
    whole = protocol_folds(scans, protocol, seed=1)
    found = halve(scans, whole, 6, seed=1)
    repeats = sorted({f.repeat for f in whole})
    who = scans["participant"].to_numpy()
    for h in range(6):
        one, other = (of_half(found, 2 * h + k) for k in (0, 1))
        assert not set(who[list(one)]) & set(who[list(other)])
        now = {f.fold: f for f in whole if f.repeat == repeats[h % len(repeats)]}
        assert one | other == {r for f in now.values() for r in [*f.train, *f.test]}
        for f in (f for f in found if f.repeat // 2 == h):
            assert set(f.test) <= set(now[f.fold].test)
            assert set(f.train) <= set(now[f.fold].train)
            assert not set(who[f.train]) & set(who[f.test])


def test_halves_are_equally_large_in_each_class_fold_and_split():
    _, scans = cohort(n=120)
    whole = protocol_folds(scans, KFOLD, seed=1)
    for f in halve(scans, whole, 4, seed=2):
        all_of = next(w for w in whole if (w.repeat, w.fold) == (f.repeat // 2 % 2, f.fold))
        for rows, before in ((f.test, all_of.test), (f.train, all_of.train)):
            for part, whole_part in zip(
                scans.iloc[rows].groupby(["y", "split"])["participant"].nunique(),
                scans.iloc[before].groupby(["y", "split"])["participant"].nunique(),
                strict=True,
            ):
                assert abs(part - whole_part / 2) <= 1.5


def test_halvings_differ_and_follow_from_the_seed():
    _, scans = cohort()
    whole = protocol_folds(scans, KFOLD, seed=1)
    a, again, b = (halve(scans, whole, 8, seed) for seed in (1, 1, 2))
    assert [of_half(a, r) for r in range(16)] == [of_half(again, r) for r in range(16)]
    assert [of_half(a, r) for r in range(16)] != [of_half(b, r) for r in range(16)]
    assert len({frozenset(of_half(a, r)) for r in range(16)}) == 16


def test_halves_with_too_few_of_a_class_are_not_formed():
    _, scans = cohort(n=18, n_training=0)
    assert halve(scans, protocol_folds(scans, KFOLD, seed=1), 3, seed=1) == []
    _, scans = cohort(n=24, n_training=0)
    assert halve(scans, protocol_folds(scans, KFOLD, seed=1), 3, seed=1)


def test_a_model_of_a_half_is_fitted_to_it_alone(monkeypatch):
    features, scans = cohort()
    folds = halve(scans, protocol_folds(scans, KFOLD, seed=1), 2, seed=1)
    seen, original = [], fitting.fit_method

    def watched(name, features, design, train, state):
        seen.append(set(train))
        return original(name, features, design, train, state)

    monkeypatch.setattr(fitting, "fit_method", watched)
    design = Design(scans["y"].to_numpy(), scans["participant"].to_numpy())
    scores_in("fc_svm", features, design, scans, folds, seed=0)
    assert seen == [set(f.train) for f in folds]


def test_scores_of_halves_are_those_of_scikit_learn_within_folds():
    features, scans = cohort(runs=1)
    folds = halve(scans, protocol_folds(scans, KFOLD, seed=1), 3, seed=1)
    design = Design(scans["y"].to_numpy(), scans["participant"].to_numpy())
    found = scores_in("fc_svm", features, design, scans, folds, seed=0)["auc"]
    table = fitting.predict_folds("fc_svm", features, design, folds, 0)
    expected = []
    for _, half in table.groupby("repeat"):
        values, pairs = [], []
        for _, part in half.groupby("fold"):
            y = scans["y"].to_numpy()[part["row"]]
            values.append(roc_auc_score(y, part["y_score"]))
            pairs.append(y.sum() * (1 - y).sum())
        expected.append(np.average(values, weights=pairs))
    assert found.shape == (3, 2)
    assert found.ravel() == pytest.approx(expected)


def test_a_regression_is_halved_within_fifths_of_its_target():
    features, scans = cohort(runs=1, n_training=0)
    target = features[:, 0] * 10.0
    scans = scans.assign(y=target, stratum=pd.qcut(target, 5, labels=False))
    folds = halve(scans, protocol_folds(scans, KFOLD, seed=1), 2, seed=1)
    for repeat in range(4):
        counts = scans.iloc[sorted(of_half(folds, repeat))]["stratum"].value_counts()
        assert counts.between(5, 7).all()
    design = Design(target, scans["participant"].to_numpy(), kind="regression")
    assert np.isfinite(scores_in("fc_svm", features, design, scans, folds, seed=0)["r2"]).all()


def test_networks_are_not_fitted_again_unless_named():
    names = ["chance", "fc_svm", "brainnetcnn", "brainmass_lora"]
    assert Finetune().halved(names) == ["chance", "fc_svm"]
    assert Finetune(halving_methods=["brainnetcnn"]).halved(names) == ["brainnetcnn"]
    assert Finetune(n_halvings=0).halved(names) == []
