"""Which volumes are censored, and how they are filled in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from brainmass_core.config.timeseries import Censor
from brainmass_core.timeseries.censor import (
    censor_mask,
    censor_text,
    censored_volumes,
    fill_matrix,
)
from brainmass_core.timeseries.design import ConfoundsError

displacements = st.lists(st.floats(0, 2), min_size=1, max_size=60).map(np.array)
small = st.integers(0, 4)


def where(mask: np.ndarray) -> list[int]:
    return np.flatnonzero(mask).tolist()


def test_the_neighbours_of_a_volume_above_the_threshold_are_censored() -> None:
    fd = np.zeros(20)
    fd[[5, 12]] = 0.6
    settings = Censor(fd_threshold=0.5, n_before=1, n_after=2)
    assert where(censor_mask(fd, None, settings)) == [4, 5, 6, 7, 11, 12, 13, 14]


def test_neighbours_do_not_reach_round_the_ends() -> None:
    fd = np.zeros(8)
    fd[[0, 7]] = 1.0
    settings = Censor(n_before=2, n_after=2)
    assert where(censor_mask(fd, None, settings)) == [0, 1, 2, 5, 6, 7]


def test_the_first_volume_has_no_displacement_and_is_kept() -> None:
    assert where(censor_mask(np.array([np.nan, 0.1, 0.9]), None, Censor())) == [2]


def test_a_volume_at_the_threshold_is_kept() -> None:
    assert where(censor_mask(np.array([0.5, 0.5000001]), None, Censor(fd_threshold=0.5))) == [1]


def test_short_stretches_are_censored_too() -> None:
    fd = np.zeros(20)
    fd[[3, 6, 12]] = 1.0  # leaves 3, 2, 5 and 7 volumes
    assert where(censor_mask(fd, None, Censor(min_contiguous=3))) == [3, 4, 5, 6, 12]
    assert where(~censor_mask(fd, None, Censor(min_contiguous=6))) == list(range(13, 20))


def test_without_motion_nothing_is_censored_however_short_the_run() -> None:
    assert not censor_mask(np.zeros(4), None, Censor(min_contiguous=10)).any()


@given(displacements, small, small, st.integers(1, 5))
def test_stricter_settings_censor_no_less(fd: np.ndarray, before: int, after: int, n: int) -> None:
    mild = censor_mask(fd, None, Censor(fd_threshold=1.0))
    strict = Censor(fd_threshold=0.5, n_before=before, n_after=after, min_contiguous=n)
    assert not (mild & ~censor_mask(fd, None, strict)).any()


@given(displacements, st.integers(1, 5))
def test_what_is_left_comes_in_stretches_of_min_contiguous(fd: np.ndarray, n: int) -> None:
    censored = censor_mask(fd, None, Censor(fd_threshold=1.0, min_contiguous=n))
    edges = np.flatnonzero(np.diff(np.concatenate([[1], censored, [1]])))
    lengths = edges[1::2] - edges[::2]
    assert not censored.any() or (lengths >= n).all()


def test_the_criterion_is_read_from_the_confounds(confounds: pd.DataFrame) -> None:
    assert where(censored_volumes(confounds, Censor())) == [40, 41, 90, 130, 170]
    jenkinson = Censor(fd_kind="jenkinson", fd_threshold=0.61)
    assert where(censored_volumes(confounds, jenkinson)) == []
    dvars = Censor(std_dvars_threshold=1.5)
    assert where(censored_volumes(confounds, dvars)) == [40, 41, 55, 90, 130, 170]


@pytest.mark.parametrize("column", ["rmsd", "std_dvars"])
def test_a_criterion_without_its_column_is_refused_unless_it_only_counts(
    confounds: pd.DataFrame, column: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"fd_kind": "jenkinson", "std_dvars_threshold": 1.5}
    without = confounds.drop(columns=column)
    with pytest.raises(ConfoundsError, match=column):
        censored_volumes(without, Censor(method="remove", **settings))
    assert censored_volumes(without, Censor(**settings)) is None  # not by half of the criterion
    assert f"['{column}']: volumes with motion are not counted" in caplog.text


def test_filling_is_a_cubic_spline_through_what_is_left() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3)).cumsum(axis=0)
    kept = np.ones(60, dtype=bool)
    kept[[10, 11, 12, 30, 50]] = False
    filled = fill_matrix(kept) @ x[kept]
    at = np.flatnonzero(kept)
    np.testing.assert_allclose(filled, CubicSpline(at, x[kept])(np.arange(60)), atol=1e-10)
    np.testing.assert_array_equal(filled[kept], x[kept])


def test_filling_holds_the_nearest_value_at_the_ends() -> None:
    kept = np.ones(30, dtype=bool)
    kept[:3] = kept[-4:] = False
    x = np.random.default_rng(1).standard_normal((30, 2))
    filled = fill_matrix(kept) @ x[kept]
    np.testing.assert_allclose(filled[:3], np.tile(x[3], (3, 1)))
    np.testing.assert_allclose(filled[-4:], np.tile(x[25], (4, 1)))


def test_filling_a_cubic_gives_the_cubic() -> None:
    t = np.linspace(-1, 1, 40)
    x = np.stack([t**3 - t, 2 * t**2 + 1], axis=1)
    kept = np.ones(40, dtype=bool)
    kept[[5, 6, 20, 33]] = False
    np.testing.assert_allclose(fill_matrix(kept) @ x[kept], x, atol=1e-12)


def test_a_criterion_says_what_it_is() -> None:
    settings = Censor(method="remove", n_after=2)
    assert censor_text(settings) == "remove: power FD > 0.5 mm, 0 before, 2 after"
    settings = Censor(method="interpolate", std_dvars_threshold=1.5, min_contiguous=5)
    assert censor_text(settings) == (
        "interpolate: power FD > 0.5 mm or std DVARS > 1.5, 0 before, 0 after, stretches of 5"
    )
