"""A method is features and an estimator; all its other properties follow from these two."""

from __future__ import annotations

import pytest

from brainmass_core.config import ConfigError, parse_config
from brainmass_core.config.names import METHOD_NAMES
from brainmass_core.encoders.methods import ESTIMATORS, OWN_FEATURES, Method
from brainmass_core.encoders.registry import FEATURES, METHODS, encoders, is_pretrained
from brainmass_core.finetune.methods import estimators
from brainmass_core.finetune.methods.features import MAKERS
from brainmass_core.finetune.methods.fitting import BEFORE
from brainmass_core.finetune.methods.network_estimators import RECIPES


def test_every_entry_of_a_registry_is_part_of_a_method_and_can_be_made():
    assert tuple(METHODS) == METHOD_NAMES
    assert {m.features.name for m in METHODS.values()} == set(FEATURES)
    assert {m.estimator.name for m in METHODS.values()} == set(ESTIMATORS)
    of_encoders = {name for e in encoders() for name in e.features}
    assert {m.given for m in METHODS.values()} == {*MAKERS, *of_encoders}
    networks = {name for name, m in METHODS.items() if m.estimator.is_network}
    assert networks == {*RECIPES, *(n.name for e in encoders() for n in e.networks)}
    assert set(estimators.ESTIMATORS) == {e.name for e in ESTIMATORS.values() if not e.is_network}
    assert set(BEFORE) < set(OWN_FEATURES)


def test_a_new_pair_has_a_name_a_label_and_what_follows_from_its_parts():
    method = Method(FEATURES["series"], ESTIMATORS["knn"])
    assert method.name == "series_knn"
    assert method.label == "Raw series, k-NN"
    assert method.stores_scans
    assert method.baseline
    assert method.given == "series"
    trained = Method(FEATURES["brainlm"], ESTIMATORS["lora"])
    assert (trained.name, trained.label, trained.given) == (
        "brainlm_lora",
        "BrainLM, LoRA",
        "series",
    )
    assert not trained.baseline


def test_only_what_is_on_the_weights_of_the_study_is_pre_trained():
    found = {m for m in METHODS if is_pretrained(m)}
    assert {METHODS[m].features.name for m in found} == {
        *("brainmass", "brainmass_tokens", "fc_brainmass", "brainmass_projection"),
        "brainlm",
    }
    assert not is_pretrained("brainmass_of_another_version")


def test_a_method_that_nothing_composes_is_refused_by_name():
    dataset = {"kind": "timeseries", "role": "internal", "path": "."}
    with pytest.raises(ConfigError, match="found 'series_knn'; did you mean 'series_svm'"):
        parse_config({"datasets": {"x": dataset}, "finetune": {"methods": ["series_knn"]}})
