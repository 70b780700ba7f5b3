"""Tasks on joined runs: one row per unit, and no participant in both training and test."""

from __future__ import annotations

import pandas as pd
import pytest
from synthetic_joined_study import joined_study
from synthetic_study import Study

from brainmass_core.finetune import run
from brainmass_core.finetune.cohort.dataset import assemble
from brainmass_core.finetune.cohort.joining import joined_cohort
from brainmass_core.finetune.cohort.leaks import refuse_shown, scans_shown
from brainmass_core.pretrain.data.index import ShardError
from brainmass_core.pretrain.data.views import index_shards, scans_seen
from brainmass_core.scans.copies import LeakError, copies
from brainmass_core.scans.units import units_of
from brainmass_core.study import StudyResults
from brainmass_core.tables import read_table

TASK = "demo_task"


@pytest.fixture(scope="module")
def study(built_once) -> Study:
    return joined_study(built_once)


def runs_of(**columns) -> pd.DataFrame:
    table = pd.DataFrame(columns)
    fixed = {"dataset": "d", "session": None, "task": "rest", "site": "n", "age": 30.0, "sex": "F"}
    fixed |= {"n_timepoints": 100.0, "stage": None, "reason": None, "used": True, "mean_fd": 0.1}
    fixed |= {"file": table["scan_id"], "source_checksum": None, "series_fingerprint": None}
    return table.assign(**{k: v for k, v in fixed.items() if k not in table})


def named(runs, unit="participant"):
    return runs.assign(unit=units_of(runs, unit))


def test_a_unit_has_what_its_runs_have():
    runs = runs_of(
        scan_id=["a1", "a2", "b1", "b2", "c1"],
        participant_id=["a", "a", "b", "b", "c"],
        used=[True, True, False, True, False],
        stage=[None, None, "preprocess", None, "timeseries"],
        reason=[None, None, "it moved", None, "too short"],
        mean_fd=[0.1, 0.4, 0.9, 0.2, None],
        n_timepoints=[100.0, 200.0, None, 50.0, None],
        pheno_dx=[None, "1", "2", "2", "1"],
    )
    cohort = joined_cohort(named(runs), "pheno_dx").set_index("scan_id")
    assert cohort.index.tolist() == ["d_a_task-rest", "d_b_task-rest", "d_c_task-rest"]
    assert cohort["used"].tolist() == [True, True, False]
    assert cohort["joined"].tolist()[:2] == [["a1", "a2"], ["b2"]]
    assert cohort["n_listed"].tolist() == [2, 2, 1]
    # over timepoints: (0.1 * 100 + 0.4 * 200) / 300
    assert cohort["mean_fd"].tolist()[:2] == pytest.approx([0.3, 0.2])
    assert cohort["pheno_dx"].tolist() == ["1", "2", "1"]
    assert (cohort["stage"].iloc[2], cohort["reason"].iloc[2]) == ("timeseries", "too short")


def test_a_unit_of_which_no_run_is_left_says_how_many_there_were():
    runs = runs_of(
        scan_id=["a1", "a2"],
        participant_id=["a", "a"],
        used=[False, False],
        stage=["scans", "timeseries"],
        reason=["truncated", "too short"],
        pheno_dx=["1", "1"],
    )
    (row,) = joined_cohort(named(runs), "pheno_dx").to_dict("records")
    assert row["reason"] == "none of its 2 runs is left; one of them: too short"
    assert row["stage"] == "timeseries"


def test_runs_of_two_labels_are_no_unit_and_other_differences_are_said(caplog):
    runs = runs_of(
        scan_id=["a1", "a2", "b1", "b2"],
        participant_id=["a", "a", "b", "b"],
        session=["1", "2", "1", "2"],
        pheno_dx=["1", "2", "1", "1"],
        age=[30.0, 31.0, 40.0, 41.0],
    )
    cohort = joined_cohort(named(runs), "pheno_dx")
    assert cohort["used"].tolist() == [False, True]
    assert cohort["reason"][0] == "its runs have different labels: 1, 2; join them by session"
    assert "2 joined series have runs that differ in age; the value of the first run" in caplog.text
    by_session = joined_cohort(named(runs, "session"), "pheno_dx")
    assert by_session["used"].all()
    assert by_session["age"].tolist() == [30, 31, 40, 41]


def test_copies_are_found_by_any_of_the_joined_runs():
    units = pd.DataFrame(
        {
            "scan_id": ["u", "v"],
            "dataset": "d",
            "person": ["p", "q"],
            "file": [["f1", "f2"], ["f3"]],
            "source_checksum": [["x", None], ["z"]],
        }
    )
    runs = pd.DataFrame(
        {
            "scan_id": ["r"],
            "dataset": "e",
            "person": ["s"],
            "file": ["f9"],
            "source_checksum": ["x"],
        }
    )
    found = copies(units, runs)
    assert found[["scan_id", "other", "mark"]].values.tolist() == [["u", "r", "source_checksum"]]
    other = copies(runs.assign(source_checksum="-", file="f2"), units)
    assert other[["scan_id", "other", "mark"]].values.tolist() == [["r", "u", "file"]]


