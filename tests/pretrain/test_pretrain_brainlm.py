"""BrainLM in the loop of BrainMass: it learns, is published, and reports what it requires."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from brainmass_core.config import load_config
from brainmass_core.encoders.brainlm.model import BrainLM
from brainmass_core.encoders.brainlm.pretraining import (
    BrainLMSpec,
    coordinates_of,
    meta_model,
    scaling_of,
)
from brainmass_core.encoders.brainlm.vit import BrainLMViT
from brainmass_core.encoders.brainmass.model import BrainMass
from brainmass_core.models.pretrained import ModelError
from brainmass_core.pretrain.artefacts import publish
from brainmass_core.pretrain.data.views import ShardError, index_shards
from brainmass_core.pretrain.loop import train as loop
from brainmass_core.pretrain.loop.checkpoint import Checkpoints
from brainmass_core.pretrain.loop.distributed import Ranks
from brainmass_core.pretrain.loop.train import build_model, make_stream, train
from brainmass_core.spaces import FSL, ICBM_2009A, ICBM_2009C
from brainmass_core.spaces.bridges import bridge
from brainmass_core.tables import BRAINLM_HISTORY, read_table
from brainmass_core.timeseries.robust_scaling import RobustScaling

CPU = torch.device("cpu")
ALONE = Ranks(0, 1, 1, CPU)
KINDS = {"brainlm-tiny": BrainLM, "brainlm-vit-tiny": BrainLMViT}
LM = pytest.mark.parametrize("model", KINDS)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(loop, "share_of_peak", lambda *_: math.nan)  # seconds at each start


def trained(study):
    index = index_shards(study.config)
    checkpoints = Checkpoints(study.config, index.fingerprint)
    train(study.config, index, checkpoints, ALONE, lambda: False)
    return index, checkpoints.latest()


def test_training_lowers_the_loss_of_hidden_values_below_their_variance(make_study, slow_series):
    knobs = {"epochs": 60, "warmup_epochs": 5, "lr": 3e-3, "dropout": 0.0, "checkpoint_steps": 999}
    random_only = {"window": 40, "mask_ratio": 0.5}
    study = make_study(bold=slow_series, model="brainlm-tiny", brainlm=random_only, **knobs)
    _, state = trained(study)
    loss, variance = state.history[:, 3], state.history[:, 4]
    assert (loss / variance)[:5].mean() > 0.9
    assert (loss / variance)[-20:].mean() < 0.7


@LM
def test_the_published_model_comes_back_equal_with_scaling_and_coordinates(make_study, model):
    study = make_study(model=model)
    index, state = trained(study)
    publish(study.config, index, state)
    folder = study.paths.pretrain(model)
    loaded = KINDS[model].from_pretrained(folder)
    assert not loaded.training
    assert {n: t.tolist() for n, t in loaded.state_dict().items()} == {
        n: t.tolist() for n, t in state.model.items()
    }
    about = json.loads((folder / "config.json").read_text())
    assert about["model"] == model
    assert (about["window"], about["t_r"], about["n_rois"]) == (40, 2.0, 20)
    fitted = {k: about["scaling"][k] for k in ("median", "iqr", "n_recordings")}
    stored = RobustScaling(tuple(fitted["median"]), tuple(fitted["iqr"]), fitted["n_recordings"])
    assert (
        stored
        == scaling_of(state.constants)
        == scaling_of(BrainLMSpec().constants(study.config, index))
    )
    assert about["scaling"]["sha256"] == stored.digest
    coordinates = torch.tensor(about["coordinates"])
    batch = make_stream(study.config, index, 0, 1).batch(0)
    assert torch.equal(coordinates, batch.coordinates)
    direct = build_model(study.config, 20).eval().requires_grad_(False)
    direct.load_state_dict(state.model)
    window = torch.from_numpy(batch.series)
    assert torch.equal(loaded.encode(window, coordinates), direct.encode(window, coordinates))
    with pytest.raises(ModelError, match=r"config\.json: heads is missing"):
        BrainMass.from_pretrained(folder)  # of BrainMass


def test_publishing_twice_gives_the_same_bytes_and_the_files_of_brainmass(make_study):
    study = make_study(model="brainlm-tiny")
    index, state = trained(study)
    folder = study.paths.pretrain("brainlm-tiny")
    publish(study.config, index, state)
    first = {f.name: f.read_bytes() for f in folder.iterdir()}
    publish(study.config, index, state)
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == first
    assert set(first) == {
        *("model.safetensors", "config.json", "history.parquet", "loss.png", "README.md")
    }
    history = read_table(folder / "history.parquet", "history")
    assert history.schema.equals(BRAINLM_HISTORY)
    assert history["step"].to_pylist() == list(range(6))
    assert history["view_distance"].null_count == 6  # there is one view
    assert history["effective_rank"].to_pylist()[1:5] == [None] * 4
    card = first["README.md"].decode()
    for line in (
        "| a | internal | 12 | 12 |",
        "| total |  | 18 | 18 |",
        "range of each parcel over 18 of these scans",
        "| mask_ratio | 0.5 |",
        "not a medical device",
    ):
        assert line in card
    assert "lambda_classification" not in card


@LM
def test_the_code_of_the_card_runs(make_study, model, monkeypatch):
    study = make_study(model=model)
    index, state = trained(study)
    publish(study.config, index, state)
    folder = study.paths.pretrain(model)
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder)
    names = {"series": torch.randn(60, 20).numpy()}
    exec(code, names)
    assert names["embedding"].shape == (1, 64)


@pytest.mark.parametrize(
    ("model", "ratio", "gflop"),
    [("brainlm-13m", 0.2, 265.0), ("brainlm-13m", 0.75, 138.9), ("brainlm-111m", 0.75, 79.4)],
)
def test_operations_of_a_step_are_three_times_those_of_the_published_forward_pass(
    make_study, model, ratio, gflop
):
    """Minus the savings: the last layer of the decoder is computed for hidden tokens only."""
    settings = {"window": 200, "mask_ratio": ratio, "mode": "reference"}
    config = make_study(n_a=2, n_b=1, model=model, brainlm=settings).config
    found = BrainLMSpec().operations(meta_model(config), config, 424) / 1e9
    assert 0.7 * 3 * gflop < found < 3.02 * gflop


@LM
def test_an_atlas_without_coordinates_is_refused_with_the_remedy(make_study, model, tmp_path):
    study = make_study(model=model)
    index = index_shards(study.config)
    raw, labels = yaml.safe_load(study.path.read_text()), tmp_path / "unplaced.tsv"
    placed = Path(raw["atlas"]["labels"]).read_text().splitlines()
    labels.write_text("".join("\t".join(line.split("\t")[:2]) + "\n" for line in placed))
    study.path.write_text(yaml.safe_dump(raw | {"atlas": raw["atlas"] | {"labels": str(labels)}}))
    with pytest.raises(ShardError, match=rf"toy has no coordinates of 20 .*{model}.*atlas\.labels"):
        BrainLMSpec().check(load_config(study.path), index, 1)


def test_coordinates_lie_in_the_space_of_a424_whatever_the_space_of_the_atlas(make_study):
    study = make_study(model="brainlm-tiny")
    raw = yaml.safe_load(study.path.read_text())

    def found(space: str | None):
        named = raw | {"atlas": raw["atlas"] | ({"space": space} if space else {})}
        study.path.write_text(yaml.safe_dump(named))
        return coordinates_of(load_config(study.path), 20)

    given = found(None)  # its space is unknown
    np.testing.assert_array_equal(found(FSL), given)
    for space in (ICBM_2009A, ICBM_2009C):
        np.testing.assert_array_equal(found(space), bridge(space, FSL)(given))
        assert np.linalg.norm(found(space) - given, axis=1).max() > 0.5
    with pytest.raises(
        ShardError, match=r"needed in MNI152NLin6Asym: there is no bridge from MNII"
    ):
        found("MNIInfant")


def test_the_scaling_of_a_run_is_fitted_once_and_kept_in_its_checkpoints(make_study, monkeypatch):
    study = make_study(model="brainlm-tiny")
    index = index_shards(study.config)
    checkpoints = Checkpoints(study.config, "x")
    calls = iter(range(2))
    with pytest.raises(loop.Interrupted):
        train(study.config, index, checkpoints, ALONE, lambda: next(calls, None) is None)
    fitted = scaling_of(checkpoints.latest().constants)
    monkeypatch.setattr(BrainLMSpec, "constants", lambda *_: pytest.fail("fitted again"))
    train(study.config, index, checkpoints, ALONE, lambda: False)
    assert scaling_of(checkpoints.latest().constants) == fitted


def test_dropout_and_mode_reach_the_model(make_study):
    raw = yaml.safe_load((study := make_study(model="brainlm-tiny")).path.read_text())
    lm = raw["pretrain"]["brainlm"] | {"mode": "reference"}
    config = study.changed(brainlm=lm, dropout=0.25).config
    model = build_model(config, 20)
    assert model.is_reference
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.25}
