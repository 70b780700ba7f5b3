"""Which settings of pre-training can be combined, and which of them a BrainLM uses."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from brainmass_core.config import Config, ConfigError, dump_config, parse_config
from brainmass_core.pipeline.dag import Study
from brainmass_core.pipeline.hashing import stage_hash

TASK = {"datasets": ["a"], "label": "dx", "classes": {"x": ["0"], "y": ["1"]}}


def parsed(pretrain: dict[str, Any], **sections: Any) -> Config:
    datasets = {
        "a": {"kind": "timeseries", "role": "internal", "path": ".", "batches": 2},
        "c": {"kind": "timeseries", "role": "external", "path": "."},
    }
    raw = {"datasets": datasets, "atlas": {"n_rois": 30}, "pretrain": pretrain, **sections}
    return parse_config(raw, check_paths=False)


def test_a_brainlm_reads_series_and_the_dag_wants_them_and_no_pfc():
    config = parsed({"model": "brainlm-13m"})
    assert config.pretrain.source == "timeseries"
    dag = Study(config)
    assert dag.pretrain_tables() == [
        "results/timeseries/a/0.parquet",
        "results/timeseries/a/1.parquet",
    ]
    assert dag.model() == "results/pretrain/brainlm-13m/model.safetensors"
    assert not [f for f in dag.report_inputs("index") if "/pfc/" in f]


def test_a_dumped_configuration_is_read_back_as_it_was():
    for pretrain in ({}, {"model": "brainlm-650m", "brainlm": {"window": 161}}):
        config = parsed(pretrain)
        assert parse_config(yaml.safe_load(dump_config(config)), check_paths=False) == config


@pytest.mark.parametrize(
    ("pretrain", "message"),
    [
        ({"model": "brainlm-13"}, "pretrain.model: found 'brainlm-13'; did you mean 'brainlm-13m'"),
        ({"model": "brainlm-13m", "source": "pfc"}, "found source pfc with model brainlm-13m"),
        (
            {"model": "brainlm-13m", "size": "base", "ema_decay": 0.9},
            "found size, ema_decay with model brainlm-13m: only brainmass has them",
        ),
        ({"brainlm": {"window": 100}}, "brainlm: found these settings with model brainmass"),
        (
            {"model": "brainlm-13m", "brainlm": {"window": 210}},
            "brainlm.window: found 210, expected a multiple of 20",
        ),
        (
            {"model": "brainlm-tiny", "brainlm": {"future_share": 0.5, "future_steps": 30}},
            "brainlm.future_steps: found 30, expected a multiple of 20",
        ),
        (
            {"model": "brainlm-111m", "brainlm": {"future_share": 0.5, "future_steps": 200}},
            "brainlm.future_steps: found 200, expected less than the window of 200",
        ),
        ({"model": "brainlm-13m", "brainlm": {"mask_ratio": 1.0}}, "mask_ratio: found 1.0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(pretrain, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        parsed(pretrain)


def test_an_image_takes_any_window_and_a_future_that_is_never_hidden_any_number():
    image = parsed({"model": "brainlm-650m", "brainlm": {"window": 161}})
    never = parsed({"model": "brainlm-13m", "brainlm": {"future_steps": 33}})
    assert (image.pretrain.brainlm.window, never.pretrain.brainlm.future_steps) == (161, 33)


def test_the_defaults_of_tasks_follow_the_model_and_what_needs_the_other_one_is_refused():
    lm = {"model": "brainlm-tiny"}
    config = parsed(lm, tasks={"t": TASK}, few_shot={"shots": [2]})
    of_series = ["fc", "series", "brainlm", "untrained_brainlm"]
    assert config.few_shot.features == config.zero_shot.features == of_series
    assert config.interpret.methods == ["fc_pattern"]
    assert not [m for m in config.finetune.permutation_methods if "brainmass" in m]
    with pytest.raises(ConfigError) as caught:
        parsed(
            lm,
            tasks={"t": TASK},
            finetune={"methods": ["chance", "untrained_svm", "brainmass_svm"]},
            few_shot={"shots": [2], "features": ["fc", "brainmass"]},
            interpret={"methods": ["attention"]},
        )
    text = str(caught.value)
    assert "finetune.methods: found untrained_svm, brainmass_svm with pretrain.model" in text
    assert "few_shot.features: found brainmass" in text
    assert "interpret.methods: found attention" in text
    assert "zero_shot" not in text
    assert (
        "some of those available for brainlm-tiny: fc, series, brainlm, untrained_brainlm. " in text
    )
    assert "some of those available for brainlm-tiny: gradient, fc_pattern. " in text
    parsed(
        lm,
        tasks={"t": TASK},
        finetune={"methods": ["chance", "fc_svm", "tangent_logistic", "brainnetcnn"]},
    )
    plain = parsed({}, tasks={"t": TASK})
    assert plain.finetune.methods[4:] == ["untrained_svm", "brainmass_svm"]
    with pytest.raises(ConfigError, match=r"finetune.methods: found brainlm_svm.*need a BrainLM"):
        parsed({}, tasks={"t": TASK}, finetune={"methods": ["brainlm_svm"]})


def test_what_a_brainlm_is_fed_is_in_its_hash_and_in_no_other():
    base = parsed({"model": "brainlm-tiny"})
    now = stage_hash(base, "pretrain")
    others = [
        parsed({"model": "brainlm-vit-tiny"}),
        parsed({"model": "brainlm-tiny", "brainlm": {"window": 100}}),
        parsed({"model": "brainlm-tiny"}, seed=7),
        parsed({"model": "brainlm-tiny"}, timeseries={"n_compcor": 3}),
    ]
    assert len({now, *(stage_hash(c, "pretrain") for c in others)}) == 5
    assert stage_hash(parsed({"model": "brainlm-tiny"}, pfc={"window": 30}), "pretrain") == now
    assert stage_hash(parsed({"model": "brainlm-tiny", "nodes": 4}), "pretrain") == now
