"""A BrainLM in the tasks: which part of a recording it reads, which scans are excluded, what is
refused.
"""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_series_study import (
    BUILD,
    WINDOW,
    about_model,
    embedding_by_hand,
    results,
    series_of,
    set_series,
    spoil,
    write_brainlm,
    write_series_study,
)
from synthetic_study import N_ROIS

from brainmass_core.config import parse_config
from brainmass_core.finetune import LeakError, TaskError, run
from brainmass_core.finetune.cohort.dataset import assemble
from brainmass_core.finetune.methods.features import Features
from brainmass_core.models.pretrained import ModelError
from brainmass_core.scans.table import Unmatched, write_scans
from brainmass_core.tables import (
    SCANS,
    TableError,
    from_rows,
    read_table,
    timeseries_schema,
    write_table,
)
from brainmass_core.timeseries.sampling import resampled
from brainmass_core.timeseries.table import bold_by_scan

pytestmark = pytest.mark.study

TASK = "demo_task"


@pytest.mark.parametrize("model", BUILD)
def test_the_embedding_is_the_mean_over_the_windows_of_the_scaled_series(tmp_path, model):
    study = write_series_study(tmp_path, model=model, n_timepoints=2 * WINDOW + 13)
    data, scaling = assemble(study.config, TASK), about_model(study)["scaling"]
    features, series = Features(study.config, data), series_of(study)
    for name, seed in (("brainlm", 3), ("untrained_brainlm", study.config.seed)):
        found = features[name]
        network = BUILD[model]("tiny", seed=seed).eval()
        for row in (0, 7):
            scan = data.scans["scan_id"][row]
            by_hand = embedding_by_hand(network, series[scan], scaling)
            np.testing.assert_allclose(found[row], by_hand, rtol=1e-4, atol=1e-5)
    assert not np.allclose(features["brainlm"], features["untrained_brainlm"])
    centred = series[data.scans["scan_id"][4]]
    first = (centred - centred.mean(axis=0))[:WINDOW] / np.array(scaling["iqr"])
    first -= np.array(scaling["median"]) / np.array(scaling["iqr"])
    np.testing.assert_allclose(features["series"][4], first.T.ravel(), atol=1e-5)


