"""The order in which data are listed or processed changes no byte of a model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))

import study as small

from brainmass_core import connectivity, finetune, pfc, scans, timeseries
from brainmass_core.config import load_config
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.artefacts import publish
from brainmass_core.pretrain.data.views import index_shards
from brainmass_core.pretrain.launch.torchrun import run
from brainmass_core.pretrain.loop.checkpoint import Checkpoints
from brainmass_core.pretrain.loop.distributed import Ranks
from brainmass_core.pretrain.loop.train import train
from brainmass_core.tables import read_table

pytestmark = pytest.mark.study
ALONE = Ranks(0, 1, 1, torch.device("cpu"))
METHODS = ["fc_svm", "brainmass_svm"]


def made(folder: Path, data: Path, names=("ready", "also"), **more) -> tuple[bytes, list]:
    """Weights and predictions of two data sets, listed in a given order."""
    raw = small.ready_series_config(data, results=str(folder / "results"), **more)
    ready = raw["datasets"]["ready"] | {"batches": 1}
    other = data.parent / "also"
    also = ready | {"path": str(other)}
    also["phenotype"] = ready["phenotype"] | {"path": str(other / "phenotype.csv")}
    raw["datasets"] = {name: {"ready": ready, "also": also}[name] for name in names}
    raw["tasks"]["diagnosis"]["datasets"] = list(names)
    raw["finetune"] = {"n_bootstrap": 100, "methods": METHODS}
    folder.mkdir()
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    config = load_config(path)
    for name in names:
        scans.run(config, name)
        for stage in (timeseries, connectivity, pfc):
            stage.run(config, name, 0)
    run(config, path)
    finetune.run(config, "diagnosis")
    paths = Paths(config.results)
    weights = (paths.pretrain("brainmass") / "model.safetensors").read_bytes()
    tables = [
        read_table(paths.finetune("diagnosis") / f"{n}.parquet", n).replace_schema_metadata(None)
        for n in ("predictions", "metrics", "roc")
    ]
    return weights, tables


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two data sets with different series and participants, and the results for them."""
    base = tmp_path_factory.mktemp("order")
    small.write_ready_series(base / "ready", n_participants=16)
    small.write_ready_series(base / "also", n_participants=16)
    for file in (base / "also").glob("*.1D"):
        header, *lines = file.read_text().splitlines()
        if len(lines) > 2:
            lines = [*lines[7:], *lines[:3]]
        file.with_name(f"other_{file.name}").write_text("\n".join([header, *lines]) + "\n")
        file.unlink()
    table = pd.read_csv(base / "also" / "phenotype.csv")
    table["file"], table["participant"] = "other_" + table["file"], "q" + table["participant"]
    table.to_csv(base / "also" / "phenotype.csv", index=False)
    return base, made(base / "first", base / "ready")


def test_the_order_of_data_sets_in_the_configuration(study, tmp_path):
    base, expected = study
    assert made(tmp_path / "other", base / "ready", ("also", "ready")) == expected


def test_the_order_of_rows_and_of_files(study, tmp_path):
    base, expected = study
    rng = np.random.default_rng(3)
    for name in ("ready", "also"):
        (tmp_path / name).mkdir()
        table = pd.read_csv(base / name / "phenotype.csv")
        table.iloc[rng.permutation(len(table))].to_csv(
            tmp_path / name / "phenotype.csv", index=False
        )
        files = sorted((base / name).glob("*.1D"), reverse=True)
        for number in rng.permutation(len(files)):
            copy = tmp_path / name / files[number].name
            copy.write_bytes(files[number].read_bytes())
    assert made(tmp_path / "other", tmp_path / "ready") == expected


def test_the_threads_of_all_stages_but_pre_training(study, tmp_path):
    base, expected = study
    stages = ("timeseries", "connectivity", "pfc", "finetune")
    more = {stage: {"cpus_per_task": 2} for stage in stages} | {"pretrain": {"cpus_per_task": 1}}
    assert made(tmp_path / "other", base / "ready", resources=more) == expected


def published(study) -> tuple[bytes, list, list]:
    """Weights, scaling and losses of a model that reads series; the hashes of the tables differ."""
    folder = study.paths.pretrain(study.config.pretrain.model)
    about = json.loads((folder / "config.json").read_text())
    losses = read_table(folder / "history.parquet", "history")
    return (folder / "model.safetensors").read_bytes(), about["scaling"], losses.to_pylist()


@pytest.mark.parametrize("model", ["brainlm-tiny", "brainlm-vit-tiny"])
def test_the_order_of_data_sets_rows_and_batches_of_a_model_that_reads_series(
    make_study, tmp_path, model
):
    study = make_study(model=model)
    other = study.listed_otherwise(tmp_path / "other")
    assert list(other.config.datasets) == list(study.config.datasets)[::-1]
    for one in (study, other):
        index = index_shards(one.config)
        checkpoints = Checkpoints(one.config, index.fingerprint)
        train(one.config, index, checkpoints, ALONE, lambda: False)
        publish(one.config, index, checkpoints.latest())
    assert published(other) == published(study)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["brainlm-tiny"])
def test_the_order_of_data_sets_rows_and_batches_with_two_processes(make_study, tmp_path, model):
    study = make_study(model=model, processes_per_node=2)
    other = study.listed_otherwise(tmp_path / "other")
    for one in (study, other):
        run(one.config, one.path)
    assert published(other) == published(study)
