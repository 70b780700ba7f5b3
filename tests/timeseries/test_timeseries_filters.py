"""Filters, against C-PAC's files, nilearn and what a band means."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from nilearn import signal

from brainmass_core.timeseries.filters import (
    butterworth,
    filter_matrix,
    filter_text,
    ideal_bandpass,
    slow_cosines,
)

T_R = 2.0


def test_band_pass_equals_the_files_that_cpac_published(shared_data) -> None:
    folder = shared_data / "oracle_abide_cpac_dev"
    subjects = pd.read_csv(folder / "subjects.csv")
    for file_id, t_r in zip(subjects["FILE_ID"], subjects["TR_s"], strict=True):
        (before,) = (folder / "ho_nofilt_noglobal").glob(f"{file_id}_rois_ho.1D*")
        (after,) = (folder / "ho_filt_noglobal").glob(f"{file_id}_rois_ho.1D*")
        theirs = np.loadtxt(after)
        ours = ideal_bandpass(np.loadtxt(before), t_r, 0.01, 0.1)
        assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 1e-6


def test_band_pass_keeps_a_sine_inside_and_removes_one_outside() -> None:
    t = np.arange(256) * T_R
    inside = np.sin(2 * np.pi * 26 / 512 * t)  # 0.051 Hz
    outside = np.sin(2 * np.pi * 90 / 512 * t)  # 0.176 Hz
    filtered = ideal_bandpass(np.column_stack([inside, outside]), T_R, 0.01, 0.1)
    np.testing.assert_allclose(filtered[:, 0], inside, atol=1e-10)
    np.testing.assert_allclose(filtered[:, 1], 0, atol=1e-10)


def test_band_pass_without_limits_only_removes_the_mean(series: np.ndarray) -> None:
    np.testing.assert_allclose(
        ideal_bandpass(series, T_R, None, None), series - series.mean(axis=0), atol=1e-9
    )


@pytest.mark.parametrize("apply", [ideal_bandpass, butterworth])
def test_a_band_outside_the_measured_frequencies_is_refused(apply, series: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"no frequency of a run of 200 volumes at t_r 2 s"):
        apply(series, T_R, 0.3, 0.4)


@pytest.mark.parametrize("band", [(0.01, 0.1), (0.01, None), (None, 0.1), (0.008, 0.2)])
def test_butterworth_equals_nilearn(series: np.ndarray, band: tuple) -> None:
    theirs = signal.butterworth(series.copy(), 1 / T_R, low_pass=band[1], high_pass=band[0])
    np.testing.assert_allclose(butterworth(series, T_R, *band), theirs, atol=1e-9)


def test_butterworth_above_the_nyquist_frequency_is_no_limit(series: np.ndarray) -> None:
    np.testing.assert_array_equal(
        butterworth(series, T_R, 0.01, 0.5), butterworth(series, T_R, 0.01, None)
    )


def test_butterworth_of_a_run_shorter_than_its_padding_is_refused() -> None:
    with pytest.raises(ValueError, match="a run of 20 volumes is too short"):
        butterworth(np.zeros((20, 2)), T_R, 0.01, 0.1)


@pytest.mark.parametrize(
    ("n", "t_r", "low"), [(200, 2.0, 0.01), (176, 2.5, 0.008), (90, 3.0, 0.01)]
)
def test_slow_cosines_equal_nilearns(n: int, t_r: float, low: float) -> None:
    theirs = signal.create_cosine_drift(low, np.arange(n) * t_r)[:, :-1]
    np.testing.assert_allclose(slow_cosines(n, t_r, low), theirs, atol=1e-12)


@pytest.mark.parametrize(("kind", "high"), [("ideal", 0.1), ("butterworth", 0.1), ("cosine", None)])
def test_the_matrix_of_a_filter_does_what_the_filter_does(series, kind: str, high) -> None:
    slow = slow_cosines(len(series), T_R, 0.01)
    expected = {
        "ideal": lambda: ideal_bandpass(series, T_R, 0.01, high),
        "butterworth": lambda: butterworth(series, T_R, 0.01, high),
        "cosine": lambda: series - slow @ np.linalg.lstsq(slow, series, rcond=None)[0],
    }[kind]()
    matrix = filter_matrix(kind, len(series), T_R, 0.01, high)
    np.testing.assert_allclose(matrix @ series, expected, atol=1e-8)


def test_filters_say_what_they_are() -> None:
    assert filter_text("ideal", 0.01, 0.1) == "ideal 0.01-0.1 Hz"
    assert filter_text("cosine", 0.008, None) == "cosine above 0.008 Hz"
    assert filter_text("butterworth", None, 0.1) == "butterworth below 0.1 Hz"
    assert filter_text("ideal", None, None) == "none"
