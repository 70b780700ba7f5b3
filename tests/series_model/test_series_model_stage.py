"""The stage on a small study: evaluated participants, tables that are written, refusals."""

from __future__ import annotations

import json
import logging
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ttest_ind
from synthetic_series_study import spoil
from unseen_study import N_ROIS, NETWORKS, write_model, write_scans_of, write_study

from brainmass_core.config import ConfigError
from brainmass_core.finetune.cohort.leaks import scans_shown
from brainmass_core.models.pretrained import ModelError, seal
from brainmass_core.pipeline.dag import Study as Dag
from brainmass_core.pipeline.failed_fraction import NoDatasetError
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.manifest import Entry, write_manifest
from brainmass_core.report.series_model import read_series_model
from brainmass_core.scans.copies import LeakError
from brainmass_core.scans.table import Unmatched, write_scans
from brainmass_core.series_model import networks
from brainmass_core.series_model.attention import attention_by_participant
from brainmass_core.series_model.by_parcel import attention
from brainmass_core.series_model.graph import fit_gcn
from brainmass_core.series_model.groups import classes_of
from brainmass_core.series_model.stage import ANALYSES, run
from brainmass_core.series_model.unseen import UnseenError, load_trained, seen, unseen
from brainmass_core.tables import SERIES_MODEL, TableError, config_hash_of, read_table
from brainmass_core.timeseries.sampling import resampled
from brainmass_core.timeseries.table import bold_by_scan

pytestmark = pytest.mark.study


@pytest.fixture(autouse=True)
def _few_steps_of_the_gcn(monkeypatch):
    """Nothing here depends on how well it learns, unlike `test_series_model_networks`."""
    monkeypatch.setattr(networks, "fit_gcn", partial(fit_gcn, steps=2))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("unseen"))


def table_of(study, analysis) -> pd.DataFrame:
    """The table, computed unless another test has done so."""
    path = study.paths.series_model(f"{analysis}.parquet")
    if not path.exists():
        run(study.config, analysis)
    return read_table(path, f"series_model_{analysis}").to_pandas()


def test_every_analysis_that_can_be_asked_for_is_there(study):
    assert set(ANALYSES) == set(SERIES_MODEL)
    with pytest.raises(ConfigError, match="series_model"):
        study.changed(series_model={"analyses": ["nothing"]})


@pytest.mark.parametrize("analysis", ANALYSES)
def test_an_analysis_writes_the_same_table_and_figure_twice_with_the_hash(study, analysis):
    asked = study.changed(series_model={"analyses": [analysis]})
    files = [study.paths.series_model(f"{analysis}.{end}") for end in ("parquet", "png")]
    run(asked.config, analysis)
    first = [f.read_bytes() for f in files]
    run(asked.config, analysis)
    assert [f.read_bytes() for f in files] == first
    assert config_hash_of(files[0]) == stage_hash(asked.config, "series_model", analysis)
    assert read_table(files[0], f"series_model_{analysis}").schema.equals(SERIES_MODEL[analysis])
    (shown,) = read_series_model(asked.config)
    assert shown.rows
    assert shown.picture.png == first[1]


def test_nobody_of_the_pretraining_is_evaluated_and_only_they_are_fitted_to(study, caplog):
    trained = load_trained(study.config)
    with caplog.at_level(logging.WARNING):
        people = unseen(study.config, trained, 40)
    shown = scans_shown(study.config)
    assert people.datasets == ["a", "c"]
    assert not set(people.scans["scan_id"]) & set(shown["scan_id"])
    assert set(people.scans["split"]) == {"test"}
    assert people.scans["scan_id"].tolist() == [
        *("a00", "a02", "a04", "a06", "a08", "a10"),
        *("c01", "c02", "c04", "c05"),
    ]
    assert (
        "2 of 12 scans are excluded: c00: found 30 timepoints, expected 40 or more" in caplog.text
    )
    fitted = seen(study.config, trained, 40)
    assert set(fitted.scans["scan_id"]) <= set(shown["scan_id"])
    assert len(fitted.series) == 10


