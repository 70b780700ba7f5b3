"""Networks as methods of a task: which start from the model, and what they are told."""

from __future__ import annotations

import pytest
from synthetic_study import make_config

from brainmass_core.config import parse_config
from brainmass_core.config.methods import METHODS
from brainmass_core.finetune.methods.estimators import Setting
from brainmass_core.finetune.methods.families import RECIPES, make_network
from brainmass_core.finetune.methods.networks import FineTune


def test_only_what_starts_from_the_model_is_no_baseline(tmp_path):
    config = make_config(tmp_path)
    pretrained = {m for m in RECIPES if getattr(RECIPES[m](config), "folder", None)}
    assert {m for m in RECIPES if not METHODS[m].baseline} == pretrained


def test_settings_reach_the_network(tmp_path):
    raw = make_config(tmp_path).model_dump(mode="json", exclude_unset=True)
    config = parse_config(raw | {"neural": {"max_epochs": 4, "finetune_lr": 3e-3}})
    model = make_network("untrained_finetune", Setting("classification", 2, 11, config=config))
    assert model.max_epochs == 4
    assert model.random_state == 11
    assert model.recipe == FineTune(None, "tiny", None, 7, lr=3e-3)
    with pytest.raises(ValueError, match="expected a configuration"):
        make_network("brainnetcnn", Setting("classification", 2, 11))


def test_the_setting_that_a_recipe_names_is_that_of_its_learning_rate(tmp_path):
    raw = make_config(tmp_path).model_dump(mode="json", exclude_unset=True)
    for make in RECIPES.values():
        section, name = make(parse_config(raw)).knob.split(".")
        assert make(parse_config(raw | {section: {name: 0.0625}})).lr == 0.0625
