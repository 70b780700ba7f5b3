"""The control at a real pre-training: what works passes, what is broken does not."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from brainmass_core.encoders.brainmass.model import BrainMass
from brainmass_core.positive_control import comparison, study
from brainmass_core.positive_control.cohort import population, simulate
from brainmass_core.pretrain.data.views import FreshBatch, index_shards
from brainmass_core.pretrain.loop.distributed import Ranks
from brainmass_core.pretrain.loop.schedule import learning_rate
from brainmass_core.pretrain.loop.step import make_optimiser, seed_dropout, train_step
from brainmass_core.pretrain.loop.train import build_model, make_stream

N_ROIS, N_SCANS, STEPS, SEED = 16, 2000, 300, 42
DRAWS = {"k": 10, "n_draws": 20, "n_timepoints": 100, "seed": SEED}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Configuration and index of the study, before its pre-training."""
    series = simulate(population(N_ROIS, 2, SEED), N_SCANS, 100, SEED).series
    folder = tmp_path_factory.mktemp("control") / "study"
    config = study.write_study(folder, series, study.recipe_for(N_SCANS, STEPS), SEED)
    study.scans.run(config, study.DATASET)
    study.timeseries.run(config, study.DATASET, 0)
    return config, index_shards(config)


def trained(config, index) -> BrainMass:
    """The encoder after the training of the study, in this process."""
    settings, model = config.pretrain, build_model(config, N_ROIS).train()
    stream, optimiser = make_stream(config, index, 0, 1), make_optimiser(model, settings)
    ranks = Ranks(0, 1, 1, torch.device("cpu"))
    for step in range(stream.n_steps(settings.epochs)):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(stream.epoch_of(step), settings)
        seed_dropout(SEED, step, 0)
        train_step(model, model, optimiser, stream.batch(step), settings, ranks, False)
    return model.eval()


def summarised(config, model, informative: bool = True) -> pd.DataFrame:
    people, untrained = population(N_ROIS, 2, SEED), build_model(config, N_ROIS).eval()
    scored = comparison.scores(people, model, untrained, informative=informative, **DRAWS)
    return comparison.summary(scored)


@pytest.mark.nightly
@pytest.mark.slow
def test_a_working_pre_training_passes_and_finds_nothing_where_nothing_is(prepared):
    config, index = prepared
    model = trained(config, index)
    assert comparison.passes(summarised(config, model))
    nothing = summarised(config, model, informative=False)
    assert not comparison.passes(nothing)
    assert np.all(np.abs(nothing["auc"] - 0.5) < 0.05)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("broken", ["views of different people", "a target that is not updated"])
def test_a_broken_objective_fails(prepared, monkeypatch, broken):
    config, index = prepared
    if broken.startswith("views"):
        tensors = FreshBatch.tensors

        def mixed(self, device):
            one, two, *masks = tensors(self, device)
            return one, two.roll(1, 0), *masks

        monkeypatch.setattr(FreshBatch, "tensors", mixed)
    else:
        monkeypatch.setattr(BrainMass, "update_target", lambda self, decay: None)
    assert not comparison.passes(summarised(config, trained(config, index)))


def command(*options: str) -> subprocess.CompletedProcess:
    start = [sys.executable, "-m", "brainmass_core.cli", "positive-control"]
    return subprocess.run([*start, *options], capture_output=True, text=True, timeout=1700)


@pytest.mark.study
def test_the_command_tries_a_configuration_and_says_that_a_frozen_encoder_fails(tmp_path):
    settings = {
        "datasets": {"x": {"kind": "timeseries", "role": "internal", "path": "/no/such/folder"}},
        "pfc": {"window": 20},
        "pretrain": {"source": "timeseries", "epochs": 1, "lr": 1e-12, "batch_size": 32},
    }
    settings["pretrain"] |= {"n_masked_classification": 4, "n_masked_reconstruction": 2}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings))
    out = tmp_path / "control"
    small = ["--unlabelled", "64,70", "--n-rois", "8", "--n-timepoints", "40", "--n-draws", "5"]
    done = command(str(out), "--config", str(config), *small)
    assert done.returncode == 1, done.stderr[-3000:]
    assert "positive control FAILED with 70 unlabelled scans" in done.stdout
    table = pd.read_csv(out / "positive_control.tsv", sep="\t")
    assert sorted(set(table["n_unlabelled"])) == [64, 70]
    # the projection differs, because its batch norm has seen the scans
    frozen = table[table["features"] == "pretrained"]
    np.testing.assert_allclose(frozen["minus_untrained"], 0, atol=1e-3)
    assert (out / "positive_control.png").read_bytes().startswith(b"\x89PNG")

    again = command(str(out))
    assert again.returncode == 1
    assert f"{out} exists; name a folder that does not" in again.stderr


@pytest.mark.study
def test_an_encoder_of_series_is_refused(tmp_path):
    config = tmp_path / "config.yaml"
    data = {"x": {"kind": "timeseries", "role": "internal", "path": "/no/such/folder"}}
    config.write_text(yaml.safe_dump({"datasets": data, "pretrain": {"model": "brainlm-tiny"}}))
    done = command(str(tmp_path / "out"), "--config", str(config))
    assert done.returncode == 1
    assert "pretrain.model: found brainlm-tiny, which is trained on series" in done.stderr
    few = command(str(tmp_path / "out"), "--unlabelled", "10")
    assert "--unlabelled: found 10, expected at least 64 scans" in few.stderr
