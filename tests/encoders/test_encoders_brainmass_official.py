"""Checkpoints of the released code, built here from plain torch modules with its names."""

from __future__ import annotations

import json
import math
import pickle
import zlib
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import nn

from brainmass_core.encoders.brainmass.model import BrainMass, build
from brainmass_core.encoders.brainmass.network import SIZES
from brainmass_core.encoders.brainmass.official import (
    export_official,
    from_official,
    import_official,
    official_name,
    read_official,
    size_of,
    to_official,
)
from brainmass_core.models.pretrained import ModelError
from brainmass_core.models.weights import plain_names


def mlp(width: int, hidden: int, out: int) -> nn.Module:
    head = nn.Module()
    head.net = nn.Sequential(
        nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out)
    )
    return head


class Network(nn.Module):
    """The encoder as the specification describes it, under the released names."""

    def __init__(self, size: str, n_rois: int, heads: int) -> None:
        super().__init__()
        shape = SIZES[size]
        self.attention_list = nn.ModuleList(
            nn.TransformerEncoderLayer(n_rois, heads, shape.feedforward, batch_first=True)
            for _ in range(shape.depth)
        )
        self.dim_reduction = nn.Sequential(nn.Linear(n_rois, 8), nn.LeakyReLU())
        self.g = mlp(8 * n_rois, 16 * n_rois, shape.feature_dim)

    def embed(self, fc: torch.Tensor) -> torch.Tensor:
        for layer in self.attention_list:
            fc = layer(fc)
        return self.dim_reduction(fc).flatten(1)


class Released(nn.Module):
    """Complete content of a released checkpoint."""

    def __init__(self, size: str, n_rois: int, heads: int) -> None:
        super().__init__()
        feedforward, dim = SIZES[size].feedforward, SIZES[size].feature_dim
        self.online_network = Network(size, n_rois, heads)
        self.target_network = Network(size, n_rois, heads)
        self.predictor = mlp(dim, 2 * dim, dim)
        for name in ("mask_embed", "cls_token", "dist_token"):
            self.register_parameter(name, nn.Parameter(torch.randn(1, 1, n_rois)))
        self.norm = nn.LayerNorm(n_rois)
        for name in ("cpred", "gpred"):
            layers = (nn.Linear(n_rois, feedforward), nn.LeakyReLU())
            self.add_module(name, nn.Sequential(*layers, nn.Linear(feedforward, n_rois)))

    def save(self, path: Path, prefix: str = "") -> Path:
        tensors = {prefix + k: v for k, v in self.state_dict().items()}
        parts = {
            "online_network_state_dict": self.online_network.state_dict(),
            "target_network_state_dict": self.target_network.state_dict(),
        }
        torch.save({"model": tensors, **parts}, path)
        return path


def released(size: str, n_rois: int = 100, heads: int | None = None) -> Released:
    torch.manual_seed(0)
    return Released(size, n_rois, heads or SIZES[size].heads).eval().requires_grad_(False)


def fc(n_rois: int) -> torch.Tensor:
    series = np.random.default_rng(0).standard_normal((3, n_rois, 120))
    return torch.from_numpy(np.stack([np.corrcoef(s) for s in series])).float()


