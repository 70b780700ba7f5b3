import shutil

import numpy as np
import pandas as pd
import pytest
from synthetic_study import (
    METHODS,
    add_to_shards,
    copy_of,
    write_model,
    write_study,
    write_two_cohorts,
)

from brainmass_core.config import parse_config
from brainmass_core.finetune import LeakError, TaskError, run
from brainmass_core.finetune.cohort.dataset import assemble
from brainmass_core.finetune.folds.participants import make_folds
from brainmass_core.finetune.methods.fitting import confounds_of, predict_folds
from brainmass_core.tables import METRICS, PREDICTIONS, read_table

pytestmark = pytest.mark.study


def results(study, name) -> pd.DataFrame:
    folder = study.paths.finetune("demo_task")
    return read_table(folder / f"{name}.parquet", name).to_pandas()


def test_a_planted_difference_is_found_and_confounds_do_not_explain_it(finished):
    metrics = results(finished, "metrics").set_index("method")
    assert metrics.loc["fc_svm", "auc"] > 0.85
    assert metrics.loc["fc_svm", "auc_low"] > metrics.loc["chance", "auc"]
    assert metrics.loc["confounds_svm", "auc"] < 0.75
    assert set(METRICS.names) == {"method", *metrics.columns}


def test_without_a_difference_no_method_is_better_than_chance(tmp_path):
    study = write_study(tmp_path, effect=0.0)
    run(study.config, "demo_task")
    for row in results(study, "metrics").itertuples():
        assert row.auc_low <= 0.5 <= row.auc_high, row.method


def test_permuted_labels_take_a_planted_difference_away(tmp_path):
    study = write_study(tmp_path, methods=("fc_svm",))
    finetune = study.config.finetune.model_copy(update={"permute_labels": True})
    run(study.config.model_copy(update={"finetune": finetune}), "demo_task")
    row = results(study, "metrics").set_index("method").loc["fc_svm"]
    assert row["auc_low"] <= 0.5 <= row["auc_high"]


def test_confounds_find_a_difference_that_is_only_motion(tmp_path):
    study = write_study(tmp_path, effect=0.0, motion_effect=0.5, methods=("confounds_svm",))
    run(study.config, "demo_task")
    metrics = results(study, "metrics").set_index("method")
    assert metrics.loc["confounds_svm", "auc"] > 0.85


def test_all_methods_are_tested_on_the_same_folds(finished):
    table = results(finished, "predictions")
    assert list(table.columns) == PREDICTIONS.names
    keys = ["repeat", "fold", "scan_id", "y_true", "n_train"]
    first = table.loc[table["method"] == "chance", keys].reset_index(drop=True)
    assert set(table["method"]) == set(METHODS)
    for method in METHODS[1:]:
        other = table.loc[table["method"] == method, keys].reset_index(drop=True)
        pd.testing.assert_frame_equal(first, other)
    assert (results(finished, "metrics")["n_participants"] * 2 == len(first) / 2).all()


def test_the_same_run_writes_the_same_bytes(finished, tmp_path):
    again = copy_of(finished, tmp_path)
    shutil.rmtree(again.paths.finetune("demo_task"))
    run(again.config, "demo_task")
    folders = [s.paths.finetune("demo_task") for s in (finished, again)]
    first, second = ({f.name: f.read_bytes() for f in folder.iterdir()} for folder in folders)
    assert len(first) == 6
    assert first == second


@pytest.mark.parametrize("method", ["fc_svm", "confounds_svm"])
def test_a_test_scan_is_scored_without_a_look_at_the_others(finished, method):
    data = assemble(finished.config, "demo_task")
    y = data.scans["y"].to_numpy()
    fold = make_folds(data.scans, 3, 1, seed=0)[0]
    if method == "fc_svm":
        features, changed = data.fc, data.fc.copy()
        changed[fold.test[1:]] = 50.0
    else:
        features = confounds_of(data.scans)
        changed = features.copy()
        changed.loc[fold.test[1:], "age"] = np.nan
        changed.loc[fold.test[1:], "site"] = "never seen"
    before = predict_folds(method, features, y, [fold], seed=0)
    after = predict_folds(method, changed, y, [fold], seed=0)
    assert after["y_score"].iloc[0] == pytest.approx(before["y_score"].iloc[0], rel=1e-5)
    assert not np.allclose(after["y_score"].iloc[1:], before["y_score"].iloc[1:])


def test_an_evaluation_scan_in_a_shard_stops_the_task(tmp_path):
    study = write_study(tmp_path)
    test = study.scans.loc[study.scans["split"] == "test", "scan_id"].iloc[5]
    add_to_shards(study, test)
    with pytest.raises(LeakError, match=test):
        run(study.config, "demo_task")


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"n_rois": 15}, "n_rois: the model has 15, the task's FC 20"),
        ({"estimator": "ledoit_wolf"}, "estimator: the model has 'ledoit_wolf'"),
        ({"atlas": "other"}, "atlas: the model has 'other'"),
    ],
)
def test_a_model_of_other_fc_is_refused(tmp_path, settings, found):
    study = write_study(tmp_path, methods=("brainmass_svm",))
    write_model(study, **settings)
    with pytest.raises(TaskError, match=found):
        run(study.config, "demo_task")


def test_external_data_are_all_for_evaluation(tmp_path):
    study = write_study(tmp_path, role="external", methods=("fc_svm",))
    run(study.config, "demo_task")
    table = results(study, "predictions")
    assert table["scan_id"].nunique() == results(study, "cohort")["used"].sum()


def test_one_cohort_teaches_and_the_other_is_tested(tmp_path, caplog):
    methods = ("chance", "confounds_svm", "fc_svm", "brainmass_svm")
    study = write_two_cohorts(tmp_path, methods=methods)
    raw = study.config.model_dump(mode="json", exclude_unset=True)
    raw["tasks"]["across"]["confounds"] = "combat"
    run(parse_config(raw), "across")
    folder = study.paths.finetune("across")
    table = read_table(folder / "predictions.parquet", "predictions").to_pandas()
    cohort = read_table(folder / "cohort.parquet", "cohort").to_pandas()
    used = cohort[cohort["used"]]
    assert set(table["dataset"]) == {"replication"}
    assert (table["n_train"] == (used["dataset"] == "demo").sum()).all()
    here = used.loc[used["dataset"] == "replication", "scan_id"]
    assert set(table["scan_id"]) == set(here)
    metrics = read_table(folder / "metrics.parquet", "metrics").to_pandas().set_index("method")
    assert metrics.loc["fc_svm", "auc"] > 0.8
    assert metrics["corrected_low"].isna().all(), "one training set tells nothing of others"
    assert (metrics.loc[["fc_svm", "brainmass_svm"], "n_unadjusted"] == len(here)).all()
    assert metrics.loc[["chance", "confounds_svm"], "n_unadjusted"].isna().all()
    assert f"does not adjust {len(here)} tested scans" in caplog.text
