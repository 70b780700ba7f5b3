"""Zero-shot and few-shot in the stage: tables for two cohorts, and what is refused."""

from __future__ import annotations

import pytest
from synthetic_study import write_study, write_two_cohorts

from brainmass_core.config import parse_config
from brainmass_core.finetune import LeakError, TaskError, run_few_shot, run_zero_shot
from brainmass_core.pipeline.paths import Paths
from brainmass_core.scans.table import Unmatched, write_scans
from brainmass_core.tables import read_table

pytestmark = pytest.mark.study


def result(study, task, name):
    path = Paths(study.config.results).finetune(task) / f"{name}.parquet"
    return read_table(path, name).to_pandas()


@pytest.mark.parametrize("source", ["demo_task", ["demo"]])
def test_the_stage_carries_a_task_or_data_sets_over(tmp_path, source):
    study = write_two_cohorts(tmp_path, source)
    run_zero_shot(study.config, "unseen")
    rows = result(study, "unseen", "zero_shot").set_index("method")
    assert set(rows["source"]) == {source if isinstance(source, str) else "demo"}
    assert len(rows) == 12
    assert rows.loc["fc_svm", "auc_low"] > 0.7
    predictions = result(study, "unseen", "zero_shot_predictions")
    assert set(predictions["dataset"]) == {"replication"}


def test_the_stage_writes_learning_curves_the_same_each_time(tmp_path):
    study = write_study(tmp_path, n_participants=80, effect=0.5)
    few = {"shots": [1, 8], "n_draws": 4, "features": ["fc"]}
    raw = study.config.model_dump(mode="json", exclude_unset=True) | {"few_shot": few}
    config = parse_config(raw)
    folder, written = study.paths.finetune("demo_task"), []
    for _ in range(2):
        run_few_shot(config, "demo_task")
        written.append([(folder / f"{n}.parquet").read_bytes() for n in ("few_shot",)])
    assert written[0] == written[1]
    curves = result(study, "demo_task", "learning_curve").set_index(["method", "k"])
    assert curves.loc[("fc_svm", 8), "auc"] > curves.loc[("fc_svm", 1), "auc"]


def test_a_target_in_the_shards_stops_the_stage(tmp_path):
    study = write_two_cohorts(tmp_path)
    path = study.paths.batch("pfc", "demo", 0)
    scans = read_table(study.paths.scans("demo"), "scans")
    shown = read_table(path, "pfc", ["scan_id"])["scan_id"][0].as_py()
    # the same file, used in pre-training under another name
    table = scans.to_pandas()
    table.loc[table["scan_id"] == shown, "bold_path"] = study.scans["bold_path"].iloc[9]
    write_scans(study.paths.scans("demo"), table, Unmatched("participants.tsv", [], []), "hash")
    with pytest.raises(LeakError, match="replication_s09"):
        run_zero_shot(study.config, "unseen")


def test_parts_that_were_not_asked_for_say_so(tmp_path):
    study = write_study(tmp_path)
    with pytest.raises(TaskError, match=r"few_shot\.shots is empty"):
        run_few_shot(study.config, "demo_task")
    with pytest.raises(TaskError, match="zero_shot_from: not given"):
        run_zero_shot(study.config, "demo_task")


@pytest.mark.parametrize("handling", ["regress", "match"])
def test_confounds_are_handled_with_what_the_source_tells(tmp_path, handling):
    study = write_two_cohorts(tmp_path, confounds=handling)
    for runs, task in ((run_zero_shot, "unseen"), (run_few_shot, "demo_task")):
        runs(study.config, task)
    rows = result(study, "unseen", "zero_shot").set_index("method")
    assert rows.loc["fc_svm", "auc_low"] > 0.6
    assert (rows["n_train_scans"] < 56).all() == (handling == "match")
    assert len(result(study, "demo_task", "learning_curve"))
