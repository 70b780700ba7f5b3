import numpy as np
import pandas as pd
import pytest
from synthetic_study import add_to_shards, write_model, write_study, write_two_cohorts

from brainmass_core.config import parse_config
from brainmass_core.finetune import LeakError, TaskError, run
from brainmass_core.finetune.dataset import assemble
from brainmass_core.finetune.folds import Fold, make_folds
from brainmass_core.finetune.methods import confounds_of, predict_folds
from brainmass_core.tables import METRICS, PREDICTIONS, read_table

ALL = ("chance", "confounds_svm", "fc_svm", "tangent_ridge", "untrained_svm", "brainmass_svm")


def results(study, name) -> pd.DataFrame:
    folder = study.paths.finetune("demo_task")
    return read_table(folder / f"{name}.parquet", name).to_pandas()


def test_a_planted_difference_is_found_and_confounds_do_not_explain_it(tmp_path):
    study = write_study(tmp_path)
    run(study.config, "demo_task")
    metrics = results(study, "metrics").set_index("method")
    assert metrics.loc["fc_svm", "auc"] > 0.85
    assert metrics.loc["fc_svm", "auc_low"] > metrics.loc["chance", "auc"]
    assert metrics.loc["confounds_svm", "auc"] < 0.75
    assert list(read_table(study.paths.finetune("demo_task") / "metrics.parquet", "metrics").schema)
    assert set(METRICS.names) == {"method", *metrics.columns}


def test_without_a_difference_no_method_is_better_than_chance(tmp_path):
    study = write_study(tmp_path, effect=0.0)
    run(study.config, "demo_task")
    for row in results(study, "metrics").itertuples():
        assert row.auc_low <= 0.5 <= row.auc_high, row.method


def test_permuted_labels_take_a_planted_difference_away(tmp_path):
    study = write_study(tmp_path)
    finetune = study.config.finetune.model_copy(update={"permute_labels": True})
    run(study.config.model_copy(update={"finetune": finetune}), "demo_task")
    row = results(study, "metrics").set_index("method").loc["fc_svm"]
    assert row["auc_low"] <= 0.5 <= row["auc_high"]


def test_confounds_find_a_difference_that_is_only_motion(tmp_path):
    study = write_study(tmp_path, effect=0.0, motion_effect=0.5)
    run(study.config, "demo_task")
    metrics = results(study, "metrics").set_index("method")
    assert metrics.loc["confounds_svm", "auc"] > 0.85


def test_all_methods_are_tested_on_the_same_folds(tmp_path):
    study = write_study(tmp_path, methods=ALL, runs=2)
    write_model(study)
    run(study.config, "demo_task")
    table = results(study, "predictions")
    assert list(table.columns) == PREDICTIONS.names
    keys = ["repeat", "fold", "scan_id", "y_true", "n_train"]
    first = table.loc[table["method"] == "chance", keys].reset_index(drop=True)
    assert set(table["method"]) == set(ALL)
    for method in ALL[1:]:
        other = table.loc[table["method"] == method, keys].reset_index(drop=True)
        pd.testing.assert_frame_equal(first, other)
    assert (results(study, "metrics")["n_participants"] * 2 == len(first) / 2).all()


def test_the_same_run_writes_the_same_bytes(tmp_path):
    study = write_study(tmp_path, methods=ALL)
    write_model(study)
    written = []
    for _ in range(2):
        run(study.config, "demo_task")
        folder = study.paths.finetune("demo_task")
        written.append({f.name: f.read_bytes() for f in sorted(folder.glob("*"))})
    assert len(written[0]) == 5
    assert written[0] == written[1]


@pytest.mark.parametrize("method", ["fc_svm", "confounds_svm"])
def test_a_test_scan_is_scored_without_a_look_at_the_others(tmp_path, method):
    data = assemble(write_study(tmp_path).config, "demo_task")
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
    study = write_study(tmp_path, role="external")
    run(study.config, "demo_task")
    table = results(study, "predictions")
    assert table["scan_id"].nunique() == results(study, "cohort")["used"].sum()


def test_a_readout_unit_that_wakes_up_at_test_leaves_a_scan_its_score():
    # 90 SD away in one unit of many, a radial kernel alone would forget everything else
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    features = rng.standard_normal((80, 20)) + 1.5 * y[:, None]
    features[:, 0] = 0.001 * rng.standard_normal(80)
    woken = features.copy()
    woken[60:, 0] = 1.0
    fold = Fold(0, 0, np.arange(60), np.arange(60, 80))
    plain, other = (
        predict_folds("brainmass_svm", x, y, [fold], seed=0)["y_pred"] for x in (features, woken)
    )
    assert (plain == y[60:]).mean() > 0.9
    assert (other == y[60:]).mean() > 0.9


def test_one_cohort_teaches_and_the_other_is_tested(tmp_path, caplog):
    study = write_two_cohorts(tmp_path, methods=ALL)
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
    assert f"leaves {len(here)} tested scans as they are" in caplog.text
