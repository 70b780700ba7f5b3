"""Quality inside the brain, compared with numpy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import detrend

from brainmass_core.preprocess.functional import nuisance


@pytest.fixture
def series() -> np.ndarray:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((80, 1))
    return (1000 + 5 * shared + 20 * rng.standard_normal((80, 60))).astype(np.float32)


def test_tsnr_is_mean_over_standard_deviation_without_trend(series, monkeypatch):
    monkeypatch.setattr(nuisance, "BLOCK", 7)  # blocks must not change the result
    series = series + np.linspace(0, 300, 80, dtype=np.float32)[:, None]
    found, _ = nuisance.temporal_snr(series)
    expected = series.mean(axis=0) / detrend(series.astype(float), axis=0).std(axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_global_correlation_is_the_mean_of_the_correlation_matrix(series, monkeypatch):
    monkeypatch.setattr(nuisance, "BLOCK", 7)
    _, found = nuisance.temporal_snr(series)
    expected = np.corrcoef(detrend(series.astype(float), axis=0).T).mean()
    assert found == pytest.approx(expected, rel=1e-6)


def test_voxels_that_do_not_vary_have_no_tsnr(series):
    series[:, 3] = 500
    found, together = nuisance.temporal_snr(series)
    assert found[3] == 0
    assert np.isfinite(together)
