"""Which repetition time is trusted, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from brainmass_core.config import Dataset
from brainmass_core.pipeline.manifest import ScanExcluded
from brainmass_core.scans.image import Header, header_seconds
from brainmass_core.scans.repetition_time import choose_t_r

BOLD = Path("/data/sub-01_bold.nii.gz")


def header(value: float, unit: str = "sec") -> Header:
    return Header((3, 3, 4, 10), header_seconds(value, unit), f"{value:g} {unit}")


@pytest.mark.parametrize("value", [(1.0, "sec"), (1000.0, "msec"), (1e6, "usec"), (2000.0, "sec")])
def test_derivatives_trust_their_sidecar_over_what_writers_leave_in_a_header(value):
    said = {"RepetitionTime": 2.0}
    assert choose_t_r(BOLD, said, header(*value), 0.001, derived=True) == 2.0
    assert choose_t_r(BOLD, said, header(*value), 0.001, 2.0, derived=True) == 2.0
    with pytest.raises(ScanExcluded, match="contradictory"):
        choose_t_r(BOLD, said, header(*value), 0.001)


def test_derivatives_still_refuse_another_plausible_header():
    for value in ((2.5, "sec"), (0.8, "sec"), (3000.0, "unknown")):
        with pytest.raises(ScanExcluded, match="contradictory"):
            choose_t_r(BOLD, {"RepetitionTime": 2.0}, header(*value), 0.001, derived=True)
    assert choose_t_r(BOLD, {"RepetitionTime": 1.0}, header(1.0), 0.001, derived=True) == 1.0


@pytest.mark.parametrize("derived", [False, True])
def test_a_configured_t_r_that_disagrees_is_refused_with_both(derived):
    for said, found, word in (
        ({}, header(1.0), "1 sec in the NIfTI header"),
        ({}, header(3.0), "3 sec in the NIfTI header"),
        ({}, header(3000.0, "unknown"), "3000 unknown in the NIfTI header"),
        ({"RepetitionTime": 3.0}, header(0), "3 s in the sidecar"),
    ):
        with pytest.raises(ScanExcluded) as outcome:
            choose_t_r(BOLD, said, found, 0.001, 2.0, derived)
        for part in (str(BOLD), "2 s as t_r of the data set", word):
            assert part in outcome.value.reason


def test_a_configured_t_r_holds_where_it_agrees_or_nothing_is_said():
    for found in (header(2.0), header(2000.0, "unknown"), header(0), header(1.0, "unknown")):
        assert choose_t_r(BOLD, {}, found, 0.001, 2.0) == 2.0


def test_a_header_of_one_second_alone_is_asked_about():
    with pytest.raises(ScanExcluded, match="which is also its default") as outcome:
        choose_t_r(BOLD, {}, header(1.0), 0.001)
    # another t_r of the data set would contradict the header
    assert "RepetitionTime (s) to the sidecar; or, if it is 1 s, set t_r: 1" in outcome.value.reason
    assert choose_t_r(BOLD, {}, header(1.0), 0.001, 1.0) == 1.0


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({}, header(2.0, "msec")),
        ({}, header(2.0, "usec")),
        ({}, header(2000.0)),
        ({}, header(25.0)),
        ({"RepetitionTime": 2000}, header(0)),
        ({"RepetitionTime": 0.002}, header(0)),
        ({"RepetitionTime": 20.5}, header(20.5)),
        ({"RepetitionTime": 2000}, header(2.0)),  # no contradiction: the same in another unit
        ({"RepetitionTime": 0.0008}, header(0.8)),
    ],
)
@pytest.mark.parametrize("derived", [False, True])
def test_an_implausible_t_r_is_refused_with_the_unit(said, found, derived):
    with pytest.raises(ScanExcluded, match=r"expected 0\.1 to 20 s; BIDS requires seconds"):
        choose_t_r(BOLD, said, found, 0.001, derived=derived)


@pytest.mark.parametrize("t_r", [0.1, 0.72, 20.0])
def test_plausible_values_are_taken(t_r):
    assert choose_t_r(BOLD, {"RepetitionTime": t_r}, header(0), 0.001) == t_r
    assert choose_t_r(BOLD, {}, header(t_r), 0.001) == t_r


@pytest.mark.parametrize("t_r", [2000, 0.05, 21])
def test_an_implausible_configured_t_r_is_refused(tmp_path, t_r):
    with pytest.raises(ValidationError, match="t_r"):
        Dataset(kind="timeseries", role="internal", path=tmp_path, t_r=t_r)


def test_an_implausible_t_r_of_a_table_costs_its_scan(tmp_path, listed):
    for i in (1, 2, 3):
        np.save(tmp_path / f"sub-0{i}.npy", np.random.default_rng(i).normal(size=(9, 4)))
    table = tmp_path / "pheno.csv"
    table.write_text("participant_id,tr\nsub-01,0.8\nsub-02,25\nsub-03,0.002\n")
    phenotype = {"path": str(table), "t_r_column": "tr"}
    scans = listed(tmp_path, kind="timeseries", phenotype=phenotype)
    assert scans.t_r.tolist() == [0.8, None, None]
    assert "25 s in column 'tr', expected 0.1 to 20 s" in scans.excluded_reason.iloc[1]


def test_slice_times_are_judged_only_if_they_are_used(bids, listed):
    run = bids.run()
    bids.t1w()
    for times in ([0, 500, 1000, 1500], [0, 1], "ascending"):
        bids.json("sub-01/func/sub-01_task-rest_bold.json", RepetitionTime=2.0, SliceTiming=times)
        (on,) = listed(bids.root).itertuples()
        assert "SliceTiming" in on.excluded_reason
        (off,) = listed(bids.root, sections={"preprocess": {"slice_timing": False}}).itertuples()
        assert off.excluded_reason is None
        assert off.slice_timing is None
    assert run.exists()
