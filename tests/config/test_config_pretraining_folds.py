"""With several encoders, what would need a single one is refused before anything runs."""

import json

import pytest

from brainmass_core.config import ConfigError, parse_config
from brainmass_core.pipeline.hashing import _stage_part, stage_hash

DATASET = {"kind": "timeseries", "role": "internal", "path": "."}
TASK = {"datasets": ["a"], "label": "dx", "classes": {"no": ["0"], "yes": ["1"]}}


def raw(**over):
    return {
        "datasets": {"a": DATASET, "new": DATASET | {"role": "external"}},
        "tasks": {"dx": TASK},
        "pretrain": {"folds": 3},
    } | over


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"pretrain": {"folds": 3, "model": "brainlm-tiny"}}, "only available for encoders of FC"),
        ({"datasets": {"a": DATASET | {"role": "external"}}}, "no data set has role internal"),
        ({"pretrain": {"folds": 6}}, r"protocol.n_splits: found 5, expected at least .* \(6\)"),
        ({"tasks": {"dx": TASK, "b": TASK | {"datasets": ["new"], "zero_shot_from": "dx"}}},
         "zero_shot_from: not available with pretrain.folds"),
        ({"finetune": {"methods": ["brainmass_ridge"], "deploy": "brainmass_ridge"}},
         "finetune.deploy: found brainmass_ridge with pretrain.folds"),
        ({"pretrain": {"folds": 1}}, "greater than or equal to 2"),
        ({"pretrain": {"folds": 11}}, "less than or equal to 10"),
    ],
)  # fmt: skip
def test_what_needs_one_encoder_is_refused(over, said):
    with pytest.raises(ConfigError, match=said):
        parse_config(raw(**over))


def test_a_model_without_a_pretrained_encoder_is_stored_by_default():
    methods = {"methods": ["brainmass_ridge", "fc_ridge"]}
    assert parse_config(raw(finetune=methods)).deployed("dx") == "fc_ridge"
    assert parse_config(raw(finetune=methods, pretrain={})).deployed("dx") == "brainmass_ridge"
    alone = parse_config(raw(finetune={"methods": ["brainmass_ridge"]}))
    assert alone.deployed("dx") is None


def test_without_folds_nothing_of_them_is_in_a_hash():
    one = parse_config(raw(pretrain={}))
    for stage, name in (("scans", "a"), ("pfc", "a"), ("pretrain", None), ("finetune", "dx")):
        text = json.dumps(_stage_part(one, stage, name))
        assert "folds" not in text
        assert "crossed" not in text


def test_another_number_of_folds_changes_pretraining_and_what_follows_only():
    two, three = (parse_config(raw(pretrain={"folds": n})) for n in (2, 3))
    same = [("scans", "a"), ("scans", "new"), ("pfc", "a"), ("connectivity", "a"), ("quality", "a")]
    for stage, name in same:
        assert stage_hash(two, stage, name) == stage_hash(three, stage, name)
    for stage, name in (("pretrain", None), ("finetune", "dx"), ("report", None)):
        assert stage_hash(two, stage, name) != stage_hash(three, stage, name)


def test_each_encoder_has_its_own_hash_and_the_study_another():
    config = parse_config(raw())
    hashes = {stage_hash(config.for_fold(i), "pretrain") for i in (None, *config.folds)}
    assert len(hashes) == 4
    assert config.pretrain.fold is None


def test_who_is_tested_changes_no_image_when_folds_are_introduced():
    one, several = parse_config(raw(pretrain={})), parse_config(raw())
    for stage in ("images", "timeseries", "connectivity", "quality", "views"):
        assert stage_hash(one, stage, "a") == stage_hash(several, stage, "a")
    for stage in ("scans", "split", "pfc"):
        assert stage_hash(one, stage, "a") != stage_hash(several, stage, "a")
    assert stage_hash(one, "scans", "new") == stage_hash(several, "scans", "new")