@pytest.mark.parametrize("size", ["tiny", "small", "base", "large"])
def test_an_imported_checkpoint_embeds_as_the_released_modules(size, tmp_path):
    theirs = released(size)
    import_official(theirs.save(tmp_path / "c.pth"), tmp_path / "model", "atlas", "ledoit_wolf")
    model = BrainMass.from_pretrained(tmp_path / "model")
    assert (model.size, model.n_rois, model.heads) == (size, 100, SIZES[size].heads)
    x = fc(100)
    torch.testing.assert_close(model.encode(x), theirs.online_network.embed(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("others", [{}, {"target_network_state_dict": {}, "epoch": 3}])
def test_the_online_network_alone_embeds_as_in_its_file(prefix, others, tmp_path, caplog):
    theirs = released("tiny", 20, heads=4)
    online = {prefix + k: v for k, v in theirs.online_network.state_dict().items()}
    torch.save({"online_network_state_dict": online} | others, tmp_path / "c.pth")
    import_official(tmp_path / "c.pth", tmp_path / "model", "atlas", "pearson", heads=4)
    model = BrainMass.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(model.encode(fc(20)), theirs.online_network.embed(fc(20)))
    for mine, copied in zip(model.online.parameters(), model.target.parameters(), strict=True):
        assert torch.equal(mine, copied)
    assert torch.equal(model.cls_token, build("tiny", 20, 0, 4).cls_token)
    assert "contained the online network alone" in (tmp_path / "model" / "README.md").read_text()
    assert ("not epoch, target_network_state_dict" in caplog.text) == bool(others)


def test_an_online_network_with_a_tensor_missing_is_refused(tmp_path):
    online = released("tiny", 20).online_network.state_dict()
    del online["g.net.0.bias"]
    torch.save({"online_network_state_dict": online}, tmp_path / "c.pth")
    with pytest.raises(ModelError, match=r"without 1 tensors, such as online_network.g.net.0.bias"):
        import_official(tmp_path / "c.pth", tmp_path / "model", "atlas", "pearson")


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_from_official_to_ours_and_back_every_tensor_is_identical(size, tmp_path):
    first = released(size).save(tmp_path / "first.pth")
    import_official(first, tmp_path / "model", "atlas", "ledoit_wolf")
    export_official(tmp_path / "model", tmp_path / "second.pth")
    a, b = (torch.load(tmp_path / f"{n}.pth", weights_only=True) for n in ("first", "second"))
    assert a.keys() == b.keys()
    for part in a:
        assert a[part].keys() == b[part].keys()
        assert all(torch.equal(a[part][k], b[part][k]) for k in a[part])
    released(size).load_state_dict(b["model"])  # the strict loading of the released code


def test_the_embeddings_of_the_specification_come_out_of_a_checkpoint_file(tmp_path):
    theirs = released("base")
    for name, p in theirs.named_parameters():
        key = name.removeprefix("online_network.").removeprefix("target_network.")
        draw = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(tuple(p.shape))
        if p.ndim == 2:
            p.copy_(torch.from_numpy(draw / math.sqrt(p.shape[1])))
        elif p.ndim == 1:
            p.fill_(1.0 if key.endswith("weight") else 0.0)
    model = from_official(read_official(theirs.save(tmp_path / "c.pth")))
    normal = [np.random.RandomState(s).standard_normal for s in (7, 8, 9)]
    series = normal[0]((4, 100, 8)) @ normal[1]((4, 8, 160)) + 2 * normal[2]((4, 100, 160))
    x = torch.from_numpy(np.stack([np.corrcoef(s) for s in series[..., :128]])).float()
    norms = model.encode(x).norm(dim=1).tolist()
    assert norms == pytest.approx([26.4878, 28.6950, 32.5951, 28.5905], rel=1e-5)


def test_names_of_data_parallel_training_and_other_atlases_are_read(tmp_path):
    path = released("small", 116, heads=4).save(tmp_path / "c.pth", prefix="module.")
    model = from_official(read_official(path), heads=4)
    assert (model.size, model.n_rois, model.heads) == ("small", 116, 4)
    with pytest.raises(ModelError, match=r"do not divide 116 ROIs; set --heads to 4 or 29"):
        from_official(read_official(path))


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("width", [20, 50])
def test_a_layer_norm_that_is_left_out_is_mentioned(prefix, width, tmp_path, caplog):
    theirs = released("tiny", 20)
    theirs.norm = nn.LayerNorm(width).requires_grad_(False)
    theirs.norm.weight.fill_(2.0)
    path = theirs.save(tmp_path / "c.pth", prefix)
    import_official(path, tmp_path / "model", "atlas", "pearson")
    assert "layer norm" in caplog.text


@hypothesis.given(
    size=st.sampled_from(["tiny", "small", "base", "large", "release-2"]),
    n_rois=st.integers(1, 40).map(lambda k: 20 * k),
    order=st.randoms(use_true_random=False),
    prefix=st.sampled_from(["", "module.", "_orig_mod.", "module._orig_mod."]),
)
@hypothesis.settings(max_examples=10)
def test_the_size_is_read_from_shapes_in_any_order(size, n_rois, order, prefix):
    with torch.device("meta"):
        ours = list(BrainMass(size, n_rois).state_dict().items())
    order.shuffle(ours)
    tensors = {prefix + official_name(name): tensor for name, tensor in ours}
    assert len(tensors) == len(ours)
    assert size_of(plain_names("c", tensors)) == (size, n_rois)


def test_a_model_of_ours_is_exported_whole():
    model = build("tiny", 20, seed=0)
    assert to_official(model).keys() == released("tiny", 20).state_dict().keys()


class Harmful:
    def __reduce__(self):
        return Path.touch, (Path("harmed"),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Harmful()}, "torch.pth")
    Path("plain.pth").write_bytes(pickle.dumps({"model": Harmful()}))
    for name in ("torch.pth", "plain.pth"):
        with pytest.raises(ModelError, match=rf"{name}: not a checkpoint that can be read safely"):
            read_official(Path(name))
    assert not Path("harmed").exists()


def test_what_is_no_released_checkpoint_is_refused_by_name(tmp_path):
    path = tmp_path / "c.pth"
    whole = released("tiny", 20).state_dict()

    def message(content: object) -> str:
        torch.save(content, path)
        with pytest.raises(ModelError) as caught:
            import_official(path, tmp_path / "model", "atlas", "pearson")
        assert not (tmp_path / "model").exists()
        return str(caught.value)

    without = {k: v for k, v in whole.items() if not k.startswith("predictor.net.0")}
    assert "without 2 tensors, such as predictor.net.0.bias" in message({"model": without})
    assert "with unknown 1 tensors" in message({"model": whole | {"extra": torch.ones(1)}})
    bent = whole | {"cls_token": torch.ones(1, 1, 21)}
    assert "cls_token has the shape (1, 1, 21), expected (1, 1, 20)" in message({"model": bent})
    assert "no tensors of a released BrainMass" in message({"model": {"a": torch.ones(1)}})
    assert "found int" in message({"model": 3})
    halves = {"online_network_state_dict": {}, "target_network_state_dict": {}}
    assert "found online_network_state_dict (dict)" in message(halves)
    assert "found cls_token (list)" in message({"model": whole | {"cls_token": [1.0]}})
    twice = whole | {f"module.{k}": v for k, v in whole.items()}
    assert "twice, with and without module." in message({"model": twice})
    assert "found a tensor called 1, expected names" in message(
        {"model": whole | {1: torch.ones(1)}}
    )
    parts = {"online_network_state_dict": {"dim_reduction.0.bias": torch.ones(8)}}
    assert "online_network.dim_reduction.0.bias has other numbers" in message(
        {"model": whole} | parts
    )
    halves = {"online_network_state_dict": {"dim_reduction.0.bias": torch.ones(8).half()}}
    assert "has other numbers under model" in message({"model": whole} | halves)
    shallow = {k: v for k, v in whole.items() if ".attention_list.1." not in k}
    assert "depth 1" in message({"model": shallow})
    path.write_bytes(b"text")
    with pytest.raises(ModelError, match=r"c\.pth: not a checkpoint"):
        read_official(path)
    with pytest.raises(ModelError, match="no such checkpoint"):
        read_official(tmp_path / "absent.pth")


LINEAR = "online_network.attention_list.0.linear1.weight"
NORM = "online_network.g.net.1"
ODD = {  # none of these was refused because of its name, and four were read
    "nested": (
        LINEAR,
        lambda t: torch.nested.nested_tensor([t[0], t[1, :2]]),
        "a sparse, nested, empty or quantised tensor",
    ),
    "float8": (LINEAR, lambda t: t.to(torch.float8_e4m3fn), "expected floating-point numbers"),
    "float64": (LINEAR, lambda t: t.double() * 0 + 1e300, "not a number in float32"),
    "variance": (f"{NORM}.running_var", lambda t: t - 9, "found -8, expected 0 or more"),
    "fraction": (f"{NORM}.num_batches_tracked", lambda t: t + 0.5, "expected integers"),
    "negative": (f"{NORM}.num_batches_tracked", lambda t: t - 5, "found -5, expected 0 or more"),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_tensor_that_would_become_other_numbers_is_refused_by_name(kind, tmp_path):
    name, harm, said = ODD[kind]
    whole = released("tiny", 20).state_dict()
    torch.save({"model": whole | {name: harm(whole[name])}}, tmp_path / "c.pth")
    with pytest.raises(ModelError, match=rf"c\.pth: .*{name}.*{said}"):
        import_official(tmp_path / "c.pth", tmp_path / "model", "atlas", "pearson")
    assert not (tmp_path / "model").exists()


def test_a_view_of_a_larger_array_and_a_shared_one_are_the_numbers_that_they_show(tmp_path):
    whole = released("tiny", 20).state_dict()
    big = torch.randn(100_000)
    shown = {"cls_token": big[50:70].view(1, 1, 20), "dist_token": big[50:70].view(1, 1, 20)}
    torch.save({"model": whole | shown}, tmp_path / "c.pth")
    import_official(tmp_path / "c.pth", tmp_path / "model", "atlas", "pearson")
    model = BrainMass.from_pretrained(tmp_path / "model")
    assert torch.equal(model.cls_token, shown["cls_token"])
    assert (tmp_path / "model" / "model.safetensors").stat().st_size < 1.1 * sum(
        t.numel() * t.element_size() for t in model.state_dict().values()
    )


def test_heads_and_estimators_that_there_are_not_are_refused(tmp_path):
    path = released("tiny", 20).save(tmp_path / "c.pth")
    with pytest.raises(ModelError, match="found -5 attention heads, expected 1 or more"):
        from_official(read_official(path), heads=-5)
    with pytest.raises(ModelError, match=r"estimator: found 'persn', expected pearson or ledoit"):
        import_official(path, tmp_path / "model", "atlas", "persn")


def test_a_folder_with_a_model_is_not_overwritten(tmp_path):
    path = released("tiny", 20).save(tmp_path / "c.pth")
    import_official(path, tmp_path / "model", "mine", "pearson")
    about = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (about["atlas"], about["estimator"], about["source"]) == ("mine", "pearson", "c.pth")
    with pytest.raises(ModelError, match="holds a model already"):
        import_official(path, tmp_path / "model", "mine", "pearson")
