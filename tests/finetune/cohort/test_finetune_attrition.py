"""The log states who takes part, with one line per cause."""

import logging
from pathlib import Path

import pandas as pd
import pytest

from brainmass_core.config.tasks import Task
from brainmass_core.finetune.cohort.attrition import say_who_takes_part

TASK = Task(datasets=["demo"], label="dx", classes={"a": ["1"], "b": ["2"]})
REASONS = {
    **{
        f"s{i:02d}": ("timeseries", f"s{i:02d}: /d/s{i:02d}.nii: {i}.5 mm is above 0.5")
        for i in range(14)
    },
    "t1": ("finetune", "no value in column 'dx'"),
    "t2": ("finetune", "no value in column 'dx'"),
    "u1": (None, None),
}


@pytest.fixture
def cohort():
    table = pd.DataFrame(
        [
            {"scan_id": s, "stage": st, "reason": r, "used": st is None}
            for s, (st, r) in REASONS.items()
        ]
    )
    return table.assign(class_name="a", label="1")


def warned(cohort, caplog, listed) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.INFO):
        say_who_takes_part(cohort, TASK, "t", Path("r/cohort.parquet"), listed)
    return [r.getMessage() for r in caplog.records]


def test_scans_lost_for_one_cause_are_one_line_with_their_number_and_three_names(cohort, caplog):
    assert warned(cohort, caplog, True) == [
        "t: 1 of 17 scans take part (a 1, b 0)",
        "t: dropped at finetune: 2 scans: no value in column 'dx' (t1, t2)",
        "t: dropped at timeseries: 14 scans: …: /d/….nii: … mm is above 0.5 "
        "(s00, s01, s02 and 11 more)",
        "t: reasons of all scans: r/cohort.parquet",
    ]


def test_parts_that_write_no_table_say_one_line(cohort, caplog):
    assert warned(cohort, caplog, False) == ["t: 1 of 17 scans take part (a 1, b 0)"]
