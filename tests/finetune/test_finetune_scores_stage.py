"""Regressions, several classes and protocols, from the tables of a study to its scores."""

import numpy as np
import pandas as pd
import pytest
from synthetic_study import write_model, write_study

from brainmass_core.finetune import run
from brainmass_core.tables import read_table

pytestmark = pytest.mark.study


def table(study, name):
    folder = study.paths.finetune("demo_task")
    return read_table(folder / f"{name}.parquet", name).to_pandas()


def test_a_planted_number_is_predicted_and_the_variance_stands_beside_the_error(tmp_path):
    study = write_study(
        tmp_path, methods=("chance", "confounds_ridge", "fc_ridge", "fc_logistic"),
        kind="regression", classes={}, transform="zscore", exclude="pheno_dx == '9'",
        protocol={"n_splits": 3, "n_repeats": 1},
    )  # fmt: skip
    run(study.config, "demo_task")
    found = table(study, "metrics").set_index("method")
    assert set(found.index) == {"chance", "confounds_ridge", "fc_ridge"}, "no logistic of a number"
    assert found.loc["fc_ridge", "r2"] > 0.2
    assert found.loc["chance", "r2"] <= 0
    assert found.loc["chance", "mse"] >= found.loc["chance", "target_variance"]
    assert found.loc["fc_ridge", "minus_best_low"] > 0
    assert found.loc["fc_ridge", "p_permutation"] < 0.01
    assert found["auc"].isna().all()
    assert len(table(study, "roc")) == 0
    assert table(study, "predictions")["y_true"].isin([1.0, 2.0]).all()


def test_three_classes_run_from_table_to_scores(tmp_path):
    study = write_study(
        tmp_path, n_participants=90,
        methods=("chance", "fc_svm", "fc_ridge", "fc_logistic", "brainmass_knn"),
        classes={"a": ["1"], "b": ["2"], "c": ["3"]}, label="three",
        protocol={"n_splits": 3, "n_repeats": 1},
    )  # fmt: skip
    write_model(study)
    scans_path = study.paths.scans("demo")
    scans = study.scans.copy()
    thirds = pd.Series(np.arange(len(scans)) // 2 % 2 + 1, index=scans.index)
    scans["pheno_three"] = np.where(scans["pheno_dx"] == "2.0", "3", thirds.astype(str))
    from brainmass_core.scans.table import Unmatched, write_scans

    write_scans(scans_path, scans, Unmatched(), "hash")
    run(study.config, "demo_task")
    found = table(study, "metrics").set_index("method")
    assert found.loc["fc_logistic", "auc"] > found.loc["chance", "auc"] + 0.1
    assert found.loc["fc_logistic", "brier"] > 0
    assert np.isnan(found.loc["fc_svm", "brier"])
    assert set(table(study, "calibration")["class_number"]) == {0, 1, 2}


@pytest.mark.parametrize("protocol", ["leave_one_site_out", "fixed_split"])
def test_protocols_run_to_scores(tmp_path, protocol):
    settings = {"kind": protocol, "n_repeats": 3, "min_per_class": 3}
    study = write_study(tmp_path, protocol=settings, confounds="regress")
    run(study.config, "demo_task")
    found = table(study, "metrics").set_index("method")
    assert found.loc["fc_svm", "auc"] > 0.8
    resampled = protocol == "fixed_split"
    assert found["corrected_low"].notna().any() == resampled