def test_series_are_scaled_with_the_numbers_of_the_model(study):
    trained = load_trained(study.config)
    people = unseen(study.config, trained, 40)
    about = json.loads((study.paths.pretrain("brainlm-tiny") / "config.json").read_text())
    table = read_table(study.paths.batch("timeseries", "c", 0), "timeseries")
    x = bold_by_scan(table)["c01"].astype(float)
    median, iqr = (np.array(about["scaling"][k]) for k in ("median", "iqr"))
    expected = (x - x.mean(0) - median) / iqr
    found = people.series[people.scans["scan_id"].tolist().index("c01")]
    np.testing.assert_allclose(found.numpy().T, expected, rtol=1e-5, atol=1e-5)


def test_another_repetition_time_is_left_out_or_resampled_as_in_training(tmp_path):
    at_one = {"pretrain": {"brainlm": {"t_r": 1.0, "other_t_r": "resample"}}}
    study = write_study(tmp_path, **at_one)
    people = unseen(study.config, load_trained(study.config), 40)
    table = read_table(study.paths.batch("timeseries", "c", 0), "timeseries")
    x = resampled(bold_by_scan(table)["c01"], 2.0, 1.0)
    found = people.series[people.scans["scan_id"].tolist().index("c01")]
    assert found.shape == (N_ROIS, len(x)) == (N_ROIS, 121)
    expected = load_trained(study.config).feed.scaling.apply(x).T
    np.testing.assert_array_equal(found.numpy(), expected)
    rejecting = study.changed(pretrain={"brainlm": {"other_t_r": "reject"}})
    with pytest.raises(UnseenError, match="none with 40 timepoints"):
        unseen(rejecting.config, load_trained(rejecting.config), 40)


def test_of_many_participants_a_number_is_chosen_whatever_else_there_is(study):
    few = study.changed(series_model={"max_participants": 2}).config
    chosen = unseen(few, load_trained(few), 40).scans
    assert chosen["dataset"].tolist() == ["a", "a", "c", "c"]
    assert set(chosen["scan_id"]) <= set(
        unseen(study.config, load_trained(few), 40).scans["scan_id"]
    )


def test_windows_follow_each_other_from_the_start(study):
    people = unseen(study.config, load_trained(study.config), 20)
    windows = people.cut(20, 2)
    assert windows.series.shape[1:] == (N_ROIS, 20)
    first = windows.who == people.scans["participant"].iloc[0]
    assert torch.equal(torch.cat(list(windows.series[first]), 1), people.series[0][:, :40])


def test_a_participant_that_pretraining_was_given_is_refused(tmp_path):
    study = write_study(tmp_path)
    scans = read_table(study.paths.scans("a"), "scans").to_pandas()
    scans.loc[0, "bold_path"] = scans["bold_path"].iloc[1]
    write_scans(study.paths.scans("a"), scans, Unmatched("participants.tsv", [], []), "hash")
    with pytest.raises(LeakError, match=r"pre-training used 1 scans.*a00"):
        run(study.config, "reconstruction")


def test_without_anybody_unseen_the_stage_says_so(tmp_path):
    study = write_study(tmp_path)
    write_scans_of(study, "a", 12, ["train"])
    write_scans_of(study, "c", 0, ["test"])
    write_model(study)
    with pytest.raises(UnseenError, match="found 0 scans of participants kept for evaluation"):
        run(study.config, "reconstruction")


def test_a_data_set_of_which_too_many_scans_failed_is_not_evaluated(tmp_path):
    study = write_study(tmp_path)
    trained = load_trained(study.config)
    assert unseen(study.config, trained, 40).datasets == ["a", "c"]
    failed = [
        Entry("timeseries", "c", 0, f"c{k:02}", "failed" if k < 4 else "ok") for k in range(6)
    ]
    write_manifest(study.paths.manifest("timeseries", "c", 0), failed, "hash")
    assert unseen(study.config, trained, 40).datasets == ["a"]
    failed = [Entry("timeseries", "a", 0, f"a{k:02}", "failed") for k in range(12)]
    write_manifest(study.paths.manifest("timeseries", "a", 0), failed, "hash")
    with pytest.raises(NoDatasetError, match="series_model: too many scans failed"):
        unseen(study.config, trained, 40)


