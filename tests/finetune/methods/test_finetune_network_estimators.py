"""Networks as methods of a task: which start from the model, and which arguments they receive."""

from __future__ import annotations

import pytest
from synthetic_study import make_config

from brainmass_core.config import parse_config
from brainmass_core.encoders.brainmass.head import FineTune
from brainmass_core.encoders.registry import METHODS, encoders
from brainmass_core.finetune.methods.estimators import Setting
from brainmass_core.finetune.methods.network_estimators import RECIPES, make_network


def test_only_what_starts_from_the_model_is_no_baseline():
    networks = [*RECIPES, *(n.name for encoder in encoders() for n in encoder.networks)]
    assert {m for m in networks if not METHODS[m].baseline} == {
        "brainmass_finetune",
        "brainmass_lora",
        "brainlm_finetune",
    }


def test_settings_reach_the_network(tmp_path):
    raw = make_config(tmp_path).model_dump(mode="json", exclude_unset=True)
    config = parse_config(raw | {"neural": {"max_epochs": 4, "finetune_lr": 3e-3}})
    model = make_network(
        METHODS["untrained_finetune"], Setting("classification", 2, 11, config=config)
    )
    assert model.max_epochs == 4
    assert model.random_state == 11
    assert model.recipe == FineTune(None, "tiny", None, 7, lr=3e-3)
    with pytest.raises(ValueError, match="expected a configuration"):
        make_network(METHODS["brainnetcnn"], Setting("classification", 2, 11))


def test_the_setting_that_a_recipe_names_is_that_of_its_learning_rate(tmp_path):
    raw = make_config(tmp_path).model_dump(mode="json", exclude_unset=True)
    networks = [m for m in METHODS.values() if m.estimator.is_network and not m.series]
    assert len(networks) == 5
    for method in networks:

        def recipe(given, method=method):
            setting = Setting("classification", 2, 11, config=parse_config(given))
            return make_network(method, setting).recipe

        section, name = recipe(raw).knob.split(".")
        assert recipe(raw | {section: {name: 0.0625}}).lr == 0.0625
