import shutil

import numpy as np
import pandas as pd
import pytest
from synthetic_study import N_ROIS, copy_of, write_model, write_study

from brainmass_core.finetune import LeakError, TaskError
from brainmass_core.finetune.cohort.dataset import assemble
from brainmass_core.interpret import run
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.paths import MAPS
from brainmass_core.tables import config_hash_of, pfc_schema, read_table, write_table

pytestmark = pytest.mark.study

TABLES = ("attention", "networks", "stability", "maps", "regions")
FAST = {"n_repeats": 1, "n_steps": 4, "max_scans": 8}


def configured(study, **settings):
    interpret = study.config.interpret.model_copy(update=FAST | settings)
    return study.config.model_copy(update={"interpret": interpret})


@pytest.fixture(scope="module")
def explained(finished, tmp_path_factory):
    """A study after both stages, and its configuration."""
    study = copy_of(finished, tmp_path_factory.mktemp("explained"))
    config = configured(study)
    run(config, "demo_task")
    return study, config


def table(study, name: str) -> pd.DataFrame:
    return read_table(study.paths.interpret("demo_task", f"{name}.parquet"), name).to_pandas()


def test_every_table_carries_the_hash_of_the_configuration_that_made_it(explained):
    study, config = explained
    for name in TABLES:
        path = study.paths.interpret("demo_task", f"{name}.parquet")
        assert config_hash_of(path) == stage_hash(config, "interpret", "demo_task"), name


def test_attention_is_there_for_each_class_and_their_difference(explained):
    attention = table(explained[0], "attention")
    assert len(attention) == 9
    maps = {(r.layers, r.group): r.map for r in attention.itertuples()}
    for layers in ("mean", "first", "last"):
        apart = maps[layers, "patient"] - maps[layers, "control"]
        np.testing.assert_allclose(maps[layers, "difference"], apart, atol=1e-7)
        assert maps[layers, "patient"].reshape(N_ROIS, N_ROIS).sum(1) == pytest.approx(1, rel=1e-5)
    tested = attention.set_index("group")["n_participants"]
    assert (tested["difference"] == 33).all()


def test_regions_name_a_reason_wherever_they_are_not_stable(explained):
    regions = table(explained[0], "regions")
    assert (regions["stable"] == (regions["reason"] == "")).all()
    assert (regions.groupby("method")["rank"].apply(sorted).map(len) == N_ROIS).all()
    frequency = regions.groupby("method")["frequency"].sum()
    assert frequency.to_numpy() == pytest.approx(10)  # ten regions of every fold


def test_few_people_are_warned_of(explained):
    stability = table(explained[0], "stability").set_index("method")
    assert "explained in a class, fewer than 10" not in stability.loc["fc_pattern", "reason"]
    assert stability.loc["gradient", "n_participants"] == 24
    assert stability.loc["fc_pattern", "n_participants"] == 33


def test_the_linear_model_is_the_one_that_was_scored(explained):
    stability = table(explained[0], "stability").set_index("method")
    assert stability.loc["fc_pattern", "agreement_with_scored"] == pytest.approx(1)
    assert stability.loc["gradient", "agreement_with_scored"] > 0.3


def test_networks_are_summed_up_and_the_surface_says_what_it_lacks(explained):
    study, _ = explained
    networks = table(study, "networks")
    assert set(networks["network"]) == {"Vis", "SomMot", "Limbic", "Default"}
    assert (networks["source"] == "atlas").all()
    assert (networks.groupby("method")["n_top"].sum() == 10).all()
    maps = table(study, "maps").set_index("name")
    assert list(maps.index) == list(MAPS)
    assert "no label image" in maps.loc["surface", "missing"]
    assert (maps.loc[["attention", "regions", "glass_brain"], "missing"] == "").all()
    for name in MAPS:
        png = study.paths.interpret("demo_task", f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert b"Software" not in png


@pytest.mark.slow
def test_the_same_run_writes_the_same_bytes(explained):
    study, config = explained
    folder = study.paths.interpret("demo_task")
    before = {f.name: f.read_bytes() for f in folder.iterdir()}
    run(config, "demo_task")
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == before
    assert len(before) == len(TABLES) + len(MAPS)


def test_switched_off_it_writes_empty_tables_and_needs_no_model(finished, tmp_path):
    study = copy_of(finished, tmp_path)
    shutil.rmtree(study.paths.pretrain("brainmass"))
    run(configured(study, methods=[]), "demo_task")
    assert table(study, "regions").empty
    assert (table(study, "maps")["missing"] != "").all()


def test_a_task_of_three_classes_is_left_unexplained_with_the_reason(
    finished, tmp_path, monkeypatch
):
    study = copy_of(finished, tmp_path)
    data = assemble(study.config, "demo_task")
    data.scans["y"] = np.arange(len(data.scans)) % 3
    monkeypatch.setattr("brainmass_core.finetune.evaluation.assemble", lambda *_, **__: data)
    run(configured(study), "demo_task")
    assert table(study, "regions").empty
    maps = table(study, "maps").set_index("name")
    assert "has not two classes" in maps.loc["regions", "missing"]


def test_an_evaluation_scan_in_a_shard_stops_the_stage(tmp_path):
    study = write_study(tmp_path)
    test = study.scans.loc[study.scans["split"] == "test", "scan_id"].iloc[5]
    path = study.paths.batch("pfc", "demo", 0)
    shard = read_table(path, "pfc")
    row = {"scan_id": test, "view": 0, "n_kept": 64, "seed": 1, "fc": bytes(2 * 190)}
    leaked = shard.from_pylist([*shard.to_pylist(), row], pfc_schema(N_ROIS))
    write_table(path, leaked, "pfc")
    with pytest.raises(LeakError, match=test):
        run(configured(study), "demo_task")


def test_a_model_of_other_fc_is_refused(tmp_path):
    study = write_study(tmp_path)
    write_model(study, atlas="other")
    with pytest.raises(TaskError, match="atlas: the model has 'other'"):
        run(configured(study), "demo_task")
