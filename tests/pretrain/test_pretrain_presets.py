"""Presets of the published settings: each choice is written out."""

from __future__ import annotations

import pytest

from brainmass_core.config import parse_config
from brainmass_core.config.load import PRESETS_DIR, read_yaml
from brainmass_core.config.stages import Pretrain

# how a run is carried out, not what it computes; `lr_end` is that of schedules not in use
LEFT_TO_THE_USER = {
    "checkpoint_steps",
    "nodes",
    "processes_per_node",
    "compile",
    "lr_end",
    "source",
    "brainlm",  # settings of the other model
}
BOTH = {
    "dropout": 0.1,
    "masking": "rows",
    "n_masked_classification": 10,
    "n_masked_reconstruction": 5,
    "epochs": 2000,
    "batch_size": 256,
    "lr": 3e-4,
    "warmup_epochs": 10,
    "schedule": "constant",
    "weight_decay": 5e-5,
    "clip_value": 1.0,
    "ema_decay": 0.996,
    "precision": "float32",
}
RELEASED = BOTH | {
    "size": "base",
    "heads": 10,
    "train_heads": False,
    "lambda_classification": 0.1,
    "lambda_reconstruction": 2.0,
}
LARGE = BOTH | {
    "size": "large",
    "heads": 20,
    "train_heads": True,
    "lambda_classification": 5.0,
    "lambda_reconstruction": 200.0,
}
DATASETS = {"a": {"kind": "timeseries", "role": "pretrain", "path": "."}}
CASES = [("official-release", RELEASED, "ledoit_wolf"), ("paper-large", LARGE, "pearson")]


@pytest.mark.parametrize(("name", "expected", "estimator"), CASES)
def test_a_preset_sets_what_was_published(name, expected, estimator):
    raw = {"presets": [f"brainmass/{name}"], "datasets": DATASETS}
    config = parse_config(raw, check_paths=False)
    found = config.pretrain.model_dump()
    assert {k: found[k] for k in expected} == expected
    assert config.pfc.estimator == config.connectivity.estimator == estimator
    assert config.pfc.dropping == "what is left after dropping 20% of the timepoints"


@pytest.mark.parametrize(("name", "expected", "estimator"), CASES)
def test_a_preset_writes_every_choice_out_so_that_no_default_can_change_it(
    name, expected, estimator
):
    written = read_yaml(PRESETS_DIR / "brainmass" / f"{name}.yaml")
    missing = set(Pretrain.model_fields) - LEFT_TO_THE_USER - set(written["pretrain"])
    assert not missing, f"{name}.yaml must say what it wants of {missing}"
    assert {k: written["pretrain"][k] for k in expected} == expected
    assert written["pfc"] == {
        "estimator": estimator,
        "drop_rate": 0.2,
        "drop_count": None,
        "window": None,
    }
    assert written["connectivity"] == {"estimator": estimator}


def test_a_user_may_change_a_single_setting_of_a_preset():
    changed = {"size": "large", "heads": 20}
    raw = {"presets": ["brainmass/official-release"], "datasets": DATASETS, "pretrain": changed}
    config = parse_config(raw, check_paths=False)
    assert (config.pretrain.size, config.pretrain.train_heads) == ("large", False)
