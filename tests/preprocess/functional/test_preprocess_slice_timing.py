"""Slice timing: a shift in time of band-limited signals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmass_core.preprocess.functional.slice_timing import (
    correct_slice_timing,
    shift_series,
    timing_summary,
)

T_R = 2.0
N_SLICES = 36
SCHEMES = {
    "ascending": np.arange(N_SLICES) * T_R / N_SLICES,
    "interleaved": np.argsort(np.r_[1:N_SLICES:2, 0:N_SLICES:2]) * T_R / N_SLICES,
    "shuffled": np.random.default_rng(0).permutation(N_SLICES) * T_R / N_SLICES,
    "multiband 3": np.tile(np.argsort(np.r_[0:12:2, 1:12:2]) * T_R / 12, 3),
    "multiband 6": np.tile(np.argsort(np.r_[0:6:2, 1:6:2]) * T_R / 6, 6),
}


def resting(rng: np.random.Generator, n_volumes: int, times: np.ndarray, t_r: float) -> np.ndarray:
    """Sums of sinusoids of 0.01 to 0.1 Hz (20, times, volumes): the same signals, shifted."""
    f = rng.uniform(0.01, 0.1, (20, 1, 1, 6))
    phase = rng.uniform(0, 2 * np.pi, f.shape)
    clock = times[:, None, None] + t_r * np.arange(n_volumes)[:, None]
    return 100 + np.sin(2 * np.pi * f * clock + phase).sum(axis=-1)


def error(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - truth) ** 2)) / truth.std())


@pytest.mark.parametrize("t_r", [2.0, 0.8])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_band_limited_signals_are_brought_to_one_time(scheme, t_r):
    times = SCHEMES[scheme] * t_r / T_R
    acquired = resting(np.random.default_rng(1), 200, times, t_r)[:, None]  # x, y=1, z, volumes
    truth = resting(np.random.default_rng(1), 200, np.array([times.mean()]), t_r)[:, None]
    found = correct_slice_timing(acquired, times, t_r)
    assert error(found, truth) < 0.01
    assert error(acquired, truth) > 10 * error(found, truth)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_run_itself_is_changed_on_demand_whatever_its_axis_and_layout(axis, order):
    rng = np.random.default_rng(0)
    usual = rng.normal(size=(3, 4, 5, 40)).astype(np.float32)
    times = np.array([0, 0.75, 1.5, 0, 0.75])
    expected = np.moveaxis(correct_slice_timing(usual, times, T_R), 2, axis)
    data = np.array(np.moveaxis(usual, 2, axis), order=order)
    assert correct_slice_timing(data, times, T_R, axis=axis, copy=False) is data
    np.testing.assert_allclose(data, expected, atol=1e-6)
    assert not np.allclose(data, np.moveaxis(usual, 2, axis), atol=0.01)


def test_a_copy_leaves_the_run_alone():
    data = np.random.default_rng(0).normal(size=(3, 3, 4, 50)).astype(np.float32)
    before = data.copy()
    correct_slice_timing(data, [0.0, 0.5, 1.0, 1.5], T_R)
    np.testing.assert_array_equal(data, before)


def test_volumes_acquired_at_once_do_not_change():
    data = np.random.default_rng(0).normal(size=(3, 3, 4, 50)).astype(np.float32)
    np.testing.assert_array_equal(correct_slice_timing(data, [0.7] * 4, T_R), data)


@given(shift=st.floats(-0.9, 0.9), slope=st.floats(-5, 5), level=st.floats(-100, 100))
def test_straight_lines_are_shifted_exactly(shift, slope, level):
    line = level + slope * np.arange(41.0)[:, None]
    np.testing.assert_allclose(
        shift_series(line, shift), line + slope * shift, atol=1e-9 * (1 + abs(level) + abs(slope))
    )


def test_shifting_there_and_back_is_the_identity():
    smooth = resting(np.random.default_rng(5), 120, np.zeros(1), T_R)[:, 0].T
    back = shift_series(shift_series(smooth, 0.4), -0.4)
    assert np.abs(back - smooth)[3:-3].max() < 0.01 * smooth.std()


def test_float32_is_kept_and_as_good():
    series = 1000 + np.random.default_rng(0).normal(size=(90, 30))
    found = shift_series(series.astype(np.float32), 0.3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, shift_series(series, 0.3), rtol=1e-6)


@pytest.mark.parametrize("n_volumes", [2, 3, 10])
def test_the_shortest_runs_stay_finite_and_near(n_volumes):
    series = 1000 + np.random.default_rng(0).normal(size=(n_volumes, 30))
    assert np.abs(shift_series(series, 0.4) - series).max() < 10


@pytest.mark.parametrize("times", [[0.0, 1.0], [0.0, 1.0, 5.0], [0.0, np.nan, 1.0]])
def test_times_that_do_not_fit_are_refused(times):
    with pytest.raises(ValueError, match="slice"):
        correct_slice_timing(np.zeros((2, 2, 3, 10)), times, T_R)


def test_the_summary_counts_slices_that_were_acquired_together():
    assert timing_summary(SCHEMES["multiband 3"]) == "0.00 to 1.83 s, 36 slices, multiband 3"
    assert timing_summary([0.02, 0.5, 1.0]) == "0.02 to 1.00 s, 3 slices"