def test_a_value_missing_in_the_midst_of_a_series_stops_the_stage_and_is_named(tmp_path):
    study = write_study(tmp_path)
    path = study.paths.batch("timeseries", "c", 0)
    scan = unseen(study.config, load_trained(study.config), 40).scans["scan_id"].iloc[-1]
    spoil(path, scan)
    with pytest.raises(TableError, match=rf"c/0\.parquet: {scan}: 1 parcels, such as 4 "):
        unseen(study.config, load_trained(study.config), 40)


def test_a_model_without_its_scaling_is_refused(tmp_path):
    study = write_study(tmp_path)
    path = study.paths.pretrain("brainlm-tiny") / "config.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in about.items() if k != "scaling"}))
    seal(path.parent)
    with pytest.raises(ModelError, match="does not say how series are scaled"):
        load_trained(study.config)
    about["scaling"]["iqr"][0] *= 2
    path.write_text(json.dumps(about))
    seal(path.parent)
    with pytest.raises(ModelError, match="does not have the stored SHA-256"):
        load_trained(study.config)


def test_reconstruction_scores_every_data_set_against_three_baselines(study):
    table = table_of(study, "reconstruction")
    assert list(zip(table["dataset"], table["method"], table["n_participants"], strict=True)) == [
        (d, m, n)
        for d, n in (("a", 6), ("c", 4))
        for m in ("model", "visible_parcels", "parcel_mean", "interpolation")
    ]
    assert (table["r2_low"] <= table["r2"]).all()
    assert (table["r2"] <= table["r2_high"]).all()
    r2 = table.set_index(["dataset", "method"])["r2"]
    assert r2["a", "interpolation"] > r2["a", "model"]  # the weights have not been trained


def test_the_model_of_images_reconstructs_and_is_perturbed_as_well(tmp_path):
    study = write_study(tmp_path, "brainlm-vit-tiny", series_model={"state": "decoded"})
    assert np.isfinite(table_of(study, "reconstruction")["r2"]).all()
    assert table_of(study, "perturbation")["remaining_high"].max() < 1


def test_forecasts_are_scored_step_by_step_against_baselines_of_the_pretraining(study):
    table = table_of(study, "forecast")
    assert set(table["dataset"]) == {"a", "c"}
    assert table["step"].max() == 20
    held = table[table["method"] == "last_value"]
    assert (held["r2_gain"] == 0).all()
    first = table[table["step"] == 1].set_index(["dataset", "method"])["r2"]
    assert first["a", "autoregression"] > first["a", "untrained"]
    model, untrained = (table[table["method"] == m]["r2"] for m in ("model", "untrained"))
    np.testing.assert_allclose(model, untrained)  # the model of this study has not been trained


def test_planted_networks_are_found_from_correlation(study):
    table = table_of(study, "networks").set_index(["scheme", "method"])
    assert set(table["n_rois"]) == {N_ROIS}
    assert table["networks"].iloc[0].tolist() == sorted(NETWORKS)
    for scheme in ("within", "across"):
        found = table.loc[scheme, "correlation"]
        assert found["balanced_accuracy"] > found["chance_high"]
        assert found["p"] == 1 / 6
    assert table.xs("gcn", level="method")["p"].isna().all()
    coordinates = table.xs("coordinates", level="method")["balanced_accuracy"]
    assert coordinates.max() < 0.6  # they are random here


def test_attention_is_the_mean_of_participants_and_compares_the_classes_of_the_task(study):
    table = table_of(study, "attention")
    assert table["roi"].tolist() == list(range(1, N_ROIS + 1))
    assert (table["n_participants"] == 10).all()
    trained = load_trained(study.config)
    people = unseen(study.config, trained, 40)
    windows = people.cut(40, 1)
    _, paid = attention_by_participant(
        trained.model, windows.series, trained.coordinates, windows.who
    )
    np.testing.assert_allclose(table["attention"], paid.mean(0))
    patient = (people.scans["pheno_dx"] == "2").to_numpy()
    expected = ttest_ind(paid[patient], paid[~patient], equal_var=False).statistic
    np.testing.assert_allclose(table["t"], expected)
    assert set(table["first"]) == {"control"}
    assert set(table["n_second"]) == {int(patient.sum())}
    without = study.changed(series_model={"task": None}).config
    assert {row["t"] for row in attention(without).rows if "t" in row} == set()


