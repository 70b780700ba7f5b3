"""One AUC and one variance, compared with scikit-learn and DeLong, for weights, labels, folds and
participants.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from brainmass_core.auc import auc_influence, interval, standard_error, weighted_auc, wilson_lower


def pooled_auc(y, score, fold, who):
    """AUC within folds and its standard error over participants."""
    auc, psi = auc_influence(y, score, fold)
    return auc, standard_error(psi, who)


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 6))
def test_a_weighted_auc_is_scikit_learns_of_scans_taken_so_often(seed, n_folds, n_scores):
    rng = np.random.default_rng(seed)
    y, score = rng.integers(0, 2, 24), rng.integers(0, n_scores, 24).astype(float)
    fold, weights = rng.integers(-1, n_folds, 24), rng.integers(0, 4, (5, 24)).astype(float)
    found = weighted_auc(y, score, fold, weights)
    for w, value in zip(weights, found, strict=True):
        won = pairs = 0.0
        for f in range(n_folds):
            here = (fold == f) & (w > 0)
            n = w[here & (y == 1)].sum() * w[here & (y == 0)].sum()
            if n:
                won += n * roc_auc_score(y[here], score[here], sample_weight=w[here])
                pairs += n
        assert value == pytest.approx(won / pairs) if pairs else np.isnan(value)


@given(st.integers(0, 10_000))
def test_all_ways_to_the_auc_agree(seed):
    rng = np.random.default_rng(seed)
    y, score, fold = rng.integers(0, 2, 30), rng.integers(0, 9, 30) * 0.5, rng.integers(0, 3, 30)
    labels = np.stack([y, rng.permutation(y)]) == 1
    found = weighted_auc(labels, score, fold, np.ones((1, 30)))
    once = weighted_auc(y, score, fold, np.ones((1, 30)))
    auc, psi = auc_influence(y, score, fold)
    assert found[0] == once[0]
    assert auc == pytest.approx(once[0], nan_ok=True)
    assert psi.mean() == pytest.approx(0, abs=1e-12)


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


def test_a_perfect_score_has_wilsons_bound_and_no_more():
    assert interval(1.0, 0.0, 12) == (wilson_lower(12), 1.0)
    assert interval(0.0, 0.0, 12) == (0.0, 1 - wilson_lower(12))
    assert all(map(np.isnan, interval(float("nan"), 0.0, 5)))
