"""Temporal corrections: their order, their description, and that the run itself is changed."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.functional.bold import Bold
from brainmass_core.preprocess.functional.despike import despike
from brainmass_core.preprocess.functional.slice_timing import correct_slice_timing
from brainmass_core.preprocess.functional.temporal import temporal

T_R = 2.0
TIMES = [0.0, 0.5, 1.0, 0.0, 0.5, 1.0]
PATH = "/data/sub-1_task-rest_bold.nii.gz"


@pytest.fixture
def bold() -> Bold:
    rng = np.random.default_rng(0)
    slow = np.sin(
        np.arange(120) / rng.uniform(3, 20, (5, 6, 6, 1)) + rng.uniform(0, 6, (5, 6, 6, 1))
    )
    data = (1000 + 10 * slow + rng.normal(0, 1, slow.shape)).astype(np.float32)
    data[2, 3, 4, 60] += 300
    return Bold(np.asfortranarray(data), np.diag([3.0, 3, 3, 1]), 4)


def test_spikes_are_pulled_in_before_slices_are_shifted(bold):
    raw = bold.data.copy()
    expected = correct_slice_timing(despike(raw)[0], TIMES, T_R)
    found = temporal(bold, PATH, Preprocess(despike=True), T_R, TIMES, 2)
    assert found.bold is bold
    np.testing.assert_array_equal(bold.data, expected)
    assert found.slice_timing == "corrected (0.00 to 1.00 s, 6 slices, multiband 2)"
    assert found.despiked_fraction == despike(raw)[1] > 0
    assert found.bold.n_dummy_volumes == 4
    # the other order would spread the spike over its neighbours
    assert np.abs(np.diff(bold.data[2, 3, 4, 57:64])).max() < 30


def test_without_anything_to_do_nothing_is_done(bold, caplog):
    raw = bold.data.copy()
    found = temporal(bold, PATH, Preprocess(slice_timing=False), T_R, TIMES, 2)
    assert (found.slice_timing, found.despiked_fraction) == ("off", None)
    found = temporal(bold, PATH, Preprocess(), T_R, [0.4] * 6, 2)
    assert "nothing to correct" in found.slice_timing
    assert not caplog.text
    found = temporal(bold, PATH, Preprocess(), T_R, None, None)
    assert found.slice_timing == "no SliceTiming in the sidecar"
    assert PATH in caplog.text
    np.testing.assert_array_equal(bold.data, raw)


def test_slices_are_counted_along_their_axis(bold):
    raw = bold.data.copy()
    times = np.linspace(0, 1.6, 5)
    temporal(bold, PATH, Preprocess(), T_R, times, 0)
    np.testing.assert_array_equal(bold.data, correct_slice_timing(raw, times, T_R, axis=0))


@pytest.mark.parametrize(("times", "axis"), [([0.0, 1.0], 2), (TIMES, 0), ([0.0] * 5 + [3.0], 2)])
def test_times_that_do_not_fit_fail_with_the_remedy(bold, times, axis):
    with pytest.raises(ScanFailed, match="slice") as caught:
        temporal(bold, PATH, Preprocess(), T_R, times, axis)
    assert PATH in caught.value.reason
    assert "slice_timing" in caught.value.remedy


def test_other_engines_are_asked_by_name_and_their_data_are_taken(bold, monkeypatch):
    asked = []

    def engine(step, name):
        def do(data, affine, *rest):
            asked.append((step, name, *rest))
            return data + 1

        return do

    module = ModuleType("brainmass_core.preprocess.engines")
    module.engine = engine
    monkeypatch.setitem(sys.modules, module.__name__, module)
    raw = bold.data.copy()
    settings = Preprocess(despike=True, engines={"despike": "afni", "slice_timing": "fsl"})
    found = temporal(bold, PATH, settings, T_R, TIMES, 2)
    np.testing.assert_array_equal(bold.data, raw + 2)
    assert found.despiked_fraction == 1
    assert found.slice_timing.startswith("corrected (by fsl, 0.00 to")
    assert [a[:2] for a in asked] == [("despike", "afni"), ("slice_timing", "fsl")]
    assert asked[0][2:] == (T_R,)
    np.testing.assert_array_equal(asked[1][2], TIMES)
    assert asked[1][3:] == (T_R, 2)
