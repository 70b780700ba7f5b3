"""A task without a data set of which too many scans failed, and the pages that say so."""

from __future__ import annotations

import logging

import pytest
from synthetic_study import write_two_cohorts

from brainmass_core.finetune.cohort.dataset import assemble
from brainmass_core.pipeline.failed_fraction import NoDatasetError
from brainmass_core.pipeline.manifest import Entry, write_manifest
from brainmass_core.report import cohort as people

pytestmark = pytest.mark.study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two data sets; two thirds of the series of ``replication`` could not be made."""
    made = write_two_cohorts(tmp_path_factory.mktemp("refused"))
    for batch in range(2):
        ids = made.scans.loc[made.scans["batch"] == batch, "scan_id"]
        entries = [
            Entry("timeseries", "replication", batch, s, "failed" if i % 3 else "ok", "no T1w")
            for i, s in enumerate(ids)
        ]
        write_manifest(made.paths.manifest("timeseries", "replication", batch), entries, "hash")
    return made


def test_a_task_goes_on_with_its_other_data_sets(study, caplog):
    with caplog.at_level(logging.WARNING):
        data = assemble(study.config, "across", listed=True)
    assert set(data.scans["dataset"]) == {"demo"}
    alone = assemble(study.config, "demo_task")
    assert data.scans["scan_id"].tolist() == alone.scans["scan_id"].tolist()
    assert (data.fc == alone.fc).all()
    assert "across: replication: 40 of 60 scans failed in timeseries" in caplog.text


def test_the_cohort_table_says_why_each_of_its_scans_is_not_used(study):
    cohort = assemble(study.config, "across").cohort
    lost = cohort[cohort["dataset"] == "replication"]
    assert not lost["used"].any()
    reasons = lost["reason"].value_counts()
    assert reasons["no T1w"] == 40
    (text,) = [r for r in reasons.index if "max_failed_fraction 0.5" in r]
    assert reasons[text] == 19  # and one was excluded when the data set was listed
    assert set(lost.loc[lost["reason"] == text, "stage"]) == {"finetune"}


def test_a_task_without_any_data_set_left_is_an_error(study):
    with pytest.raises(NoDatasetError, match=r"tasks: .*\n.*replication: 40 of 60 scans failed"):
        assemble(study.config, "unseen")


def test_with_a_higher_limit_its_other_scans_are_used(study):
    config = study.config.model_copy(update={"max_failed_fraction": 0.7})
    assert "replication" in set(assemble(config, "across").scans["dataset"])


def test_the_flow_of_scans_shows_it_in_red_and_still_adds_up(study):
    entries = people.read_entries(study.config, ["demo", "replication"])
    refused = people.refused(study.config, entries)
    assert [(r.dataset, r.stage) for r in refused] == [("replication", "timeseries")]
    flow = people.stage_flow(study.config, ["demo", "replication"], entries)
    shown = people.in_red(flow, refused)
    red = [(r["Data set"], r["Stage"]) for r in shown if getattr(r["Failed"], "alarm", False)]
    assert red == [("replication", "timeseries")]
    for row in flow:
        assert row["In"] == row["Ok"] + row["Failed"] + row["Excluded"] + row["Missing"]
