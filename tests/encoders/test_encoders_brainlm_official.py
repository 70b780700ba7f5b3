"""Published BrainLM checkpoints: built here with the released names, and computed independently
from their tensors.
"""

from __future__ import annotations

import json
import math
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from typer.testing import CliRunner

from brainmass_core.cli import app
from brainmass_core.encoders.brainlm.model import BrainLM
from brainmass_core.encoders.brainlm.official import (
    from_official,
    import_brainlm,
    official_names,
    read_folder,
)
from brainmass_core.encoders.brainlm.vit import IMAGE_SCALE, BrainLMViT
from brainmass_core.models.pretrained import ModelError
from brainmass_core.models.series import Mask

WIDTH, HEADS, PARCELS = 32, 4, 5
SHARED = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "intermediate_size": 48,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 40,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "mask_ratio": 0.2,
}
CONFIG_13M = SHARED | {
    "architectures": ["BrainLMForPretraining"],
    "timepoint_patching_size": 20,
    "decoder_hidden_size": WIDTH,
    "conv_kernel_size": 65,
    "num_landmarks": 64,
    "segment_means_seq_len": 64,
    "use_tanh_decoder": False,
    "patch_size": 16,  # inherited and unused
    "num_channels": 3,
}
CONFIG_VIT = SHARED | {
    "architectures": ["ViTMAEForPreTraining"],
    "decoder_hidden_size": 24,
    "patch_size": 16,
    "image_size": 432,
    "num_channels": 3,
}


def affine(name: str, out: int, into: int | None = None) -> dict[str, Tensor]:
    """Weight and bias of a linear layer, or of a norm."""
    weight = torch.randn(out) if into is None else torch.randn(out, into) / math.sqrt(into)
    return {f"{name}.weight": weight, f"{name}.bias": 0.1 * torch.randn(out)}


def layer_13m(name: str, heads: int, feedforward: int) -> dict[str, Tensor]:
    """Tensors of one layer of the 13M model, under the released names."""
    found = {f"{name}.attention.self.conv.weight": torch.randn(heads, 1, 65, 1) / 8}
    for third in ("query", "key", "value"):
        found |= affine(f"{name}.attention.self.{third}", WIDTH, WIDTH)
    found |= affine(f"{name}.attention.output.dense", WIDTH, WIDTH)
    found |= affine(f"{name}.attention.output.LayerNorm", WIDTH)
    found |= affine(f"{name}.intermediate.dense", feedforward, WIDTH)
    found |= affine(f"{name}.output.dense", WIDTH, feedforward)
    return found | affine(f"{name}.output.LayerNorm", WIDTH)


def layer_vit(name: str, width: int, feedforward: int) -> dict[str, Tensor]:
    """Tensors of one layer of the vision transformer, under the released names."""
    found = {}
    for third in ("query", "key", "value"):
        found |= affine(f"{name}.attention.attention.{third}", width, width)
    found |= affine(f"{name}.attention.output.dense", width, width)
    found |= affine(f"{name}.intermediate.dense", feedforward, width)
    found |= affine(f"{name}.output.dense", width, feedforward)
    return (
        found | affine(f"{name}.layernorm_before", width) | affine(f"{name}.layernorm_after", width)
    )


def table(length: int) -> Tensor:
    rate = torch.exp(torch.arange(0, WIDTH, 2) * (-math.log(10000.0) / WIDTH))
    found = torch.zeros(length, WIDTH)
    found[:, 0::2] = torch.sin(torch.arange(length)[:, None] * rate)
    found[:, 1::2] = torch.cos(torch.arange(length)[:, None] * rate)
    return found


