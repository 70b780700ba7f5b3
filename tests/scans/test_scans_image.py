"""t_r and slice timing: what header and sidecar say, and what happens when they disagree."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmass_core.pipeline.manifest import ScanExcluded
from brainmass_core.scans.image import (
    Header,
    header_seconds,
    phase_encoding,
    series_shape,
    slice_timing,
)
from brainmass_core.scans.repetition_time import choose_t_r

BOLD = Path("/data/sub-01_bold.nii.gz")
t_rs = st.floats(0.2, 10).map(lambda v: round(v, 4))


def header(value: float, unit: str) -> Header:
    return Header((3, 3, 4, 10), header_seconds(value, unit), f"{value:g} {unit}")


@given(t_rs, st.sampled_from([("sec", 1), ("msec", 1e3), ("usec", 1e6)]))
def test_the_unit_of_the_header_is_respected(t_r, unit):
    assert header_seconds(t_r * unit[1], unit[0]) == pytest.approx((t_r,), abs=1e-6)


@given(t_rs, t_rs, st.floats(0, 0.5))
def test_sidecar_and_header_agree_within_the_tolerance_or_are_refused(stated, found, tolerance):
    sidecar, recorded = {"RepetitionTime": stated}, header(found, "sec")
    if abs(stated - found) <= tolerance:
        assert choose_t_r(BOLD, sidecar, recorded, tolerance) == stated
    elif abs(stated - found) > tolerance + 1e-5:
        with pytest.raises(ScanExcluded) as outcome:
            choose_t_r(BOLD, sidecar, recorded, tolerance)
        for word in (str(BOLD), f"{stated:g} s", f"{found:g} sec", "correct"):
            assert word in outcome.value.reason


@pytest.mark.parametrize(("value", "unit"), [(0, "sec"), (1, "unknown"), (-1, "sec"), (2, "hz")])
def test_a_silent_header_leaves_the_word_to_sidecar_then_configuration(value, unit):
    silent = header(value, unit)
    assert choose_t_r(BOLD, {"RepetitionTime": 2.5}, silent, 0.001) == 2.5
    assert choose_t_r(BOLD, {}, silent, 0.001, 3.0) == 3.0
    with pytest.raises(ScanExcluded, match="no t_r"):
        choose_t_r(BOLD, {}, silent, 0.001)


def test_the_header_holds_without_a_sidecar_and_has_to_agree_with_the_configuration():
    assert choose_t_r(BOLD, {}, header(2500, "msec"), 0.001) == 2.5
    assert choose_t_r(BOLD, {}, header(2500, "msec"), 0.001, 2.5) == 2.5


def test_a_header_without_unit_may_mean_seconds_or_milliseconds():
    for value in (2, 2000):
        assert choose_t_r(BOLD, {"RepetitionTime": 2.0}, header(value, "unknown"), 0.001) == 2.0
    with pytest.raises(ScanExcluded, match="contradictory"):
        choose_t_r(BOLD, {"RepetitionTime": 2.0}, header(3, "unknown"), 0.001)


@pytest.mark.parametrize("stated", [0, -2, "2.0", True, [2.0], float("nan")])
def test_a_repetition_time_that_is_no_positive_number_is_refused(stated):
    with pytest.raises(ScanExcluded, match=r"RepetitionTime in the sidecar is .*header: 2 sec"):
        choose_t_r(BOLD, {"RepetitionTime": stated}, header(2, "sec"), 0.001)


def test_milliseconds_in_the_sidecar_are_refused():
    with pytest.raises(ScanExcluded, match="milliseconds"):
        choose_t_r(BOLD, {"RepetitionTime": 2000}, header(0, "sec"), 0.001)


def test_uneven_volumes_are_refused():
    with pytest.raises(ScanExcluded, match="VolumeTiming"):
        choose_t_r(BOLD, {"VolumeTiming": [0, 2, 5]}, header(2, "sec"), 0.001)


@pytest.mark.parametrize(("letter", "axis"), [("i", 0), ("j", 1), ("k", 2)])
def test_slice_times_follow_the_index_along_their_axis(letter, axis):
    sidecar = {"SliceTiming": [0, 0.5, 1, 1.5], "SliceEncodingDirection": letter}
    shape = [3, 3, 3, 10]
    shape[axis] = 4
    assert slice_timing(BOLD, sidecar, tuple(shape), 2.0) == ([0, 0.5, 1, 1.5], axis)
    down = sidecar | {"SliceEncodingDirection": f"{letter}-"}
    assert slice_timing(BOLD, down, tuple(shape), 2.0) == ([1.5, 1, 0.5, 0], axis)
    with pytest.raises(ScanExcluded, match="expected 3 times"):
        slice_timing(BOLD, sidecar, (3, 3, 3, 10), 2.0)


def test_true_is_no_slice_time():
    with pytest.raises(ScanExcluded, match="True"):
        slice_timing(BOLD, {"SliceTiming": [True, 0, 1, 0]}, (3, 3, 4, 10), 2.0)


def test_slices_are_along_the_third_axis_unless_something_is_said():
    assert slice_timing(BOLD, {"SliceTiming": [0, 1, 0, 1]}, (3, 3, 4, 10), 2.0)[1] == 2
    assert slice_timing(BOLD, {}, (3, 3, 4, 10), 2.0) == (None, None)


@pytest.mark.parametrize("direction", ["z", "", 2, None, "k+", ["k"]])
def test_an_unknown_slice_direction_is_refused(direction):
    sidecar = {"SliceTiming": [0, 0.5, 1, 1.5], "SliceEncodingDirection": direction}
    with pytest.raises(ScanExcluded, match="SliceEncodingDirection"):
        slice_timing(BOLD, sidecar, (3, 3, 4, 10), 2.0)


@pytest.mark.parametrize(
    ("sidecar", "expected"),
    [
        ({}, (None, None)),
        ({"PhaseEncodingDirection": "j-", "TotalReadoutTime": 0.05}, ("j-", 0.05)),
        ({"PhaseEncodingDirection": "j", "EffectiveEchoSpacing": 0.0005}, ("j", 0.0395)),
        ({"PhaseEncodingDirection": "i", "EffectiveEchoSpacing": 0.0005}, ("i", 0.0315)),
        (
            {"PhaseEncodingDirection": "j", "EffectiveEchoSpacing": 0.001, "ReconMatrixPE": 64},
            ("j", 0.063),
        ),
        ({"PhaseEncodingDirection": "AP", "EffectiveEchoSpacing": 0.0005}, (None, None)),
        ({"PhaseEncodingDirection": "j", "TotalReadoutTime": "0.05"}, ("j", None)),
        ({"PhaseEncodingDirection": "j", "TotalReadoutTime": 0}, ("j", None)),
    ],
)
def test_readout_time_is_stated_or_follows_from_the_echo_spacing(sidecar, expected):
    found = phase_encoding(sidecar, (64, 80, 36, 200))
    assert found[0] == expected[0]
    assert found[1] == (None if expected[1] is None else pytest.approx(expected[1]))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3, 3, 4, 10), (3, 3, 4, 10)),
        ((3, 3, 4, 1, 10), (3, 3, 4, 10)),
        ((3, 3, 4, 10, 1), (3, 3, 4, 10)),
        ((3, 3, 4, 10, 3), None),
        ((3, 3, 4, 1, 1), None),
        ((3, 3, 4), None),
        ((3, 3, 4, 1), None),
    ],
)
def test_only_an_empty_fifth_dimension_is_accepted(shape, expected):
    assert series_shape(shape) == expected


@pytest.mark.parametrize("times", [[0, 1], [0, 500, 1000, 1500], ["a"] * 4, [-1, 0, 1, 2], 3])
def test_slice_times_that_do_not_fit_are_refused(times):
    with pytest.raises(ScanExcluded, match="SliceTiming"):
        slice_timing(BOLD, {"SliceTiming": times}, (3, 3, 4, 10), 2.0)


def test_an_image_with_an_axis_of_length_0_is_no_series():
    assert series_shape((0, 4, 2, 6)) is None
    assert series_shape((4, 4, 2, 6)) == (4, 4, 2, 6)


@pytest.mark.parametrize("last", [0.0015, 0.019])
def test_slice_times_in_another_unit_are_refused(last):
    times = [0, last / 3, last / 2, last]
    with pytest.raises(ScanExcluded, match=r"SliceTiming ends at .* s of a t_r of 2 s"):
        slice_timing(BOLD, {"SliceTiming": times}, (3, 3, 4, 10), 2.0)
    assert slice_timing(BOLD, {"SliceTiming": [0, 0, 0, 0]}, (3, 3, 4, 10), 2.0)[0] == [0] * 4


def test_slice_times_in_milliseconds_are_shown_by_their_range():
    times = [1000 * n * 1.9 / 19 for n in range(20)]
    with pytest.raises(ScanExcluded, match="contains 20 values from 0 to 1900, expected 20 times"):
        slice_timing(BOLD, {"SliceTiming": times}, (3, 3, 20, 10), 2.0)
    with pytest.raises(ScanExcluded, match="contains 'ascending', expected 4 times"):
        slice_timing(BOLD, {"SliceTiming": "ascending"}, (3, 3, 4, 10), 2.0)
