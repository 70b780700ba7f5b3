"""QC-FC from running sums is exact for any batches, and detects planted effects."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from brainmass_core.quality.qcfc import (
    QcFcSums,
    adjusted,
    edge_lengths,
    evenly_chosen,
    p_values,
)

N_ROIS = 30
N_EDGES = N_ROIS * (N_ROIS - 1) // 2


def people(n=150, seed=0, artefact=0.0, overall=0.0):
    """FC, motion, two covariates and edge lengths; `artefact` makes short edges follow motion."""
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(-70, 70, (N_ROIS, 3))
    length = edge_lengths(xyz)
    motion = np.exp(rng.normal(-1.8, 0.4, n))
    # parcels share noise, so edges are not independent, as in real FC
    series = rng.standard_normal((n, N_ROIS))
    rows, columns = np.triu_indices(N_ROIS, 1)
    fc = 0.3 + 0.1 * (rng.standard_normal((n, N_EDGES)) + series[:, rows] + series[:, columns])
    z = (motion - motion.mean()) / motion.std()
    fc += z[:, None] * (overall + artefact * (length.max() - length) / length.max())
    return fc, motion, rng.standard_normal((n, 2)), length


def summed(fc, motion, covariates, batches=1, order=None, **options):
    sums = QcFcSums(fc.shape[1], covariates.shape[1], **options)
    index = np.arange(len(fc)) if order is None else order
    for part in np.array_split(index, batches):
        sums.add(fc[part], motion[part], covariates[part], part.tolist())
    return sums


def test_it_is_the_partial_correlation_of_residuals():
    fc, motion, covariates, _ = people(artefact=0.1)
    found = summed(fc, motion, covariates).qc_fc()
    design = np.column_stack([np.ones(len(fc)), covariates])

    def residual(y):
        return y - design @ np.linalg.lstsq(design, y, rcond=None)[0]

    expected = [np.corrcoef(residual(motion), residual(fc[:, e]))[0, 1] for e in range(N_EDGES)]
    np.testing.assert_allclose(found.r, expected, atol=1e-10)


def test_without_covariates_r_and_p_are_scipys_pearson():
    fc, motion, _, _ = people(40)
    found = summed(fc, motion, np.empty((40, 0))).qc_fc()
    oracle = [stats.pearsonr(motion, fc[:, e]) for e in range(N_EDGES)]
    np.testing.assert_allclose(found.r, [o.statistic for o in oracle], atol=1e-12)
    np.testing.assert_allclose(found.p, [o.pvalue for o in oracle], rtol=1e-8)


def test_p_with_covariates_is_that_of_the_regression_coefficient():
    fc, motion, covariates, _ = people(50, artefact=0.05)
    found = summed(fc, motion, covariates).qc_fc()
    design = np.column_stack([np.ones(50), motion, covariates])
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ fc
    residual = fc - design @ beta
    dof = 50 - 4
    error = np.sqrt((residual**2).sum(axis=0) / dof * inverse[1, 1])
    expected = 2 * stats.t.sf(np.abs(beta[1] / error), dof)
    assert found.dof == dof
    np.testing.assert_allclose(found.p, expected, rtol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 12), st.randoms(use_true_random=False))
def test_batches_and_their_order_change_nothing(batches, random):
    fc, motion, covariates, length = people(60)
    order = list(range(60))
    random.shuffle(order)
    options = {"n_draws": 20}
    one = summed(fc, motion, covariates, **options)
    many = summed(fc, motion, covariates, batches, np.array(order), **options)
    np.testing.assert_allclose(many.qc_fc().r, one.qc_fc().r, atol=1e-9)
    left, right = one.distance_dependence(length), many.distance_dependence(length)
    assert (left.low, left.high) == pytest.approx((right.low, right.high), abs=1e-6)


def test_the_bootstrap_is_that_of_people_drawn_again_and_again():
    fc, motion, covariates, _ = people(30)
    sums = summed(fc, motion, covariates, n_draws=5)
    drawn = np.array([np.random.default_rng(i).poisson(1.0, 5) for i in range(30)])
    for b in range(5):
        again = np.repeat(np.arange(30), drawn[:, b])
        expected = summed(fc[again], motion[again], covariates[again], n_draws=1)
        np.testing.assert_allclose(sums.boot_xx[b], expected.xx, atol=1e-9)
        np.testing.assert_allclose(sums.boot_xy[:, b], expected.xy, atol=1e-9)
        np.testing.assert_allclose(sums.boot_yy[b], expected.yy, atol=1e-9)


def test_a_planted_artefact_that_falls_off_with_distance_is_found():
    fc, motion, covariates, length = people(artefact=0.1)
    sums = summed(fc, motion, covariates, batches=3)
    found, distance = sums.qc_fc(), sums.distance_dependence(length)
    assert found.significant() > 0.3
    assert found.median_abs_r > 0.15
    assert distance.rho < -0.2
    assert distance.high < 0


def test_motion_that_is_the_same_everywhere_depends_on_no_distance():
    fc, motion, covariates, length = people(overall=0.1, seed=3)
    sums = summed(fc, motion, covariates)
    distance = sums.distance_dependence(length)
    assert sums.qc_fc().significant() > 0.5
    assert distance.low < 0 < distance.high


def test_without_an_artefact_the_interval_holds_0_about_as_often_as_it_says():
    holds, shares = 0, []
    for seed in range(24):
        fc, motion, covariates, length = people(80, seed=100 + seed)
        sums = summed(fc, motion, covariates, n_draws=120)
        distance = sums.distance_dependence(length)
        holds += distance.low <= 0 <= distance.high
        shares.append(sums.qc_fc().significant())
    assert holds >= 20, "22 to 23 of 24 are expected; fewer than 20 once in 170 times"
    assert np.mean(shares) < 0.05


def test_what_age_explains_is_no_motion():
    rng = np.random.default_rng(5)
    age = rng.standard_normal(200)
    motion = 0.3 + 0.1 * (age + 0.3 * rng.standard_normal(200))
    fc = 0.2 * age[:, None] + 0.2 * rng.standard_normal((200, 190))
    naive = summed(fc, motion, np.empty((200, 0)), n_draws=1).qc_fc()
    partial = summed(fc, motion, age[:, None], n_draws=1).qc_fc()
    assert naive.significant() > 0.9
    assert partial.significant() < 0.1


def test_edges_that_do_not_vary_are_unknown_and_change_no_other():
    fc, motion, covariates, length = people()
    fc[:, 7] = 0.0
    sums = summed(fc, motion, covariates, n_draws=10)
    found = sums.qc_fc()
    assert np.flatnonzero(np.isnan(found.r)).tolist() == [7]
    assert np.isnan(found.q[7])
    assert np.isfinite(sums.distance_dependence(length).rho)


def test_a_covariate_that_is_a_copy_of_another_breaks_nothing():
    fc, motion, covariates, _ = people()
    doubled = np.column_stack([covariates, covariates[:, 0]])
    ours = summed(fc, motion, doubled, n_draws=1).qc_fc().r
    np.testing.assert_allclose(ours, summed(fc, motion, covariates, n_draws=1).qc_fc().r, atol=1e-8)


def test_too_few_people_are_refused_with_their_number():
    fc, motion, covariates, _ = people(4)
    with pytest.raises(ValueError, match=r"found 4 participants, expected at least 5"):
        summed(fc, motion, covariates).qc_fc()


def test_q_is_benjamini_hochberg():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.5])
    q = adjusted(p)
    assert q[[0, 2, 3, 4]] == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert np.isnan(q[1])


def test_perfect_correlation_has_p_0():
    assert p_values(np.array([1.0, 0.0]), 10) == pytest.approx([0.0, 1.0])


@given(st.integers(1, 30000))
def test_the_chosen_edges_are_distinct_and_few(n_edges):
    chosen = evenly_chosen(n_edges)
    assert len(set(chosen.tolist())) == len(chosen) == min(n_edges, 5000)
    assert chosen.max() < n_edges


def test_lengths_stand_in_the_order_of_the_edges():
    xyz = np.array([[0, 0, 0], [3, 4, 0], [0, 0, 12.0]])
    assert edge_lengths(xyz) == pytest.approx([5, 12, 13])