@pytest.fixture
def released_13m() -> dict[str, Tensor]:
    torch.manual_seed(0)
    found = {
        "vit.embeddings.cls_token": torch.randn(1, 1, WIDTH),
        "vit.embeddings.pos_embedding.pe": table(5000),
        "decoder.pos_embedding.pe": table(5000),
        "decoder.mask_token": torch.randn(1, 1, WIDTH),
    }
    found |= affine("vit.embeddings.signal_embedding_projection", WIDTH, 20)
    found |= affine("vit.embeddings.xyz_embedding_projection", WIDTH, 3)
    for i in range(2):
        found |= layer_13m(f"vit.encoder.layer.{i}", HEADS, 48)
    found |= affine("vit.layernorm", WIDTH)
    found |= affine("decoder.decoder_embed", WIDTH, WIDTH)
    found |= affine("decoder.decoder_xyz_projection", WIDTH, 3)
    found |= layer_13m("decoder.decoder_layers.0", 2, 40)
    found |= affine("decoder.decoder_norm", WIDTH)
    found |= affine("decoder.decoder_pred", 768, WIDTH)  # never used
    found |= affine("decoder.decoder_pred1", WIDTH // 2, WIDTH)
    return found | affine("decoder.decoder_pred2", 20, WIDTH // 2)


@pytest.fixture
def released_vit() -> dict[str, Tensor]:
    torch.manual_seed(0)
    found = {
        "vit.embeddings.cls_token": torch.randn(1, 1, WIDTH),
        "decoder.mask_token": torch.randn(1, 1, 24),
    }
    projection = "vit.embeddings.patch_embeddings.projection"
    found[f"{projection}.weight"] = torch.randn(WIDTH, 3, 16, 16) / 28
    found[f"{projection}.bias"] = torch.randn(WIDTH)
    for i in range(2):
        found |= layer_vit(f"vit.encoder.layer.{i}", WIDTH, 48)
    found |= affine("vit.layernorm", WIDTH) | affine("decoder.decoder_embed", 24, WIDTH)
    found |= layer_vit("decoder.decoder_layers.0", 24, 40)
    return found | affine("decoder.decoder_norm", 24) | affine("decoder.decoder_pred", 768, 24)


class Formula:
    """The 13M model computed from released tensors, in double precision."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.t = {name: tensor.double() for name, tensor in tensors.items()}

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.t[f"{name}.weight"].T + self.t[f"{name}.bias"]

    def norm(self, name: str, x: Tensor) -> Tensor:
        z = (x - x.mean(-1, keepdim=True)) / x.var(-1, correction=0, keepdim=True).sqrt()
        return z * self.t[f"{name}.weight"] + self.t[f"{name}.bias"]

    def layer(self, name: str, x: Tensor, heads: int) -> Tensor:
        q, k, v = (
            self.linear(f"{name}.attention.self.{third}", x).view(len(x), heads, -1).transpose(0, 1)
            for third in ("query", "key", "value")
        )
        scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[2])
        taps = self.t[f"{name}.attention.self.conv.weight"]
        mixed = (
            scores.softmax(-1) @ v + functional.conv2d(v[None], taps, None, 1, (32, 0), 1, heads)[0]
        )
        out = self.linear(f"{name}.attention.output.dense", mixed.transpose(0, 1).flatten(1))
        h = self.norm(f"{name}.attention.output.LayerNorm", x + out)
        inner = functional.gelu(self.linear(f"{name}.intermediate.dense", h))
        return self.norm(f"{name}.output.LayerNorm", h + self.linear(f"{name}.output.dense", inner))

    def places(self, name: str, x: Tensor, coordinates: Tensor) -> Tensor:
        where = self.linear(name, coordinates.double())
        return (
            x.view(len(coordinates), -1, WIDTH)
            + where[:, None]
            + table(x.shape[0] // len(coordinates))
        ).view(-1, WIDTH)

    def latent(self, series: Tensor, coordinates: Tensor, visible: Tensor) -> Tensor:
        x = self.linear("vit.embeddings.signal_embedding_projection", series.double().view(-1, 20))
        x = self.places("vit.embeddings.xyz_embedding_projection", x, coordinates)
        x = torch.cat([self.t["vit.embeddings.cls_token"][0], x[visible]])
        for i in range(2):
            x = self.layer(f"vit.encoder.layer.{i}", x, HEADS)
        return self.norm("vit.layernorm", x)

    def predicted(self, series: Tensor, coordinates: Tensor, visible: Tensor) -> Tensor:
        x = self.linear("decoder.decoder_embed", self.latent(series, coordinates, visible))
        whole = self.t["decoder.mask_token"][0].repeat(series.numel() // 20, 1)
        whole[visible] = x[1:]
        whole = self.places("decoder.decoder_xyz_projection", whole, coordinates)
        x = self.layer("decoder.decoder_layers.0", torch.cat([x[:1], whole]), 2)
        x = self.linear("decoder.decoder_pred1", self.norm("decoder.decoder_norm", x[1:]))
        return self.linear("decoder.decoder_pred2", functional.leaky_relu(x, 0.1))


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(7)
    coordinates = 40 * torch.randn(PARCELS, 3, generator=generator)
    return torch.randn(2, PARCELS, 60, generator=generator), coordinates


def save(folder, config, tensors, form="safetensors"):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    if form == "safetensors":
        save_file(tensors, folder / "model.safetensors")
    else:
        torch.save(tensors, folder / "pytorch_model.bin")
    return folder


@pytest.mark.parametrize("mode", ["reference", "corrected"])
def test_an_imported_13m_model_computes_what_its_tensors_say(released_13m, data, mode):
    model = from_official(CONFIG_13M, released_13m, mode)
    visible = torch.stack([torch.randperm(15)[:9] for _ in range(2)])
    predicted = model.reconstruct(*data, Mask(visible))[0].flatten(1, 2)
    formula = Formula(released_13m)
    for sample, order, found in zip(data[0], visible, predicted, strict=True):
        wanted = formula.predicted(sample, data[1], order)
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=5e-5)
    natural = torch.arange(15)
    cls = formula.latent(data[0][0], data[1], natural)[0]
    assert mode == "reference" or torch.allclose(model.encode(*data)[0].double(), cls, atol=5e-5)


def test_every_tensor_of_both_layouts_has_one_place(released_13m, released_vit):
    for config, tensors in ((CONFIG_13M, released_13m), (CONFIG_VIT, released_vit)):
        model = from_official(config, tensors, "reference")
        used = [t for name in model.state_dict() for t in official_names(name, model)]
        assert len(used) == len(set(used))
        left = set(tensors) - set(used)
        assert all(name.endswith(".pe") or "decoder_pred." in name for name in left)
        total = sum(tensors[name].numel() for name in used)
        assert total == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_a_folder_is_imported_with_its_licence(tmp_path, released_13m, data, form):
    source = save(tmp_path / "s", CONFIG_13M, released_13m, form)
    result = CliRunner().invoke(app, ["import-brainlm", str(source), str(tmp_path / "m")])
    assert result.exit_code == 0, result.output
    model = BrainLM.from_pretrained(tmp_path / "m")
    assert torch.equal(model.encode(*data), from_official(CONFIG_13M, released_13m).encode(*data))
    about = json.loads((tmp_path / "m" / "config.json").read_text())
    assert (about["model"], about["mode"]) == ("brainlm", "corrected")
    assert about["licence"] == "CC-BY-NC-ND-4.0"
    card = (tmp_path / "m" / "README.md").read_text()
    assert card.startswith("---\nlicense: cc-by-nc-nd-4.0\n---")
    assert about["sha256"] in card
    with pytest.raises(ModelError, match="holds a model already"):
        import_brainlm(source, tmp_path / "m")


def test_a_vision_transformer_is_imported_as_it_was_trained(tmp_path, released_vit):
    source = save(tmp_path / "s", CONFIG_VIT, released_vit)
    import_brainlm(source, tmp_path / "m", licence="CC0-1.0")
    model = BrainLMViT.from_pretrained(tmp_path / "m")
    assert model.is_reference
    assert json.loads((tmp_path / "m" / "config.json").read_text())["licence"] == "CC0-1.0"
    image = torch.randn(1, 3, 16, 16) * torch.ones(1, 1, 16, 16)
    projection = "vit.embeddings.patch_embeddings.projection"
    one = image[:, :1].expand(-1, 3, -1, -1)
    wanted = functional.conv2d(
        one, released_vit[f"{projection}.weight"], released_vit[f"{projection}.bias"], stride=16
    )
    found = functional.linear(
        one[:, 0].flatten(1), model.embed.weight.sum(1).flatten(1), model.embed.bias
    )
    torch.testing.assert_close(found, wanted.flatten(1), rtol=0, atol=1e-5)
    assert model.encode(IMAGE_SCALE * torch.randn(1, 20, 30), torch.zeros(20, 3)).shape == (
        1,
        WIDTH,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_tanh_decoder": True}, "use_tanh_decoder True, expected False"),
        ({"num_landmarks": 32}, "num_landmarks 32, expected 64"),
        ({"hidden_act": "relu"}, "hidden_act 'relu', expected 'gelu'"),
        ({"intermediate_size": 50}, "config.json is of another model"),
        ({"num_hidden_layers": 1}, "with unknown 17 tensors"),
        ({"num_hidden_layers": 3}, "without 17 tensors"),
    ],
)
def test_another_configuration_is_refused(released_13m, change, message):
    with pytest.raises(ModelError, match=message):
        from_official(CONFIG_13M | change, released_13m)


def test_a_configuration_of_something_else_is_refused(released_13m):
    with pytest.raises(ModelError, match="without hidden_size"):
        from_official({"model_type": "bert"}, released_13m)
    with pytest.raises(ModelError, match="neither timepoint_patching_size nor patch_size"):
        from_official(SHARED, released_13m)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_prefixes_of_training_are_left_out_of_names(released_13m, prefix):
    whole = from_official(CONFIG_13M, released_13m).state_dict()
    wrapped = {prefix + name: tensor for name, tensor in released_13m.items()}
    found = from_official(CONFIG_13M, wrapped).state_dict()
    assert all(torch.equal(found[name], whole[name]) for name in whole)
    with pytest.raises(ModelError, match="twice, with and without module"):
        from_official(CONFIG_13M, released_13m | wrapped)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda t: t.double() * 0 + 1e300, "not a number in float32"),
        (lambda t: t.to(torch.float8_e4m3fn), "expected floating-point numbers"),
        (lambda t: t.to_sparse(), "a sparse, nested, empty or quantised tensor"),
    ],
    ids=["float64", "float8", "sparse"],
)
def test_tensors_that_would_become_other_numbers_are_refused(released_13m, harm, said):
    name = "vit.embeddings.cls_token"
    with pytest.raises(ModelError, match=rf"{name}.*{said}"):
        from_official(CONFIG_13M, released_13m | {name: harm(released_13m[name])})


def test_text_in_place_of_a_number_is_shown_as_text(released_13m):
    with pytest.raises(ModelError, match="layer_norm_eps '1e-12', expected 1e-12"):
        from_official(CONFIG_13M | {"layer_norm_eps": "1e-12"}, released_13m)


def test_shards_are_named(tmp_path, released_13m):
    folder = save(tmp_path / "s", CONFIG_13M, released_13m)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    with pytest.raises(ModelError, match=r"but model-00001-of-00002\.safetensors: weights in sev"):
        read_folder(folder)


def test_other_positions_are_refused(released_13m):
    released_13m["decoder.pos_embedding.pe"] = torch.zeros(5000, WIDTH)
    with pytest.raises(ModelError, match=r"decoder\.pos_embedding\.pe: found other positions"):
        from_official(CONFIG_13M, released_13m)


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


def test_a_folder_that_is_no_checkpoint_is_refused_and_runs_nothing(tmp_path, released_13m):
    with pytest.raises(ModelError, match="no such file"):
        import_brainlm(tmp_path / "absent", tmp_path / "m")
    folder = save(tmp_path / "evil", CONFIG_13M, {"a": 1}, "bin")
    with pytest.raises(ModelError, match=r"found a \(int\), expected tensors"):
        import_brainlm(folder, tmp_path / "m")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ModelError, match="cannot be read safely"):
        import_brainlm(folder, tmp_path / "m")
    folder = save(tmp_path / "cut", CONFIG_13M, released_13m)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-10])
    with pytest.raises(ModelError, match="cannot be read safely"):
        import_brainlm(folder, tmp_path / "m")
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json: no such file"):
        import_brainlm(folder, tmp_path / "m")
    assert not (tmp_path / "m").exists()
