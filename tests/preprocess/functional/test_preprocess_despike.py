"""Despiking: spikes shrink, everything else is unchanged."""

from __future__ import annotations

import numpy as np
import pytest

from brainmass_core.preprocess.functional.despike import CUT, despike, despike_series, smooth_basis

N = 200


def noise(n_series: int = 500, sd: float = 5.0, seed: int = 0) -> np.ndarray:
    return 1000 + np.random.default_rng(seed).normal(0, sd, (N, n_series))


def test_noise_is_hardly_changed():
    series = noise()
    found, n_changed = despike_series(series)
    assert n_changed / series.size < 0.02  # 1.2 % of a normal distribution lie beyond 2.5
    residual = found - series
    assert np.sqrt(np.mean(residual**2)) < 0.02 * series.std()
    assert np.abs(residual).max() < 1.5 * 5


@pytest.mark.parametrize("size", [200.0, -200.0, 2000.0])
def test_spikes_shrink_by_four_fifths_wherever_they_are(size):
    series = noise()
    spiked = series.copy()
    where = np.random.default_rng(1).integers(0, N, 500)
    where[:4] = [0, 1, N - 2, N - 1]
    spiked[where, np.arange(500)] += size
    found, _ = despike_series(spiked)
    left = np.abs(found - series)[where, np.arange(500)]
    assert np.median(left) < 0.2 * abs(size)
    assert left.max() < 0.25 * abs(size)
    others = np.ones(series.shape, dtype=bool)
    others[where, np.arange(500)] = False
    assert np.sqrt(np.mean((found - series)[others] ** 2)) < 0.2  # of a noise of 5


def test_a_burst_in_every_voxel_does_not_drag_the_curve():
    series = noise(sd=5) + 20 * np.sin(np.linspace(0, 12, N))[:, None]
    spiked = series.copy()
    spiked[90:94] += 300
    found, _ = despike_series(spiked)
    assert np.abs(found - series)[90:94].mean() < 0.2 * 300
    assert np.abs(np.delete(found - series, range(90, 94), axis=0)).mean() < 0.2


def test_smooth_signals_survive():
    rng = np.random.default_rng(2)
    f = rng.uniform(0.005, 0.05, (1, 300, 6))  # cycles per volume
    phase = rng.uniform(0, 2 * np.pi, f.shape)
    series = 1000 + 10 * np.sin(2 * np.pi * f * np.arange(N)[:, None, None] + phase).sum(axis=-1)
    found, _ = despike_series(series)
    r = [np.corrcoef(found[:, i], series[:, i])[0, 1] for i in range(series.shape[1])]
    assert min(r) > 0.99


def test_nothing_passes_the_second_cut():
    spiked = noise()
    spiked[50] += 1e5
    found, _ = despike_series(spiked)
    assert (found[50] - 1000).max() < (CUT[1] + 3) * 5  # the curve is not flat, either


def test_despiking_twice_is_nearly_despiking_once():
    spiked = noise()
    spiked[50] += 400
    once, _ = despike_series(spiked)
    twice, _ = despike_series(once)
    assert np.sqrt(np.mean((twice - once) ** 2)) < 0.01 * spiked.std()


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_run_itself_is_changed_on_demand_and_air_is_not(order):
    rng = np.random.default_rng(0)
    data = rng.normal(10, 1, (6, 5, 4, 90)).astype(np.float32)
    data[:3] += 1000
    data[1, 2, 3, 40] += 100
    data[5, 2, 3, 40] += 100
    run = np.array(data, order=order)
    same, share = despike(run, copy=False)
    assert same is run
    assert run[1, 2, 3, 40] < data[1, 2, 3, 40] - 90
    np.testing.assert_array_equal(run[3:], data[3:])
    assert share == (run != data).sum() / data[:3].size
    copied, _ = despike(data)
    np.testing.assert_array_equal(copied, run)
    assert data[1, 2, 3, 40] > 1080


@pytest.mark.parametrize("n_volumes", [3, 10, 35])
def test_short_and_constant_series_stay_finite(n_volumes):
    series = np.full((n_volumes, 3), 7.0)
    series[:, 1] += np.arange(n_volumes)
    found, n_changed = despike_series(series)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:, 0], 7)
    basis = smooth_basis(n_volumes)
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-9)
    assert n_changed <= series.size