def test_in_reference_mode_a_recording_has_one_embedding(tmp_path):
    study = write_series_study(tmp_path, n_timepoints=80, brainlm={"mode": "reference"})
    data = assemble(study.config, TASK)
    first, second = (Features(study.config, data)["untrained_brainlm"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_dynamics_that_fc_does_not_show_are_found_on_the_folds_of_all_others(tmp_path):
    study = write_series_study(tmp_path, protocol={"n_splits": 5, "n_repeats": 1})
    run(study.config, TASK)
    metrics = results(study, "metrics").set_index("method")
    assert set(metrics.index) == {
        *("chance", "confounds_svm", "fc_svm", "tangent_ridge", "series_svm"),
        *("untrained_brainlm_svm", "brainlm_svm"),
    }
    for method in ("brainlm_svm", "untrained_brainlm_svm"):
        assert metrics.loc[method, "auc"] > 0.8
        assert metrics.loc[method, "auc_low"] > 0.6
    assert metrics.loc["fc_svm", "auc"] < 0.7
    keys = ["repeat", "fold", "scan_id", "y_true", "n_train"]
    tables = {
        m: t[keys].reset_index(drop=True)
        for m, t in results(study, "predictions").groupby("method")
    }
    assert all(t.equals(tables["fc_svm"]) for t in tables.values())


def test_without_a_difference_in_dynamics_nothing_is_found(tmp_path):
    methods = ("brainlm_svm", "brainlm_logistic", "brainlm_ridge", "brainlm_knn")
    once = {"n_splits": 3, "n_repeats": 1}
    study = write_series_study(
        tmp_path, effect=0.0, n_timepoints=80, methods=methods, protocol=once
    )
    run(study.config, TASK)
    for row in results(study, "metrics").itertuples():
        assert row.auc_low <= 0.5 <= row.auc_high, row.method


def test_a_regression_has_the_variance_of_its_target_beside_the_error(tmp_path):
    methods = ("chance", "fc_svm", "series_svm", "brainlm_svm", "brainlm_logistic")
    task = {"kind": "regression", "label": "dx", "classes": {}, "transform": "zscore"}
    task["exclude"] = "pheno_dx == '9'"
    study = write_series_study(tmp_path, methods=methods, **task)
    run(study.config, TASK)
    metrics = results(study, "metrics").set_index("method")
    assert set(metrics.index) == set(methods) - {"brainlm_logistic"}
    assert metrics["target_variance"].nunique() == 1
    assert (metrics["target_variance"] > 0).all()
    assert metrics.loc["brainlm_svm", "r2"] > 0.1 > metrics.loc["chance", "r2"]


def test_a_value_missing_in_the_midst_of_a_series_stops_the_task_and_is_named(tmp_path):
    study = write_series_study(tmp_path, methods=("brainlm_svm",), n_timepoints=80)
    path = study.paths.batch("timeseries", "demo", 1)
    used = set(assemble(study.config, TASK).scans["scan_id"])
    scan = min(used & set(bold_by_scan(read_table(path, "timeseries"))))
    spoil(path, scan)
    with pytest.raises(TableError, match=rf"demo/1\.parquet: {scan}: 1 parcels, such as 4 "):
        run(study.config, TASK)


def test_scans_too_short_for_a_window_are_left_out_of_all_methods_with_the_reason(tmp_path):
    study = write_series_study(tmp_path, methods=("fc_svm", "brainlm_svm"), n_timepoints=80)
    short = ["demo_s05_run-0", "demo_s06_run-0"]
    whole = series_of(study)
    set_series(study, {s: whole[s][: WINDOW - 1] for s in short})
    run(study.config, TASK)
    cohort = results(study, "cohort").set_index("scan_id")
    assert not cohort.loc[short, "used"].any()
    reason = "brainlm-tiny cannot use its series: found 39 timepoints, expected 40 or more"
    assert set(cohort.loc[short, "reason"]) == {reason}
    assert (cohort["reason"] == reason).sum() == 2
    assert not set(short) & set(results(study, "predictions")["scan_id"])


def test_other_repetition_times_are_treated_as_in_training(tmp_path):
    kept, other = "demo_s04_run-0", "demo_s05_run-0"
    study = write_series_study(tmp_path / "reject", n_timepoints=80)
    set_series(study, {}, {other: 1.0})
    cohort = assemble(study.config, TASK).cohort.set_index("scan_id")
    assert cohort.loc[kept, "used"]
    assert "repetition time of 1 s, expected 2 s" in cohort.loc[other, "reason"]
    study = write_series_study(
        tmp_path / "resample", n_timepoints=80, brainlm={"other_t_r": "resample"}
    )
    set_series(study, {}, {other: 1.0, kept: 0.9})
    data = assemble(study.config, TASK)
    rows = {scan: row for row, scan in enumerate(data.scans["scan_id"])}
    assert kept not in rows, "36 timepoints are left of 80: less than a window"
    as_seen = resampled(series_of(study)[other], 1.0, 2.0)
    by_hand = embedding_by_hand(
        BUILD["brainlm-tiny"]("tiny", seed=3).eval(), as_seen, about_model(study)["scaling"]
    )
    found = Features(study.config, data)["brainlm"][rows[other]]
    np.testing.assert_allclose(found, by_hand, rtol=1e-4, atol=1e-5)


def test_a_parcel_that_was_not_measured_is_zero_as_in_training(tmp_path):
    study = write_series_study(tmp_path, n_timepoints=80)
    data, scan = assemble(study.config, TASK), "demo_s05_run-0"
    series = series_of(study)[scan]
    series[:, 3] = np.nan
    path = study.paths.batch("timeseries", "demo", 1)
    rows = read_table(path, "timeseries").to_pylist()
    next(r for r in rows if r["scan_id"] == scan)["bold"] = series.tolist()
    write_table(path, from_rows(rows, timeseries_schema(N_ROIS)), "timeseries")
    row = data.scans["scan_id"].tolist().index(scan)
    seen = Features(study.config, data)["series"][row].reshape(N_ROIS, WINDOW)
    assert (seen[3] == 0).all()
    assert np.isfinite(seen).all()
    assert (seen[4] != 0).any()


def test_pretraining_on_a_tested_file_under_another_name_stops_the_task(tmp_path):
    study = write_series_study(tmp_path, methods=("fc_svm", "brainlm_svm"), n_timepoints=80)
    raw = study.config.model_dump(mode="json", exclude_unset=True)
    raw["datasets"]["corpus"] = raw["datasets"]["demo"] | {"role": "pretrain", "batches": 1}
    config = parse_config(raw)

    def plant(bold_path: str) -> None:
        person = {"scan_id": "corpus_x", "dataset": "corpus", "participant_id": "x", "batch": 0}
        person |= {"role": "pretrain", "split": "pretrain", "bold_path": bold_path}
        scans = from_rows([dict.fromkeys(SCANS.names) | person], SCANS).to_pandas()
        write_scans(study.paths.scans("corpus"), scans, Unmatched("p.tsv", [], []), "hash")

    series = {"scan_id": "corpus_x", "status": "ok", "t_r": 2.0, "n_timepoints": 80}
    series["bold"] = series_of(study)["demo_s05_run-0"].tolist()
    table = from_rows([series], timeseries_schema(N_ROIS))
    write_table(study.paths.batch("timeseries", "corpus", 0), table, "timeseries")
    plant("/corpus/x.npy")
    run(config, TASK)
    plant("/data/s05.npy")
    with pytest.raises(LeakError, match="demo_s05_run-0"):
        run(config, TASK)
    series["status"] = "excluded"  # it was in the table, but not used in pre-training
    table = from_rows([series], timeseries_schema(N_ROIS))
    write_table(study.paths.batch("timeseries", "corpus", 0), table, "timeseries")
    run(config, TASK)


def test_a_model_that_does_not_fit_or_does_not_say_its_scaling_is_refused(tmp_path):
    study = write_series_study(tmp_path, methods=("brainlm_svm",), n_timepoints=80)
    write_brainlm(study, atlas="other")
    with pytest.raises(TaskError, match=r"has atlas 'other' with 20 parcels.*'rings' with 20"):
        run(study.config, TASK)
    changed = about_model(study)["scaling"]
    changed["iqr"][0] *= 2
    write_brainlm(study, scaling=changed)
    with pytest.raises(ModelError, match="does not have the stored SHA-256"):
        run(study.config, TASK)
    write_brainlm(study, scaling=None)
    with pytest.raises(ModelError, match="does not say how series are scaled"):
        run(study.config, TASK)
    (study.paths.pretrain("brainlm-tiny") / "config.json").unlink()
    with pytest.raises(ModelError, match="no such file; run: snakemake --cores all pretrain"):
        run(study.config, TASK)


def test_a_scan_with_fc_and_without_a_series_is_an_error(tmp_path):
    study = write_series_study(tmp_path, methods=("brainlm_svm",), n_timepoints=80)
    path = study.paths.batch("timeseries", "demo", 1)
    rows = [r for r in read_table(path, "timeseries").to_pylist() if "s05" not in r["scan_id"]]
    write_table(path, from_rows(rows, timeseries_schema(N_ROIS)), "timeseries")
    with pytest.raises(TaskError, match=r"1 scans have FC but no time series, .*demo_s05_run-0"):
        run(study.config, TASK)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_the_whole_model_is_trained_further_on_the_folds_of_all_others(tmp_path, kind):
    task: dict = {"protocol": {"n_splits": 2, "n_repeats": 1}}
    if kind == "regression":
        task |= {"kind": kind, "label": "dx", "classes": {}, "exclude": "pheno_dx == '9'"}
    methods = ("fc_svm", "untrained_brainlm_finetune", "brainlm_finetune")
    study = write_series_study(tmp_path, methods=methods, n_timepoints=80, **task)
    raw = study.config.model_dump(mode="json", exclude_unset=True)
    raw["neural"] = {"max_epochs": 2, "finetune_lr": 1e-3}
    config = parse_config(raw)
    run(config, TASK)
    table = results(study, "predictions")
    first = table.loc[table["method"] == "fc_svm", ["fold", "scan_id", "n_train"]]
    for method in methods[1:]:
        other = table[table["method"] == method]
        assert other["y_score"].nunique() > 10
        np.testing.assert_array_equal(other[["fold", "scan_id", "n_train"]], first)
    run(config, TASK)
    assert results(study, "predictions").equals(table), "the same seed, the same numbers"
