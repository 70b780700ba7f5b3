"""One rule says who may be pre-trained on."""

from __future__ import annotations

import pytest
from synthetic_study import make_config

from brainmass_core.pipeline import eligibility
from brainmass_core.pipeline.eligibility import (
    dataset_may_be_pretrained_on,
    may_be_pretrained_on,
)
from brainmass_core.pipeline.stages import STAGES


@pytest.mark.parametrize(
    ("split", "may"), [("pretrain", True), ("train", True), ("test", False), (None, False)]
)
def test_only_who_is_not_kept_for_evaluation_may_be_pretrained_on(split, may):
    assert may_be_pretrained_on(split) is may


@pytest.mark.parametrize(("role", "may"), [("pretrain", 2), ("internal", 2), ("external", 1)])
def test_the_data_sets_of_a_pre_training_are_those_that_its_stages_take(tmp_path, role, may):
    raw = make_config(tmp_path).model_dump(mode="json", exclude_unset=True)
    other = raw["datasets"]["demo"] | {"role": role}
    config = make_config(tmp_path).model_validate(
        raw | {"datasets": raw["datasets"] | {"other": other}}
    )
    assert len(config.pretrain_datasets()) == may
    for stage in ("pfc", "pretrain"):
        assert STAGES[stage].takes is dataset_may_be_pretrained_on


def test_no_module_spells_the_rule_again(root):
    """Splits are compared with ``test`` where somebody is tested, never to find who is shown."""
    own = eligibility.__name__.rpartition(".")[2]
    for path in (root / "brainmass_core").rglob("*.py"):
        if path.stem != own:
            text = path.read_text()
            assert '("pretrain", "train")' not in text, path
            assert '.role != "external"' not in text, path
