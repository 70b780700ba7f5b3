import numpy as np
import pandas as pd
import pytest
from synthetic_study import N_ROIS, write_fc, write_study

from brainmass_core.config import parse_config
from brainmass_core.finetune.cohort.dataset import assemble
from brainmass_core.finetune.cohort.labels import TaskError
from brainmass_core.finetune.confounds import confounds_of
from brainmass_core.finetune.folds.protocols import protocol_folds
from brainmass_core.finetune.methods.features import Features
from brainmass_core.finetune.methods.fitting import Design, predict_folds
from brainmass_core.scans.table import Unmatched, write_scans

pytestmark = pytest.mark.study


def test_every_scan_has_exactly_one_fate(tmp_path):
    study = write_study(tmp_path, exclude="mean_fd > 0.35")
    cohort = assemble(study.config, "demo_task").cohort.set_index("scan_id")
    assert sorted(cohort.index) == sorted(study.scans["scan_id"])
    assert (cohort["used"] == cohort["stage"].isna()).all()
    assert (cohort["used"] == cohort["reason"].isna()).all()
    assert cohort.loc["demo_s00_run-0", "stage"] == "scans"
    assert "truncated" in cohort.loc["demo_s00_run-0", "reason"]
    assert "no value in column 'dx'" in cohort.loc["demo_s01_run-0", "reason"]
    assert "label 9 is in no class" in cohort.loc["demo_s02_run-0", "reason"]
    assert cohort.loc["demo_s03_run-0", "stage"] == "timeseries"
    moved = cohort[cohort["reason"].fillna("").str.contains("query")]
    assert len(moved)
    assert (moved["mean_fd"] > 0.35).all()
    assert (cohort.loc[cohort["used"], "mean_fd"] <= 0.35).all()


def test_fc_stands_beside_its_scan(tmp_path):
    study = write_study(tmp_path)
    before = assemble(study.config, "demo_task")
    marked = before.scans["scan_id"].iloc[7]
    batch = int(before.scans["batch"].iloc[7])
    ids = before.scans.loc[before.scans["batch"] == batch, "scan_id"]
    rows = before.scans.index[before.scans["batch"] == batch]
    fc = {s: before.fc[r] for s, r in zip(ids, rows, strict=True)}
    fc[marked] = np.full(190, 0.25, np.float32)
    write_fc(study.paths, batch, dict(reversed(fc.items())))
    after = assemble(study.config, "demo_task")
    assert (after.fc[7] == 0.25).all()
    others = np.arange(len(after.fc)) != 7
    assert (after.fc[others] == before.fc[others]).all()
    assert after.n_rois == N_ROIS
    assert after.estimator == "pearson"


def test_fc_that_is_not_finite_is_dropped_and_counted(tmp_path):
    study = write_study(tmp_path)
    data = assemble(study.config, "demo_task")
    here = data.scans["batch"] == 0
    fc = dict(zip(data.scans.loc[here, "scan_id"], data.fc[here].copy(), strict=True))
    broken = next(iter(fc))
    fc[broken][3] = np.nan
    write_fc(study.paths, 0, fc)
    after = assemble(study.config, "demo_task")
    assert broken not in set(after.scans["scan_id"])
    row = after.cohort.set_index("scan_id").loc[broken]
    assert "not finite" in row["reason"]


def test_label_column_that_does_not_exist_suggests_the_nearest(tmp_path):
    study = write_study(tmp_path, label="dxx")
    with pytest.raises(TaskError, match=r"'dxx'.*did you mean 'dx'"):
        assemble(study.config, "demo_task")


def test_label_with_one_class_names_column_found_and_expected(tmp_path):
    study = write_study(tmp_path, classes={"control": ["1"], "patient": ["7"]})
    with pytest.raises(TaskError) as error:
        assemble(study.config, "demo_task")
    text = str(error.value)
    assert "'patient'" in text
    assert "column 'dx'" in text
    assert "'2.0' (29 scans)" in text
    assert "missing (1 scans)" in text
    assert "'7'" in text


def test_classes_that_share_a_value_in_another_spelling_are_refused(tmp_path):
    study = write_study(tmp_path, classes={"control": ["1"], "patient": ["1.0"]})
    with pytest.raises(TaskError, match="two classes"):
        assemble(study.config, "demo_task")


@pytest.mark.parametrize("query", ["pheno_dx > 3", "no_such == 1", "1 + 1"])
def test_query_that_cannot_be_evaluated_is_explained(tmp_path, query):
    study = write_study(tmp_path, exclude=query)
    with pytest.raises(TaskError, match=r"tasks.demo_task.exclude.*phenotypes are text"):
        assemble(study.config, "demo_task")


def test_a_target_is_not_predicted_from_itself(tmp_path):
    """Age predicted from age has an R2 of 1: it is no baseline."""
    task = {"kind": "regression", "classes": {}, "label": "age"}
    task["protocol"] = {"n_splits": 2, "n_repeats": 1}
    study = write_study(tmp_path, methods=("confounds_ridge",), **task)
    scans = study.scans.assign(pheno_age=study.scans["age"].astype(str))
    write_scans(study.paths.scans("demo"), scans, Unmatched("participants.tsv", [], []), "hash")
    plain = study.config.model_dump(mode="json", exclude_unset=True)
    plain["datasets"]["demo"]["phenotype"] = {"age_column": "age"}
    config = parse_config(plain)
    named, copied = assemble(config, "demo_task"), assemble(study.config, "demo_task")
    assert named.target_confounds == ("age",)
    assert copied.target_confounds == ()
    seen = Features(config, named)["confounds"]
    assert seen["age"].isna().all()
    rest = confounds_of(named.scans).drop(columns="age")
    pd.testing.assert_frame_equal(seen.drop(columns="age"), rest)
    scores = []
    for data in (named, copied):
        folds = protocol_folds(data.scans, config.tasks["demo_task"].protocol, 0, "demo_task")
        design = Design.of(config.tasks["demo_task"], data.scans)
        found = predict_folds(
            "confounds_ridge", Features(config, data)["confounds"], design, folds, 0
        )
        y = data.scans["y"].to_numpy()[found["row"]]
        scores.append(np.corrcoef(y, found["y_pred"])[0, 1])
    assert scores[0] < 0.5 < 0.95 < scores[1]