@pytest.mark.study
def test_a_task_has_one_row_per_participant(study):
    data = assemble(study.config, TASK)
    cohort = data.cohort.set_index("scan_id")
    assert len(cohort) == 30
    assert cohort.index[4] == "demo_s04"
    assert data.scans["participant_id"].is_unique
    assert len(data.fc) == len(data.scans) == cohort["used"].sum()
    assert cohort.loc["demo_s05", ["used", "n_listed"]].tolist() == [True, 2]
    assert cohort.loc["demo_s05", "joined"] == ["demo_s05_run-1"]
    assert cohort.loc["demo_s07", "stage"] == "scans"  # both runs unreadable
    table = pd.concat(
        read_table(study.paths.batch("connectivity", "demo", b), "connectivity").to_pandas()
        for b in range(2)
    ).set_index("scan_id")
    for i in (0, 7):
        assert data.fc[i].tolist() == table["fc"][data.scans["scan_id"][i]].tolist()


@pytest.mark.study
def test_a_notebook_gets_a_row_per_participant(study):
    rows, fc = StudyResults(study.config).connectivity("demo")
    assert len(rows) == len(fc) == 27
    one = rows.set_index("scan_id").loc["demo_s05"]
    assert (one["participant_id"], one["joined"], one["n_listed"]) == ("s05", ["demo_s05_run-1"], 2)


@pytest.mark.study
def test_pre_training_sees_units_and_is_asked_about_all_runs(study):
    index = index_shards(study.config)
    (source,) = index.sources
    assert source.n_scans == source.n_participants
    seen = scans_seen(study.config, "demo")
    assert seen
    assert len(seen) == 2 * source.n_scans
    shown = scans_shown(study.config)
    data = assemble(study.config, TASK)
    tested = data.scans[data.scans["split"] == "test"]
    refuse_shown(tested, shown)
    stolen = shown.assign(person="x").head(1)
    stolen["source_checksum"] = tested["source_checksum"].iloc[-1][1]  # of the second run
    with pytest.raises(LeakError, match="a copy of the file"):
        refuse_shown(tested, stolen)


@pytest.mark.study
def test_a_unit_kept_for_evaluation_in_a_shard_is_refused(study, monkeypatch):
    from brainmass_core.pretrain.data import index

    test = set(study.scans.loc[study.scans["split"] == "test", "scan_id"])
    allowed = index._allowed(study.paths.scans("demo"))
    assert not test & set(allowed)
    less = {s: p for s, p in allowed.items() if p != "s04"}
    assert len(less) == len(allowed) - 2
    monkeypatch.setattr(index, "_allowed", lambda path: less)
    with pytest.raises(ShardError, match=r"1 scans are not free for pre-training .*: demo_s04;"):
        index_shards(study.config)


@pytest.mark.study
def test_scores_and_pages_are_of_participants(study):
    run(study.config, TASK)
    folder = study.paths.finetune(TASK)
    cohort = read_table(folder / "cohort.parquet", "cohort").to_pandas()
    assert {"joined", "n_listed"} <= set(cohort)
    predictions = read_table(folder / "predictions.parquet", "predictions").to_pandas()
    one = predictions[predictions["method"] == "fc_svm"].groupby("repeat")["participant_id"]
    assert (one.nunique() == one.size()).all()
    assert set(predictions["scan_id"]) <= set(cohort.loc[cohort["used"], "scan_id"])
    from brainmass_core.report import cohort as people
    from brainmass_core.report.results import read_results
    from brainmass_core.report.stage import _people

    results = read_results(study.config, TASK)
    shown = _people(results, people.read_entries(study.config, ["demo"]))
    chart = {s.title: (s.n_scans, s.counted, s.lost) for s in shown["chart"]}
    # of 60 runs, those of s00, one of s05 and both of s07 are unreadable, those of s03 excluded
    assert chart["Scans listed"] == (60, "runs", 0)
    assert chart["Readable"] == (55, "runs", 5)
    assert chart["Passed quality control"] == (53, "runs", 2)
    assert chart["With time series"] == (53, "runs", 0)
    assert chart["Joined"] == (27, "joined series", 0)
    assert chart["With functional connectivity"] == (27, "joined series", 0)
    assert chart["Labelled, within the task's criteria"] == (25, "joined series", 2)  # s01, s02
    assert chart["In the folds"] == (25, "joined series", 0)
    notes = next(s.notes for s in shown["chart"] if s.title == "Joined")
    assert notes == ["1 from 1 run", "26 from 2 runs", "1 without all of their runs"]
    flow = {r["Stage"]: (r["In"], r["Ok"], r["Counted"]) for r in shown["flow"]}
    assert flow["timeseries"] == (55, 53, "runs")
    assert flow["connectivity"] == (27, 27, "joined series")
    assert flow["finetune"] == (27, 25, "joined series")
    assert all(r["Missing"] == 0 for r in shown["flow"])
