"""Codings that may differ between two data sets are reported with numbers."""

from __future__ import annotations

import logging
import re

import numpy as np
import pandas as pd
import pytest

from brainmass_core.config.tasks import Task
from brainmass_core.finetune.cohort.coding import doubtful_codings


def cohort(**columns):
    made = pd.DataFrame(
        {
            "dataset": ["a"] * 4 + ["b"] * 4,
            "used": True,
            "label": ["1", "1", "2", "2", "1", "2", "2", "2.0"],
            "age": [10.0, 11, 12, 13, 20, 21, 22, 23],
            "mean_fd": 0.2,
        }
    ).assign(**columns)
    names = made["label"].astype(str).str[0].map({"1": "control", "2": "patient"})
    return made.assign(class_name=made.get("class_name", names))


def warned(table, caplog, **task) -> list[str]:
    task = {"classes": {"control": ["HC", "1"], "patient": ["MDD", "2"]}} | task
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = doubtful_codings(table, Task(datasets=["a", "b"], label="dx", **task), "t")
    logged = [r.getMessage() for r in caplog.records]
    assert logged == [f"t: {text}" for text in found["warning"]]
    return logged


def test_numbers_that_two_data_sets_call_their_groups_are_shown_with_counts(caplog):
    (said,) = warned(cohort(), caplog)
    assert "t: the codes 1, 2 of column 'dx' are taken to mean the same" in said
    assert "(a: control 2, patient 2; b: control 1, patient 3 scans)" in said


def test_words_and_codes_of_one_data_set_alone_are_clear(caplog):
    words = ["HC", "HC", "MDD", "MDD"]
    names = ["control", "control", "patient", "patient"] * 2
    assert warned(cohort(label=words * 2, class_name=names), caplog) == []
    assert warned(cohort(label=[*words, "1", "1", "2", "2"], class_name=names), caplog) == []
    assert warned(cohort()[:4], caplog) == []


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"age": [2.0, 3, 4, 5, 24, 36, 48, 60]}, r"age differ .* \(a 3.5, b 42\): .* months"),
        ({"mean_fd": [0.1] * 4 + [100] * 4}, r"mean_fd differ .* \(a 0.1, b 100\)"),
    ],
)
def test_medians_that_differ_as_units_do(caplog, columns, said):
    table = cohort(label=["HC", "MDD"] * 4, class_name=["control", "patient"] * 4, **columns)
    (found,) = warned(table, caplog)
    assert re.search(said, found)


def test_cohorts_of_children_and_adults_and_unknown_ages_are_no_other_unit(caplog):
    words = {"label": ["HC", "MDD"] * 4, "class_name": ["control", "patient"] * 4}
    assert warned(cohort(age=[10.0] * 4 + [70.0] * 4, **words), caplog) == []
    assert warned(cohort(age=[10.0] * 4 + [np.nan] * 4, **words), caplog) == []


def test_targets_of_a_regression(caplog):
    table = cohort(y=[30.0] * 4 + [360.0] * 4, class_name=None)
    (said,) = warned(table, caplog, kind="regression", classes={})
    assert "the medians of the label 'dx' differ more than 8-fold" in said


def test_a_query_of_handedness_that_two_data_sets_code_otherwise(caplog):
    words = {"label": ["HC", "MDD"] * 4, "class_name": ["control", "patient"] * 4}
    query = {"exclude": "pheno_hand == 'L'"}
    other = cohort(pheno_hand=["L", "R"] * 2 + ["1", "2"] * 2, **words)
    (said,) = warned(other, caplog, **query)
    assert "exclude uses pheno_hand" in said
    assert "(a: L, R; b: 1, 2)" in said
    assert warned(cohort(pheno_hand=["L", "R"] * 4, **words), caplog, **query) == []
    assert warned(cohort(pheno_hand=["L", "R"] * 3 + ["R"] * 2, **words), caplog, **query) == []