def test_who_is_in_no_class_of_the_task_is_in_no_group(study):
    trained = load_trained(study.config)
    people = unseen(study.config, trained, 40)
    only_c = study.changed(tasks={"dx": {"datasets": ["c"]}}).config
    classes = classes_of(only_c, people)
    assert sorted(p for members in classes.values() for p in members) == [
        "c/p01",
        "c/p02",
        "c/p04",
        "c/p05",
    ]
    assert list(classes) == ["control", "patient"]
    rare = study.changed(tasks={"dx": {"classes": {"control": ["1"], "patient": ["3"]}}}).config
    with pytest.raises(UnseenError, match=r"found 5 of control, 0 of patient among the 10"):
        classes_of(rare, people)
    assert stage_hash(only_c, "series_model", "attention") != stage_hash(
        study.config, "series_model", "attention"
    )


def test_a_perturbation_brings_the_first_class_nearer_to_the_second(study):
    table = table_of(study, "perturbation")
    assert table["roi"].tolist() == list(range(1, N_ROIS + 1))
    same = table[["first", "second", "n_first", "n_second"]].drop_duplicates()
    assert same.to_numpy().tolist() == [["control", "patient", 5, 5]]
    assert table["remaining_high"].max() < 1
    # with this form all timepoints get the same
    np.testing.assert_allclose(table["magnitude"], table["added"].abs(), rtol=1e-6)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"pretrain": {"model": "brainmass", "brainlm": {"window": 200, "mask_ratio": 0.75}}},
            "series_model.analyses: found reconstruction with pretrain.model brainmass",
        ),
        ({"series_model": {"analyses": ["reconstruction"] * 2}}, "found a duplicate"),
        (
            {"series_model": {"analyses": ["perturbation"], "task": None}},
            "series_model.task: not given, but perturbation needs two classes",
        ),
        ({"series_model": {"task": "dy"}}, "series_model.task: there is no task 'dy'"),
        (
            {"series_model": {"analyses": ["forecast"], "observed_steps": 50}},
            "series_model.observed_steps: found 50, expected a multiple of 20",
        ),
        (
            {
                "pretrain": {"model": "brainlm-vit-tiny"},
                "series_model": {"analyses": ["networks", "reconstruction"]},
            },
            "found networks with pretrain.model brainlm-vit-tiny, whose tokens mix parcels",
        ),
    ],
)
def test_what_cannot_be_analysed_is_refused(study, sections, message):
    with pytest.raises(ConfigError, match=message):
        study.changed(**sections)


def test_the_dag_has_a_job_per_analysis_and_reads_model_series_and_scans(study):
    dag, folder = Dag(study.config), study.paths.results
    inputs = dag.series_model_inputs()
    assert set(inputs) == {
        str(folder / name)
        for name in (
            *("pretrain/brainlm-tiny/model.safetensors", "pretrain/brainlm-tiny/config.json"),
            *("timeseries/a/0.parquet", "timeseries/a/1.parquet"),
            *("timeseries/b/0.parquet", "timeseries/c/0.parquet"),
            *("scans/a.parquet", "scans/b.parquet", "scans/c.parquet"),
        )
    }
    results = [str(folder / f"series_model/reconstruction.{end}") for end in ("parquet", "png")]
    assert dag.series_model_results() == results
    assert set(results) <= set(dag.report_inputs("index"))
    nothing = Dag(study.changed(series_model={"analyses": []}).config)
    assert nothing.series_model_results() == []


def test_a_knob_of_the_section_makes_its_analyses_and_the_front_page_anew(study):
    after = study.changed(series_model={"n_draws": 200}).config
    touched = {
        (stage, name)
        for stage, name in (
            *(("series_model", "reconstruction"), ("report", None), ("report", "dx")),
            *(("pretrain", None), ("interpret", "dx")),
        )
        if stage_hash(study.config, stage, name) != stage_hash(after, stage, name)
    }
    assert touched == {("series_model", "reconstruction"), ("report", None)}
