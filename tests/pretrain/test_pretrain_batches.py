"""Training reads the same scans in the same order, however they are distributed over tables."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))

import study as small

from brainmass_core import connectivity, finetune, pfc, scans, timeseries
from brainmass_core.config import load_config
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.data.views import Stream, fresh_of, index_shards
from brainmass_core.pretrain.launch.torchrun import run
from brainmass_core.tables import read_table

N_STEPS = 12
CPU = torch.device("cpu")


def dealt(folder: Path, data: Path, batches: int, **over: object):
    """A study of ready series up to pFC, distributed over some batches."""
    raw = small.ready_series_config(data, results=str(folder / f"of-{batches}"), **over)
    raw["datasets"]["ready"]["batches"] = batches
    path = folder / f"{batches}.yaml"
    path.write_text(yaml.safe_dump(raw))
    config = load_config(path)
    scans.run(config, "ready")
    for stage in (timeseries, connectivity, pfc):
        for batch in range(batches):
            stage.run(config, "ready", batch)
    return config, path


@pytest.fixture
def data(tmp_path):
    return small.write_ready_series(tmp_path / "data", n_participants=24)


@pytest.mark.parametrize("source", ["pfc", "timeseries"])
@pytest.mark.parametrize("memory", [0, 10**9])
def test_every_step_holds_the_same_views_of_the_same_scans(tmp_path, data, source, memory):
    steps = []
    for batches in (1, 2, 3):
        config, _ = dealt(tmp_path, data, batches)
        config = config.model_copy(
            update={"pretrain": config.pretrain.model_copy(update={"source": source})}
        )
        index = index_shards(config)
        stream = Stream(index, 1, 4, (5, 3), fresh=fresh_of(config), memory=memory)
        steps.append([stream.batch(step) for step in range(N_STEPS)])
    for one, two, three in zip(*steps, strict=True):
        assert one.scan_ids == two.scan_ids == three.scan_ids
        for other in (two, three):
            for a, b in zip(one.tensors(CPU), other.tensors(CPU), strict=True):
                np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_without_memory_only_the_scans_that_are_needed_soon_are_held(tmp_path, data, monkeypatch):
    monkeypatch.setattr("brainmass_core.pretrain.data.order.BUFFER_SCANS", 2)
    config, _ = dealt(tmp_path, data, 3)
    stream = Stream(index_shards(config), 1, 2, (5, 3))
    for step in range(N_STEPS):
        stream.batch(step)
        assert sum(map(len, stream._held.values())) <= 2 * 2 + 2


@pytest.mark.study
def test_weights_and_predictions_are_the_same_bytes_over_one_two_and_three_batches(tmp_path, data):
    over = {
        "finetune": {"n_bootstrap": 100, "methods": ["fc_svm", "brainmass_svm"]},
    }
    weights, tables = [], []
    for batches in (1, 2, 3):
        config, path = dealt(tmp_path, data, batches, **over)
        run(config, path)
        finetune.run(config, "diagnosis")
        paths = Paths(config.results)
        weights.append((paths.pretrain("brainmass") / "model.safetensors").read_bytes())
        folder = paths.finetune("diagnosis")
        found = [read_table(folder / f"{n}.parquet", n) for n in ("predictions", "metrics", "roc")]
        tables.append([t.replace_schema_metadata(None) for t in found])
    assert weights[0] == weights[1] == weights[2]
    assert tables[0] == tables[1] == tables[2]
