"""Pseudo-FC in batches: the numbers of one scan at a time, of nilearn, and honest draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nilearn.connectome import ConnectivityMeasure
from scipy.stats import chisquare
from sklearn.covariance import EmpiricalCovariance, LedoitWolf

from brainmass_core.connectivity import vectorise
from brainmass_core.pfc import Dropping, pseudo_fc
from brainmass_core.pfc.draw import kept_masks, seeds_of
from brainmass_core.pfc.torch import by_length, pseudo_fc_batch, pseudo_fc_of

CPU = torch.device("cpu")
NILEARN = {"pearson": EmpiricalCovariance, "ledoit_wolf": LedoitWolf}
WAYS = [Dropping(0.2), Dropping(0.75), Dropping(count=7), Dropping(window=40)]


def series(n_timepoints: int, n_rois: int = 12, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_timepoints, 3)) @ rng.standard_normal((3, n_rois))
    drift = np.linspace(0, 3, n_timepoints)[:, None] * rng.standard_normal(n_rois)
    return (400 + drift + shared + rng.standard_normal((n_timepoints, n_rois))).astype(np.float32)


def drawn(bold: np.ndarray, dropping: Dropping, seed: int, n_views: int = 2) -> np.ndarray:
    """Timepoints that `pseudo_fc` keeps, (n_views, T), bool."""
    dropped = dropping.dropped(len(bold), n_views, seed)
    stays = np.ones((n_views, len(bold)), dtype=bool)
    np.put_along_axis(stays, dropped, False, axis=1)
    return stays


def batched(scans: list[np.ndarray], kept: list[np.ndarray], estimator: str, chunk: int = 3):
    longest = max(map(len, scans))
    masks = np.stack([np.pad(k, ((0, 0), (0, longest - k.shape[1]))) for k in kept])
    return pseudo_fc_of(by_length(scans, masks, chunk), estimator, CPU).numpy()


@pytest.mark.parametrize("estimator", ["pearson", "ledoit_wolf"])
@pytest.mark.parametrize("dropping", WAYS)
def test_a_batch_of_unequal_scans_equals_the_scans_one_by_one(estimator, dropping):
    scans = [series(50 + 13 * (k % 4), seed=k) for k in range(8)]
    kept = [drawn(bold, dropping, seed) for seed, bold in enumerate(scans)]
    found = batched(scans, kept, estimator)
    for seed, bold in enumerate(scans):
        alone = pseudo_fc(bold, 2, dropping, seed, estimator)
        np.testing.assert_allclose(found[seed], alone, atol=3e-6)


@pytest.mark.parametrize("estimator", ["pearson", "ledoit_wolf"])
def test_a_view_is_nilearns_correlation_of_the_timepoints_that_stay(estimator):
    scans = [series(120, seed=k) for k in range(3)]
    kept = [drawn(bold, Dropping(0.2), k) for k, bold in enumerate(scans)]
    measure = ConnectivityMeasure(cov_estimator=NILEARN[estimator](), kind="correlation")
    found = batched(scans, kept, estimator)
    for k, bold in enumerate(scans):
        expected = vectorise(
            np.concatenate([measure.fit_transform([bold[rows].astype(float)]) for rows in kept[k]])
        )
        np.testing.assert_allclose(found[k], expected, atol=2e-6)


@pytest.mark.parametrize("estimator", ["pearson", "ledoit_wolf"])
def test_empty_and_constant_rois_and_spikes_are_those_of_one_scan(estimator):
    bold = series(80)
    bold[:, 1] = 7.25
    bold[3, 4] = np.nan
    bold[:, 5] = np.nan
    bold[11, 6] = 1e6  # a view that drops it is left with next to none of the ROI's variance
    bold[:, 8] = 400
    bold[11, 8] = 401  # a view that drops it is left with a constant
    kept = drawn(bold, Dropping(0.2), 2, 4)
    assert 0 < kept[:, 11].sum() < 4
    found = batched([bold, series(90)], [kept, drawn(series(90), Dropping(0.2), 0, 4)], estimator)
    expected = pseudo_fc(bold, 4, Dropping(0.2), 2, estimator)
    np.testing.assert_allclose(found[0], expected, atol=3e-6)
    for roi in (1, 4, 5):
        edges = vectorise((np.arange(12)[:, None] == roi) | (np.arange(12) == roi))
        assert (found[0][:, edges] == 0).all()


def test_edges_stay_in_range_and_autocast_changes_nothing():
    bold = series(60)
    bold[:, 3] = bold[:, 2]
    kept = torch.from_numpy(drawn(bold, Dropping(0.2), 0))[None]
    batch = torch.from_numpy(bold)[None]
    expected = pseudo_fc_batch(batch, kept)
    assert expected.abs().max() <= 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(pseudo_fc_batch(batch, kept), expected)


def test_white_noise_is_shrunk_to_nothing_but_structure_is_not():
    noise = np.random.default_rng(0).standard_normal((200, 100)).astype(np.float32)
    mask = np.ones((1, 1, 200), bool)
    left = pseudo_fc_of(by_length([noise], mask), "ledoit_wolf", CPU)
    assert left.abs().max() < 0.02
    assert pseudo_fc_of(by_length([series(200)], mask), "ledoit_wolf", CPU).abs().max() > 0.5


@pytest.mark.parametrize("dropping", WAYS)
def test_each_view_keeps_as_many_timepoints_as_one_scan_alone(dropping):
    lengths = np.array([50, 77, 176, 99])
    kept = kept_masks(dropping, lengths, seeds_of([1], np.arange(4)), 3)
    for stays, n in zip(kept, lengths.tolist(), strict=True):
        assert not stays[:, n:].any()
        assert (stays.sum(1) == dropping.n_kept(n)).all()
        if dropping.window:
            assert (np.abs(np.diff(stays.astype(int), axis=1)).sum(1) <= 2).all()


def test_every_set_of_timepoints_is_as_likely_in_either_view():
    kept = kept_masks(Dropping(count=2), np.full(30_000, 6), seeds_of([5], np.arange(30_000)), 2)
    places = kept.reshape(-1, 6) @ (1 << np.arange(6))
    for view in (places[::2], places[1::2]):
        _, counts = np.unique(view, return_counts=True)
        assert len(counts) == 15
        assert chisquare(counts).pvalue > 1e-3
    assert (places[::2] == places[1::2]).mean() == pytest.approx(1 / 15, abs=0.01)
    starts = kept_masks(Dropping(window=3), np.full(9000, 7), seeds_of([5], np.arange(9000)), 1)
    counts = np.bincount(starts[:, 0].argmax(1), minlength=5)
    assert chisquare(counts).pvalue > 1e-3


def test_a_draw_depends_on_its_own_seed_and_nothing_else():
    seeds, lengths = seeds_of([3], [9], np.arange(40)), np.full(40, 60)
    together = kept_masks(Dropping(0.2), lengths, seeds, 2)
    some = [7, 3, 31]
    np.testing.assert_array_equal(
        kept_masks(Dropping(0.2), lengths[some], seeds[some], 2), together[some]
    )
    assert len(np.unique(together.reshape(80, -1), axis=0)) == 80
    others = np.concatenate([seeds_of([3], [e], np.arange(1000)) for e in range(50)])
    assert len(np.unique(others)) == 50_000
    assert seeds_of([3], [9])[0] != seeds_of([9], [3])[0]
