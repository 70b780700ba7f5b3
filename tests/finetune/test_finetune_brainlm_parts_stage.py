"""Few-shot and zero-shot with a BrainLM: draws, refusals and scores as for other features."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC
from synthetic_series_study import (
    BUILD,
    about_model,
    embedding_by_hand,
    results,
    series_of,
    set_series,
    write_series_study,
    write_two_series_cohorts,
)

from brainmass_core.config import parse_config
from brainmass_core.finetune import LeakError, TaskError, run_few_shot, run_zero_shot
from brainmass_core.finetune.cohort.dataset import assemble
from brainmass_core.finetune.evaluation import task_seed
from brainmass_core.finetune.few_shot import draw_shots
from brainmass_core.finetune.folds.protocols import protocol_folds
from brainmass_core.models.pretrained import seal
from brainmass_core.scans.table import Unmatched, write_scans
from brainmass_core.tables import read_table

pytestmark = pytest.mark.study

TASK = "demo_task"
FEATURES = {"fc", "series", "brainlm", "untrained_brainlm"}
CLASSIFIERS = {"svm", "logistic", "prototype", "knn"}
METHODS = {f"{f}_{c}" for f in FEATURES for c in CLASSIFIERS}


def few(study, **settings):
    """The study's configuration with learning curves."""
    raw = study.config.model_dump(mode="json", exclude_unset=True)
    return parse_config(raw | {"few_shot": {"shots": [2, 8], "n_draws": 4} | settings})


def test_curves_of_all_features_are_of_the_same_draws_and_dynamics_are_learned(tmp_path):
    study = write_series_study(tmp_path, n_timepoints=80, effect=0.0, locked=1.0)
    run_few_shot(few(study, n_draws=3), TASK)
    rows, curves = results(study, "few_shot"), results(study, "learning_curve")
    assert set(curves["method"]) == METHODS
    keys = ["k", "draw", "repeat", "fold", "n_train_scans", "n_test_scans"]
    tables = [t[keys].reset_index(drop=True) for _, t in rows.groupby("method")]
    assert all(t.equals(tables[0]) for t in tables)
    auc = curves.set_index(["method", "k"])["auc"]
    for features in ("brainlm", "untrained_brainlm"):
        assert auc[(f"{features}_svm", 8)] > 0.8
    assert auc[("fc_svm", 8)] < 0.7


def test_a_draw_scores_as_a_plain_svm_on_the_embedding_made_by_hand(tmp_path):
    study = write_series_study(tmp_path, n_timepoints=80)
    config = few(study, n_draws=2, features=["brainlm"], classifiers=["svm"])
    run_few_shot(config, TASK)
    data, series = assemble(config, TASK), series_of(study)
    model, scaling = BUILD["brainlm-tiny"]("tiny", seed=3).eval(), about_model(study)["scaling"]
    x = np.stack([embedding_by_hand(model, series[s], scaling) for s in data.scans["scan_id"]])
    y, who = data.scans["y"].to_numpy(), data.scans["participant"].to_numpy()
    seed = task_seed(config, TASK)
    fold = protocol_folds(data.scans, config.tasks[TASK].protocol, seed, TASK)[0]
    state = np.random.SeedSequence([seed, fold.repeat, fold.fold]).generate_state(1)[0]
    found = results(study, "few_shot").set_index(["k", "draw", "repeat", "fold"])["auc"]
    for draw in draw_shots(y, who, fold.train, [2, 8], 2, int(state)):
        centred = x - x[draw.rows].mean(axis=0)
        # the mean square of the coordinates; there is one fewer than scans
        scale = np.sqrt((centred[draw.rows] ** 2).sum() / len(draw.rows) / (len(draw.rows) - 1))
        svm = SVC(kernel="linear").fit(centred[draw.rows] / scale, y[draw.rows])
        by_hand = roc_auc_score(y[fold.test], svm.decision_function(centred[fold.test] / scale))
        assert found[(draw.k, draw.number, 0, 0)] == pytest.approx(by_hand, abs=0.01)


def test_scans_without_a_window_are_drawn_and_tested_by_no_feature(tmp_path):
    study = write_series_study(tmp_path, n_timepoints=80)
    config = few(study, features=["fc", "series"], classifiers=["svm"])
    run_few_shot(config, TASK)
    before = results(study, "few_shot").groupby("method")["n_test_scans"].sum()
    tested = study.scans.loc[study.scans["split"] == "test", "scan_id"].iloc[8:12]
    set_series(study, {s: series_of(study)[s][:30] for s in tested})
    run_few_shot(config, TASK)
    after = results(study, "few_shot").groupby("method")["n_test_scans"].sum()
    assert (before - after == 4 * 4 * 2).all(), "4 scans, each in 4 draws of 2 sizes"


