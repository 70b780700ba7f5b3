from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmass_core.reasons import reasons_of
from brainmass_core.report.flow import exclusion_flow
from brainmass_core.tables import read_table

STAGES = (None, "scans", "preprocess", "timeseries", "connectivity", "finetune", "unheard-of")


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from(STAGES), st.booleans(), st.booleans()), min_size=1),
    st.booleans(),
)
def test_every_listed_scan_is_in_the_last_box_or_in_one_loss(fates, raw):
    cohort = pd.DataFrame(
        {
            "scan_id": [f"s{i}" for i in range(len(fates))],
            "dataset": "d",
            "participant_id": [f"p{i // 2}" for i in range(len(fates))],
            "class_name": "a",
            "used": [stage is None for stage, _, _ in fates],
            "stage": pd.Series([stage for stage, _, _ in fates], dtype=object),
            "reason": [f"{stage} {i}" for i, (stage, _, _) in enumerate(fates)],
        }
    )
    failed = {(s, f"s{i}") for i, (s, broken, _) in enumerate(fates) if s and broken}
    tested = {f"s{i}" for i, (s, _, used) in enumerate(fates) if s is None and used}
    steps = exclusion_flow(cohort, failed, tested, ["a"], raw)
    assert steps[0].n_scans == len(fates)
    assert steps[-1].n_scans == sum(stage is None for stage, _, _ in fates)
    for before, step in pairwise(steps):
        assert step.n_scans == before.n_scans - step.lost
        assert sum(r.n for r in step.reasons) == step.lost
    assert any(s.title == "Preprocessed" for s in steps) == raw


def test_what_failed_and_what_was_refused_are_apart():
    cohort = pd.DataFrame(
        {
            "scan_id": ["a", "b", "c"],
            "dataset": "d",
            "participant_id": ["a", "b", "c"],
            "class_name": ["x", "x", "x"],
            "used": [False, False, True],
            "stage": ["preprocess", "preprocess", None],
            "reason": ["no boundary", "moves too much", None],
        }
    )
    flow = exclusion_flow(cohort, {("preprocess", "a")}, {"c"}, ["x"], raw=True)
    steps = {s.title: s for s in flow}
    assert [r.text for r in steps["Preprocessed"].reasons] == ["no boundary"]
    assert [r.text for r in steps["Passed quality control"].reasons] == ["moves too much"]


def test_reasons_that_differ_in_numbers_and_paths_count_as_one():
    texts = [f"/data/{i}.nii: FD {0.5 + i / 100:.2f} mm above 0.4" for i in range(7)] + ["mute"]
    most, other = reasons_of(texts)
    assert (most.text, most.n) == ("…: FD … mm above 0.4", 7)
    assert (other.text, other.n) == ("mute", 1)
    assert reasons_of(["7 of 20 parcels"] * 3)[0].text == "7 of 20 parcels", "all are the same"
    (met,) = reasons_of(["a1: 5 s of 1", "b: 6 s of 1"], names=["a1", "b"])
    assert (met.text, met.n, met.names) == ("…: … s of 1", 2, ("a1", "b"))
    assert reasons_of(["s1", "2"], names=["s1", "x"])[0].text == "…", (
        "a name may stand for a number"
    )


def test_rare_reasons_are_counted_together():
    found = reasons_of([c * 3 for c in "abcdefgh"] + ["abc"], limit=5)
    assert len(found) == 6
    assert found[-1].n == 4
    assert found[-1].text == "4 other reasons"


@pytest.mark.study
def test_the_chart_of_a_study_ends_with_those_who_are_tested(study, pages):
    folder = study.paths.finetune("demo_task")
    predictions = read_table(folder / "predictions.parquet", "predictions").to_pandas()
    tested = predictions["scan_id"].nunique()
    chart = pages["demo_task"].split('<ol class="chart">')[1].split("</ol>")[0]
    assert f"tested: {tested} scans of" in chart
    assert (
        f"{len(study.scans)} scans, {study.scans['participant_id'].nunique()} participants" in chart
    )
    assert "label 9 is in no class of the task" in chart
    assert np.all([title in chart for title in ("Scans listed", "In the folds")])


@settings(max_examples=20)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from((None, *STAGES[1:4])), st.booleans()),
        min_size=1,
    ),
    st.sampled_from((None, "connectivity", "finetune")),
    st.booleans(),
)
def test_every_run_is_lost_or_joined_and_every_joined_series_lost_or_in_the_folds(fates, late, raw):
    if not raw:  # then nothing is preprocessed
        fates = [(u, None if s == "preprocess" else s, b) for u, s, b in fates]
    runs = pd.DataFrame(
        {
            "scan_id": [f"r{i}" for i in range(len(fates))],
            "dataset": "d",
            "participant_id": [f"p{u}" for u, _, _ in fates],
            "unit": [f"u{u}" for u, _, _ in fates],
            "used": [stage is None for _, stage, _ in fates],
            "stage": pd.Series([stage for _, stage, _ in fates], dtype=object),
            "reason": "why",
        }
    )
    failed = {(s, f"r{i}") for i, (_, s, broken) in enumerate(fates) if s and broken}
    left = sorted(runs.loc[runs["used"], "unit"].unique())
    names = sorted(runs["unit"].unique())
    # the first unit with a run is lost later, those without runs were lost before
    stages = [late if n in left[:1] else None if n in left else "timeseries" for n in names]
    cohort = pd.DataFrame(
        {
            "scan_id": names,
            "dataset": "d",
            "participant_id": [n.replace("u", "p") for n in names],
            "class_name": "a",
            "used": [s is None for s in stages],
            "stage": pd.Series(stages, dtype=object),
            "reason": "why",
            "joined": [["r"]] * len(names),
        }
    )
    steps = exclusion_flow(cohort, failed, set(), ["a"], raw, runs)
    at = next(i for i, s in enumerate(steps) if s.title == "Joined")
    assert {s.counted for s in steps[:at]} == {"runs"}
    assert {s.counted for s in steps[at:]} == {"joined series"}
    assert (steps[0].n_scans, steps[at - 1].n_scans) == (len(runs), int(runs["used"].sum()))
    assert (steps[at].n_scans, steps[-1].n_scans) == (len(left), int(cohort["used"].sum()))
    for before, step in [*pairwise(steps[:at]), *pairwise(steps[at:])]:
        assert step.n_scans == before.n_scans - step.lost
