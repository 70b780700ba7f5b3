"""A BrainLM as a method: which settings it requires, and what is fitted."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_series_study import BUILD, WINDOW, store_brainlm
from synthetic_study import N_ROIS, make_config

from brainmass_core.config import ConfigError, parse_config
from brainmass_core.encoders.registry import METHODS
from brainmass_core.finetune.folds.participants import make_folds
from brainmass_core.finetune.methods.components import Components
from brainmass_core.finetune.methods.estimators import Setting
from brainmass_core.finetune.methods.fitting import predict_folds
from brainmass_core.finetune.methods.network_estimators import make_network
from brainmass_core.finetune.methods.series_networks import SeriesClassifier
from brainmass_core.pipeline.dag import Study as Dag
from brainmass_core.timeseries.robust_scaling import RobustScaling


def test_components_are_those_of_the_training_scans_alone(people):
    rng = np.random.default_rng(0)
    fold = make_folds(people, 3, 1, seed=0)[0]
    y = people["y"].to_numpy()
    features = rng.standard_normal((len(y), 300)) + y[:, None]
    changed = features.copy()
    changed[fold.test[1:]] *= 40.0
    before, after = (
        predict_folds("series_svm", x, y, [fold], seed=0)["y_score"] for x in (features, changed)
    )
    assert after[0] == pytest.approx(before[0], rel=1e-9)
    assert not np.allclose(after[1:], before[1:])
    assert Components(5).fit_transform(features).shape == (len(y), 5)
    assert Components().fit(features[:9]).transform(features).shape == (len(y), 9)


def test_what_needs_the_other_model_is_refused_and_the_defaults_follow_the_model(tmp_path):
    raw = make_config(tmp_path).model_dump(mode="json", exclude_unset=True)
    raw["finetune"]["methods"] = ["fc_svm", "series_svm", "brainlm_svm"]
    with pytest.raises(ConfigError, match=r"found series_svm, brainlm_svm with pretrain.model bra"):
        parse_config(raw)
    del raw["finetune"]["methods"]
    assert "brainmass_svm" in parse_config(raw).finetune.methods
    raw["pretrain"] = {"model": "brainlm-tiny"}
    lm = parse_config(raw)
    assert lm.finetune.methods[-3:] == ["series_svm", "untrained_brainlm_svm", "brainlm_svm"]
    assert parse_config(lm.model_dump(mode="json")) == lm
    raw["finetune"]["methods"] = ["fc_svm", "untrained_knn", "brainlm_svm"]
    with pytest.raises(ConfigError, match=r"methods: found untrained_knn with.*brainlm-ti"):
        parse_config(raw)
    assert lm.finetune.deployed("classification") == "fc_svm"  # it contains no training scan


def test_tasks_wait_for_the_series_of_their_data_sets(tmp_path):
    raw = make_config(tmp_path).model_dump(mode="json", exclude_unset=True)
    raw["datasets"]["outside"] = raw["datasets"]["demo"] | {"role": "external"}
    raw["tasks"]["there"] = raw["tasks"]["demo_task"] | {
        "datasets": ["outside"],
        "zero_shot_from": ["demo"],
    }
    del raw["finetune"]["methods"]
    # a BrainLM reads them; they identify copies of scans used in pre-training
    for pretrain in ({"model": "brainlm-tiny"}, {}):
        dag = Dag(parse_config(raw | {"pretrain": pretrain}))
        series = set(dag.tables("timeseries", ["outside"]))
        for needed in (dag.task_inputs("there"), dag.zero_shot_inputs("there")):
            assert series <= set(needed)
            assert len(needed) == len(set(needed))


def trained_on_windows(tmp_path, **neural) -> tuple[SeriesClassifier, np.ndarray, np.ndarray]:
    """`brainlm_finetune` fitted to white and to slow windows, and others to test."""
    raw = make_config(tmp_path).model_dump(mode="json", exclude_unset=True)
    del raw["finetune"]["methods"]
    raw |= {"pretrain": {"model": "brainlm-tiny", "brainlm": {"window": WINDOW}}, "neural": neural}
    config = parse_config(raw)
    store_brainlm(config, RobustScaling((0.0,) * N_ROIS, (1.0,) * N_ROIS, 1))
    setting = Setting("classification", 2, 0, config=config)
    rng, y = np.random.default_rng(0), np.arange(120) % 2
    X = rng.standard_normal((120, N_ROIS, WINDOW)).astype(np.float32)
    X[y == 1] = np.cumsum(X[y == 1], axis=2) / 4
    X = X.reshape(120, -1)
    model = make_network(METHODS["brainlm_finetune"], setting)
    return model.fit(X[:80], y[:80]), X[80:], y[80:]


def test_training_further_learns_dynamics_and_moves_every_weight_of_the_encoder(tmp_path):
    model, X, y = trained_on_windows(tmp_path, max_epochs=8, patience=8, finetune_lr=3e-3)
    assert (model.predict(X) == y).mean() > 0.9
    np.testing.assert_array_equal(model.decision_function(X), model.decision_function(X))
    before = BUILD["brainlm-tiny"]("tiny", seed=3).state_dict()
    after = model.network_.model.state_dict()
    assert set(after) == {name for name in before if not name.startswith("decoder.")}
    assert not [name for name, weight in after.items() if weight.equal(before[name])]
    layers = [type(layer).__name__ for layer in model.network_.head]
    assert layers == ["Linear", "Dropout", "ReLU"] * 2 + ["Linear"]
    assert [layer.p for layer in model.network_.head[1::3]] == [0.4, 0.4]


def test_a_series_network_wants_a_configuration():
    with pytest.raises(ValueError, match="brainlm_finetune: expected a configuration"):
        make_network(METHODS["brainlm_finetune"], Setting("classification", 2, 0))


@pytest.mark.parametrize("section", ["few_shot", "zero_shot"])
def test_features_of_the_other_model_are_refused_and_those_that_apply_are_named(tmp_path, section):
    raw = make_config(tmp_path).model_dump(mode="json", exclude_unset=True)
    raw["pretrain"] = {"model": "brainlm-tiny"}
    raw["datasets"]["other"] = raw["datasets"]["demo"] | {"role": "external"}
    raw["tasks"]["demo_task"]["zero_shot_from"] = ["other"]
    asked = {"shots": [2]} if section == "few_shot" else {}
    raw[section] = asked | {"features": ["fc", "brainmass", "untrained"]}
    said = (
        rf"{section}.features: found brainmass, untrained with pretrain.model brainlm-tiny.*"
        r"Set .* to some of .*: fc, series, brainlm, untrained_brainlm\. Or"
    )
    with pytest.raises(ConfigError, match=said):
        parse_config(raw)
    raw["pretrain"] = {}
    raw[section] = asked | {"features": ["fc", "series", "brainlm"]}
    available = (
        "fc, brainmass, untrained, brainmass_tokens, untrained_tokens, fc_brainmass, fc_untrained, "
        "brainmass_projection, untrained_projection"
    )
    said = rf"{section}.features: found series, brainlm with .*: {available}\. Or"
    with pytest.raises(ConfigError, match=said):
        parse_config(raw)
