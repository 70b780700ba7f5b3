"""Readouts of BrainMass other than its embedding, and the Fisher z transform of its input."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from brainmass_core.config import parse_config
from brainmass_core.encoders.brainmass.head import Adapted, FineTune
from brainmass_core.encoders.brainmass.implementation import Shape
from brainmass_core.encoders.brainmass.model import BrainMass, build
from brainmass_core.encoders.brainmass.official import export_official
from brainmass_core.encoders.registry import FEATURES, METHODS
from brainmass_core.models.pretrained import ModelError
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.predict.model import encoder_of, weights_of
from brainmass_core.predict.serialization import SerializationError

N = 12
ABOVE = np.triu_indices(N, 1)
CONFIG = {"datasets": {"x": {"kind": "timeseries", "role": "internal", "path": "."}}}


@pytest.fixture(scope="module")
def fc() -> np.ndarray:
    """Three FC matrices (3, N, N), float32; a correlation of exactly 1 is among them."""
    series = np.random.default_rng(0).standard_normal((3, 60, N))
    series[0, :, 1] = series[0, :, 0]
    return np.stack([np.corrcoef(s.T) for s in series]).astype(np.float32)


@pytest.fixture(scope="module")
def edges(fc) -> torch.Tensor:
    return torch.from_numpy(fc[:, *ABOVE])


def made(**options) -> BrainMass:
    return build("tiny", N, 3, **options).eval().requires_grad_(False)


def test_tokens_are_the_last_layer_above_the_diagonal(fc, edges):
    model = made()
    x = torch.from_numpy(fc)
    for layer in model.online.layers:
        x = layer(x)
    expected = x.numpy()[:, *ABOVE]
    np.testing.assert_array_equal(model.encode(torch.from_numpy(fc), readout="tokens"), expected)
    np.testing.assert_allclose(model.encode(edges, readout="tokens"), expected, atol=1e-6)


@pytest.mark.parametrize("fisher_z", [False, True])
def test_beside_fc_is_fc_itself_and_then_the_embedding(fc, edges, fisher_z):
    model = made(fisher_z=fisher_z)
    for given in (edges, torch.from_numpy(fc)):
        found = model.encode(given, readout="beside_fc").numpy()
        np.testing.assert_array_equal(found[:, : edges.shape[1]], edges)
        np.testing.assert_allclose(found[:, edges.shape[1] :], model.encode(edges), atol=1e-6)


def test_the_projection_of_a_scan_does_not_depend_on_the_others(edges):
    model = made()
    norm = model.online.projector[1]
    norm.running_mean.uniform_(-0.1, 0.1)  # as after some training
    hidden = model.online.projector[0](model.encode(edges))
    scaled = (hidden - norm.running_mean) / torch.sqrt(norm.running_var + norm.eps)
    expected = model.online.projector[3](torch.relu(scaled))
    found = model.encode(edges, readout="projection")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(model.encode(edges[:1], readout="projection"), found[:1], atol=1e-5)


def test_an_unknown_readout_is_refused(edges):
    with pytest.raises(
        ValueError, match="found readout 'token', expected tokens, beside_fc, projection"
    ):
        made().encode(edges, readout="token")


def test_a_model_with_fisher_z_sees_what_numpy_transforms(fc, edges):
    limit = np.float32(0.999999)
    transformed = np.arctanh(np.clip(fc, -limit, limit))
    plain = made().online.embed(torch.from_numpy(transformed))
    model = made(fisher_z=True)
    np.testing.assert_allclose(model.encode(edges), plain, atol=1e-4)
    np.testing.assert_allclose(model.encode(torch.from_numpy(fc)), plain, atol=1e-4)
    assert float((model.encode(edges) - made().encode(edges)).abs().max()) > 0.01
    np.testing.assert_allclose(model.matrices(edges), transformed, rtol=1e-4)  # 7.25 at FC = 1


def test_the_losses_are_those_of_transformed_input(fc):
    views = torch.from_numpy(fc).requires_grad_(False)
    masks = torch.tensor([[0, 3], [1, 5], [2, 4]])
    z = torch.atanh(views.clamp(-0.999999, 0.999999))
    losses = []
    for model, given in ((made(fisher_z=True), views), (made(), z)):
        found = model(given, given.flip(0), masks, masks)
        losses.append([float(found[k]) for k in ("alignment", "classification", "reconstruction")])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


@pytest.mark.parametrize("fisher_z", [False, True])
def test_a_stored_model_keeps_its_transform(tmp_path, edges, fisher_z):
    made(fisher_z=fisher_z).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings.get("fisher_z") == (True if fisher_z else None)  # as files without the setting
    model = BrainMass.from_pretrained(tmp_path)
    assert model.fisher_z is fisher_z
    expected = made(fisher_z=fisher_z).encode(edges)
    np.testing.assert_array_equal(model.encode(edges), expected)
    assert Shape.of(model).build().fisher_z is fisher_z


def test_a_switch_that_is_none_is_refused(tmp_path):
    made().save_pretrained(tmp_path, {"fisher_z": "no"})
    with pytest.raises(ModelError, match="fisher_z: found 'no', expected true or false"):
        BrainMass.from_pretrained(tmp_path)


def test_a_model_of_fisher_z_is_not_exported_to_code_that_has_none(tmp_path):
    made(fisher_z=True).save_pretrained(tmp_path / "model")
    with pytest.raises(ModelError, match="found fisher_z true; the released code gives"):
        export_official(tmp_path / "model", tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()


@pytest.mark.parametrize("pretrained", [False, True])
def test_fine_tuning_sees_the_same_input(tmp_path, fc, edges, pretrained):
    made(fisher_z=True).save_pretrained(tmp_path)
    folder = str(tmp_path) if pretrained else None
    recipe = FineTune(folder, "tiny", None, 3, fisher_z=not pretrained)  # a folder has its own
    network = recipe.build(N, 1).eval()
    assert isinstance(network, Adapted)
    expected = made(fisher_z=True).encode(edges)
    found = network.embed(torch.from_numpy(fc)).detach()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert recipe.stored(network).fisher_z is True


def test_the_setting_changes_the_hash_and_its_default_does_not():
    config, transformed = (
        parse_config(CONFIG | {"pretrain": pretrain}) for pretrain in ({}, {"fisher_z": True})
    )
    explicit = parse_config(CONFIG | {"pretrain": {"fisher_z": False}})
    assert stage_hash(config, "pretrain") == stage_hash(explicit, "pretrain")
    assert stage_hash(config, "pretrain") != stage_hash(transformed, "pretrain")


def test_each_readout_has_a_control_with_initial_weights():
    for name, control in (
        ("brainmass_tokens", "untrained_tokens"),
        ("fc_brainmass", "fc_untrained"),
        ("brainmass_projection", "untrained_projection"),
    ):
        assert FEATURES[name].pretrained
        assert not FEATURES[control].pretrained
        assert FEATURES[name].readout == FEATURES[control].readout != ""
        for estimator in ("svm", "logistic", "ridge"):
            method = METHODS[f"{name}_{estimator}"]
            assert not method.stores_scans  # linear
            assert METHODS[f"{control}_{estimator}"].baseline
            assert not method.baseline
        assert f"{name}_knn" not in METHODS
    assert METHODS["fc_brainmass_svm"].label == "FC + BrainMass, SVM"


def test_a_deployed_model_has_the_projector_if_its_readout_needs_it():
    model = made()
    for features, needed in (("brainmass", False), ("brainmass_projection", True)):
        names = weights_of(features, model)
        assert any("projector" in name for name in names) is needed
        contract = SimpleNamespace(features=features, architecture=Shape.of(model))
        assert encoder_of(contract, names) is not None
        without = {k: v for k, v in names.items() if "projector" not in k}
        if needed:
            with pytest.raises(SerializationError, match=r"tensors are missing.*projector"):
                encoder_of(contract, without)
