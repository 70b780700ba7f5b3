"""Slice timing: a shift in time of band-limited signals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmass_core.preprocess.slice_timing import correct_slice_timing, shift_series

T_R = 2.0


def resting(rng: np.random.Generator, n_volumes: int, times: np.ndarray) -> np.ndarray:
    """Sums of sinusoids of 0.01 to 0.08 Hz (voxels, times, volumes): the same signal, shifted."""
    f = rng.uniform(0.01, 0.08, (20, 1, 1, 6))
    phase = rng.uniform(0, 2 * np.pi, f.shape)
    clock = times[:, None, None] + T_R * np.arange(n_volumes)[:, None]
    return 100 + np.sin(2 * np.pi * f * clock + phase).sum(axis=-1)


def test_band_limited_signals_are_brought_to_one_time():
    times = np.random.default_rng(0).permutation(36) * T_R / 36
    rng = np.random.default_rng(1)
    acquired = resting(rng, 200, times)[:, None]  # x, y=1, slices, volumes
    truth = resting(np.random.default_rng(1), 200, np.array([times.mean()]))[:, None]
    found = correct_slice_timing(acquired, times, T_R)
    error = np.sqrt(np.mean((found - truth) ** 2)) / truth.std()
    before = np.sqrt(np.mean((acquired - truth) ** 2)) / truth.std()
    assert error < 0.01 < 0.1 < before


def test_volumes_acquired_at_once_do_not_change():
    data = np.random.default_rng(0).normal(size=(3, 3, 4, 50)).astype(np.float32)
    np.testing.assert_array_equal(correct_slice_timing(data, [0.7] * 4, T_R), data)


@given(shift=st.floats(-0.9, 0.9), slope=st.floats(-5, 5), level=st.floats(-100, 100))
def test_straight_lines_are_shifted_exactly(shift, slope, level):
    line = level + slope * np.arange(41.0)
    np.testing.assert_allclose(
        shift_series(line, shift), line + slope * shift, atol=1e-5 * (1 + abs(level) + abs(slope))
    )


def test_shifting_there_and_back_is_the_identity():
    smooth = resting(np.random.default_rng(5), 120, np.zeros(1))[:, 0]
    back = shift_series(shift_series(smooth, 0.4), -0.4)
    assert np.abs(back - smooth)[:, 3:-3].max() < 0.01 * smooth.std()


def test_the_axis_of_slices_is_a_matter_of_naming():
    data = np.random.default_rng(0).normal(size=(3, 4, 5, 40))
    times = np.linspace(0, 1.5, 5)
    usual = correct_slice_timing(data, times, T_R)
    other = correct_slice_timing(np.moveaxis(data, 2, 0), times, T_R, axis=0)
    np.testing.assert_allclose(np.moveaxis(other, 0, 2), usual, atol=1e-6)


@pytest.mark.parametrize("times", [[0.0, 1.0], [0.0, 1.0, 5.0], [0.0, np.nan, 1.0]])
def test_times_that_do_not_fit_are_refused(times):
    with pytest.raises(ValueError, match="slice"):
        correct_slice_timing(np.zeros((2, 2, 3, 10)), times, T_R)