def test_dynamics_carry_over_to_a_cohort_of_which_no_label_is_used(tmp_path):
    study = write_two_series_cohorts(tmp_path)
    run_zero_shot(study.config, "unseen")
    rows = results(study, "zero_shot", "unseen").set_index("method")
    assert set(rows.index) == METHODS
    assert rows.loc["brainlm_svm", "auc_low"] > 0.6
    assert rows.loc["untrained_brainlm_svm", "auc_low"] > 0.6
    assert rows.loc["fc_svm", "auc"] < 0.7
    assert set(results(study, "zero_shot_predictions", "unseen")["dataset"]) == {"replication"}


@pytest.mark.parametrize("handling", ["regress", "combat", "match"])
def test_confounds_are_handled_as_for_all_other_features(tmp_path, handling):
    study = write_series_study(tmp_path, n_timepoints=80, confounds=handling)
    asked = {"shots": [4], "n_draws": 2, "features": ["fc", "brainlm"], "classifiers": ["svm"]}
    plain = {TASK: study.config.tasks[TASK].model_copy(update={"confounds": "none"})}
    config = few(study, **asked)
    found = {}
    for name, c in (("handled", config), ("plain", config.model_copy(update={"tasks": plain}))):
        run_few_shot(c, TASK)
        found[name] = results(study, "few_shot").set_index("method")["auc"]
    for method in ("fc_svm", "brainlm_svm"):
        assert not np.allclose(found["handled"][method], found["plain"][method])


@pytest.mark.parametrize("handling", ["regress", "match"])
def test_the_source_tells_what_to_do_about_confounds(tmp_path, handling):
    study = write_two_series_cohorts(tmp_path, ["demo"], confounds=handling)
    raw = study.config.model_dump(mode="json", exclude_unset=True)
    raw["zero_shot"] = {"features": ["brainlm", "series"], "classifiers": ["svm"]}
    run_zero_shot(parse_config(raw), "unseen")
    rows = results(study, "zero_shot", "unseen").set_index("method")
    assert (rows["auc_low"] > 0.5).all()
    assert (rows["n_train_scans"] < 56).all() == (handling == "match")


def test_a_target_whose_file_pre_training_was_shown_stops_the_transfer(tmp_path):
    study = write_two_series_cohorts(tmp_path)
    table = read_table(study.paths.scans("demo"), "scans").to_pandas()
    shown = table.index[(table["split"] != "test") & table["excluded_reason"].isna()][3]
    tested = table.index[table["split"] == "test"][3]
    for row, stops in ((tested, "the same file as demo"), (shown, "replication_s09")):
        planted = table.copy()
        planted.loc[row, "bold_path"] = study.scans["bold_path"].iloc[9]
        write_scans(study.paths.scans("demo"), planted, Unmatched("p.tsv", [], []), "hash")
        with pytest.raises(LeakError, match=stops):
            run_zero_shot(study.config, "unseen")


def test_a_tested_scan_among_those_shown_stops_the_curves(tmp_path):
    study = write_series_study(tmp_path, n_timepoints=80)
    table = study.scans.copy()
    tested, shown = "demo_s05_run-0", table.index[table["split"] != "test"][2]
    path = table.loc[table["scan_id"] == tested, "bold_path"].iloc[0]
    table.loc[shown, "bold_path"] = path
    write_scans(study.paths.scans("demo"), table, Unmatched("p.tsv", [], []), "hash")
    with pytest.raises(LeakError, match=tested):
        run_few_shot(few(study), TASK)


def test_a_model_of_other_parcels_is_refused(tmp_path):
    study = write_two_series_cohorts(tmp_path, n_participants=30)
    path = study.paths.pretrain("brainlm-tiny") / "config.json"
    path.write_text(json.dumps(about_model(study) | {"atlas": "other"}))
    seal(path.parent)
    for stage, task in ((run_few_shot, TASK), (run_zero_shot, "unseen")):
        with pytest.raises(TaskError, match="has atlas 'other' with 20 parcels"):
            stage(study.config, task)
