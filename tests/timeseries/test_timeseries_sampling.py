"""Other repetition times: a slow wave stays that wave, and nothing aliases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmass_core.timeseries.sampling import n_resampled, resampled


def wave(n: int, t_r: float, hertz: float) -> np.ndarray:
    t = np.arange(n)[:, None] * t_r
    return (5 + np.sin(2 * np.pi * hertz * t + np.array([0.0, 1.0, 2.0]))).astype(np.float32)


@pytest.mark.parametrize(("t_r", "new"), [(2.0, 0.735), (0.72, 0.735), (0.735, 2.0), (3.0, 2.0)])
def test_a_slow_wave_is_that_wave_at_other_times(t_r, new):
    n = 200
    found = resampled(wave(n, t_r, 0.03), t_r, new)
    assert len(found) == n_resampled(n, t_r, new)
    inner = slice(30, -30)  # the low-pass has edges
    np.testing.assert_allclose(found[inner], wave(len(found), new, 0.03)[inner], atol=0.02, rtol=0)


def test_what_the_new_sampling_cannot_hold_is_taken_out():
    found = resampled(wave(400, 0.5, 0.45), 0.5, 2.0)[10:-10]  # 0.45 Hz would alias to 0.05 Hz
    assert np.abs(found - 5).max() < 0.02


def test_the_same_repetition_time_changes_nothing():
    x = wave(50, 2.0, 0.05)
    assert resampled(x, 2.0, 2.0005) is x


def test_a_parcel_that_was_not_measured_stays_so_and_touches_no_other():
    x = wave(60, 2.0, 0.05)
    holed = x.copy()
    holed[:, 1] = np.nan
    found, expected = resampled(holed, 2.0, 1.0), resampled(x, 2.0, 1.0)
    assert np.isnan(found[:, 1]).all()
    np.testing.assert_array_equal(found[:, [0, 2]], expected[:, [0, 2]])


@given(st.integers(2, 600), st.floats(0.3, 4), st.floats(0.3, 4))
def test_no_timepoint_lies_outside_the_recording_and_none_is_wasted(n, t_r, new):
    end, last = (n - 1) * t_r, (n_resampled(n, t_r, new) - 1) * new
    slack = 1e-3 * n  # repetition times that differ by less than a millisecond are the same
    assert last <= end + slack
    assert end - last < new + slack
