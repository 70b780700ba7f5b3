import numpy as np
import pytest
import torch
from torch import nn

from brainmass_core.encoders.brainmass.implementation import IMPLEMENTATION
from brainmass_core.encoders.brainmass.model import build
from brainmass_core.interpret.attention import LAYERS, attention_maps, layer_attention

N = 20


@pytest.fixture
def model():
    model = build("tiny", N, seed=1).eval().requires_grad_(False)
    with torch.no_grad():  # norms and biases that are not 1 and 0
        for p in model.online.layers.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(2)))
    return model


def random_fc(n_scans: int, seed: int = 0) -> np.ndarray:
    return np.tanh(np.random.default_rng(seed).standard_normal((n_scans, N * (N - 1) // 2))).astype(
        np.float32
    )


def reference_layers(model, x):
    """Layers of torch with the same parameters: attention and tokens of each."""
    for i in range(len(model.online.layers)):
        layer = nn.TransformerEncoderLayer(N, model.heads, 256, 0.0, batch_first=True).eval()
        state = model.online.state_dict()
        layer.load_state_dict(
            {k.removeprefix(f"layers.{i}."): v for k, v in state.items() if f"layers.{i}." in k}
        )
        with torch.no_grad():
            _, attention = layer.self_attn(x, x, x, need_weights=True)
            yield attention
            x = layer(x)


def test_the_attention_is_what_torch_reports_of_layers_with_the_same_parameters(model):
    x = model.matrices(torch.from_numpy(random_fc(3)))
    ours = list(layer_attention(model.online.state_dict(), model.heads, x))
    theirs = list(reference_layers(model, x))
    assert len(ours) == len(theirs) == 2
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_maps_do_not_depend_on_how_many_scans_are_in_memory_at_once(model, monkeypatch):
    fc, group = random_fc(9), np.array(["a", "b", "a"] * 3, dtype=object)
    people = np.array([f"p{i}" for i in range(9)])
    whole = attention_maps(IMPLEMENTATION.transformer(model), fc, group, people)
    monkeypatch.setattr("brainmass_core.interpret.attention.MAX_WEIGHTS", 2 * model.heads * N * N)
    parts = attention_maps(IMPLEMENTATION.transformer(model), fc, group, people)
    for key, value in whole.maps.items():
        np.testing.assert_allclose(parts.maps[key], value, rtol=1e-5)
    np.testing.assert_allclose(parts.received, whole.received, rtol=1e-5)


def test_every_row_of_a_map_spreads_one_unit_of_attention(model):
    found = attention_maps(
        IMPLEMENTATION.transformer(model), random_fc(4), np.array(["a"] * 4), np.arange(4)
    )
    assert {layers for layers, _ in found.maps} == set(LAYERS)
    for matrix in found.maps.values():
        np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(found.received.mean(1), 1, rtol=1e-5)


def test_a_participant_counts_once_whatever_the_number_of_scans(model):
    fc = random_fc(3)
    group = np.array(["a"] * 3)
    twice = attention_maps(
        IMPLEMENTATION.transformer(model), fc[[0, 0, 1]], group, np.array(["p", "p", "q"])
    )
    once = attention_maps(
        IMPLEMENTATION.transformer(model), fc[[0, 1]], group[:2], np.array(["p", "q"])
    )
    np.testing.assert_allclose(twice.maps["mean", "a"], once.maps["mean", "a"], rtol=1e-5)
    assert twice.n_scans == {"a": 3}
    assert twice.n_participants == {"a": 2}
