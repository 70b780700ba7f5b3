"""The reference page lists encoders as their records describe them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from brainmass_core.config.encoder import METHODS_KNOB, fits
from brainmass_core.config.names import FEATURE_NAMES, METHOD_NAMES, MODEL_NAMES
from brainmass_core.config.sections import Pretrain
from brainmass_core.encoders.interface import Implementation, implementation_of
from brainmass_core.encoders.registry import METHODS, encoder_of, encoders
from brainmass_core.pretrain.model_spec import ModelSpec


def test_the_listed_names_are_those_of_the_records():
    known = encoders()
    assert {m for e in known for m in e.models} == set(MODEL_NAMES)
    assert {f for e in known for f in e.features} == set(FEATURE_NAMES) - {"fc", "series"}
    of_none = {m for m in METHOD_NAMES if METHODS[m].encoder is None}
    assert {m for e in known for m in e.methods} == set(METHOD_NAMES) - of_none
    assert of_none >= {"chance", "fc_svm", "series_svm"}


def test_a_method_goes_with_the_one_encoder_whose_it_is_and_the_series_with_what_sees_them():
    brainmass, brainlm = encoder_of("brainmass"), encoder_of("brainlm-13m")
    for name, of_fc, of_series in (
        ("fc_svm", True, True),
        ("brainmass_svm", True, False),
        ("untrained_svm", True, False),
        ("untrained_brainlm_svm", False, True),
        ("brainlm_finetune", False, True),
        ("series_svm", False, True),
    ):
        found = [fits(METHODS_KNOB, name, encoder) for encoder in (brainmass, brainlm)]
        assert found == [of_fc, of_series], name
    assert fits("few_shot.features", "brainlm", brainlm)
    assert not fits("few_shot.features", "brainlm", brainmass)


def test_a_method_says_whose_it_is_and_by_which_weights():
    brainmass, brainlm = encoder_of("brainmass"), encoder_of("brainlm-13m")
    for name, encoder, pretrained, series in (
        ("fc_svm", None, False, False),
        ("series_svm", None, False, True),
        ("untrained_svm", brainmass, False, False),
        ("brainmass_lora", brainmass, True, False),
        ("untrained_brainlm_finetune", brainlm, False, True),
        ("brainlm_ridge", brainlm, True, True),
    ):
        m = METHODS[name]
        assert (m.encoder, m.pretrained, m.series) == (encoder, pretrained, series), name


@pytest.mark.parametrize("encoder", encoders(), ids=lambda e: e.name)
def test_a_record_names_what_there_is(encoder):
    does = implementation_of(encoder)
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
