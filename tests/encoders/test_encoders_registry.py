"""The record of an encoder: what is listed for the reference page is what the records say."""

from __future__ import annotations

import subprocess
import sys

import pytest

from brainmass_core.config.names import FEATURE_NAMES, METHOD_NAMES, MODEL_NAMES
from brainmass_core.config.stages import Pretrain
from brainmass_core.encoders.interface import Implementation
from brainmass_core.encoders.registry import (
    encoder_of,
    encoders,
    goes_with,
    is_pretrained,
    is_untrained,
    owner_of,
)
from brainmass_core.pretrain.model_spec import ModelSpec


def test_the_listed_names_are_those_of_the_records():
    known = encoders()
    assert {m for e in known for m in e.models} == set(MODEL_NAMES)
    assert {f for e in known for f in e.features} == set(FEATURE_NAMES) - {"fc", "series"}
    assert {m for e in known for m in e.methods} == {m for m in METHOD_NAMES if owner_of(m)}
    assert {m for m in METHOD_NAMES if not owner_of(m)} >= {"chance", "fc_svm", "series_svm"}


def test_a_method_goes_with_the_one_encoder_whose_it_is_and_the_series_with_what_sees_them():
    brainmass, brainlm = encoder_of("brainmass"), encoder_of("brainlm-13m")
    for name, of_fc, of_series in (
        ("fc_svm", True, True),
        ("brainmass_svm", True, False),
        ("untrained_svm", True, False),
        ("untrained_brainlm_svm", False, True),
        ("brainlm", False, True),
        ("series_svm", False, True),
    ):
        assert (goes_with(name, brainmass), goes_with(name, brainlm)) == (of_fc, of_series), name
    assert is_untrained("untrained_brainlm_finetune")
    assert is_pretrained("brainmass_lora")
    assert not is_pretrained("fc_svm")
    assert not is_untrained("fc_svm")


@pytest.mark.parametrize("encoder", encoders(), ids=lambda e: e.name)
def test_a_record_names_what_there_is(encoder):
    does = encoder.load()
    assert isinstance(does, Implementation)
    assert isinstance(does.training, ModelSpec)
    assert set(encoder.knobs) <= set(Pretrain.model_fields)
    assert set(encoder.token_steps) <= set(encoder.models)
    assert encoder.pages.paragraph.is_file()
    assert set(encoder.pages.features) == set(encoder.features)
    assert set(encoder.pages.losses) <= set(does.training.history.names)


@pytest.mark.study
def test_records_and_configuration_load_no_torch():
    code = (
        "import sys; from brainmass_core.encoders import encoders; encoders(); "
        "import brainmass_core.config; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
