"""Checkpoints in the shape of the authors' code of 2026: depth 8, 1024, 512, any number of ROIs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainmass_core.encoders.brainmass.model import BrainMass
from brainmass_core.encoders.brainmass.official import export_official, import_official
from brainmass_core.models.pretrained import ModelError


def fc(n_rois: int) -> torch.Tensor:
    series = np.random.default_rng(0).standard_normal((3, n_rois, 120))
    return torch.from_numpy(np.stack([np.corrcoef(s) for s in series])).float()


def release_2(n_rois: int, with_rest: bool) -> dict[str, torch.Tensor]:
    """Tensors of the online network in the shape of the code of 2026, or of a complete file.

    Names and shapes are written out here, not made by modules.
    """
    d, hidden, dim = n_rois, 1024, 512
    layer = {
        "self_attn.in_proj_weight": (3 * d, d),
        "self_attn.in_proj_bias": (3 * d,),
        "self_attn.out_proj.weight": (d, d),
        "self_attn.out_proj.bias": (d,),
        "linear1.weight": (hidden, d),
        "linear1.bias": (hidden,),
        "linear2.weight": (d, hidden),
        "linear2.bias": (d,),
        **{f"norm{k}.{what}": (d,) for k in (1, 2) for what in ("weight", "bias")},
    }

    def perceptron(n_in: int, n_hidden: int, n_out: int) -> dict[str, tuple[int, ...]]:
        norm = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (n_hidden,))
        return {
            "net.0.weight": (n_hidden, n_in),
            "net.0.bias": (n_hidden,),
            **{f"net.1.{what}": shape for what, shape in norm.items()},
            "net.1.num_batches_tracked": (),
            "net.3.weight": (n_out, n_hidden),
            "net.3.bias": (n_out,),
        }

    network = {f"attention_list.{i}.{k}": s for i in range(8) for k, s in layer.items()}
    network |= {"dim_reduction.0.weight": (8, d), "dim_reduction.0.bias": (8,)}
    network |= {f"g.{k}": s for k, s in perceptron(8 * d, 16 * d, dim).items()}
    shapes = network
    if with_rest:
        shapes = {f"{n}_network.{k}": s for n in ("online", "target") for k, s in network.items()}
        shapes |= {f"predictor.{k}": s for k, s in perceptron(dim, 2 * dim, dim).items()}
        shapes |= dict.fromkeys(("mask_embed", "cls_token", "dist_token"), (1, 1, d))
        shapes |= {"norm.weight": (d,), "norm.bias": (d,)}
        for head in ("cpred", "gpred"):
            shapes |= {f"{head}.0.weight": (hidden, d), f"{head}.0.bias": (hidden,)}
            shapes |= {f"{head}.2.weight": (d, hidden), f"{head}.2.bias": (d,)}
    rng = np.random.default_rng(5)
    tensors = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            tensors[name] = torch.tensor(7)
            continue
        value = torch.from_numpy(0.1 * rng.standard_normal(shape)).float()
        tensors[name] = value.abs() + 0.5 if name.endswith("running_var") else value
    return tensors


def in_numpy(w: dict[str, np.ndarray], x: np.ndarray, heads: int) -> tuple[np.ndarray, np.ndarray]:
    """Embedding and projection of FC (n, n_rois, n_rois) in float64, without torch."""

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    for i in range(8):
        name, (n, m, d) = f"attention_list.{i}", x.shape
        qkv = x @ w[f"{name}.self_attn.in_proj_weight"].T + w[f"{name}.self_attn.in_proj_bias"]
        q, k, v = qkv.reshape(n, m, 3, heads, d // heads).transpose(2, 0, 3, 1, 4)
        scores = np.exp(q @ k.swapaxes(2, 3) / np.sqrt(d / heads))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ v
        mixed = mixed.transpose(0, 2, 1, 3).reshape(n, m, d)
        y = norm(x + linear(mixed, f"{name}.self_attn.out_proj"), f"{name}.norm1")
        hidden = np.maximum(linear(y, f"{name}.linear1"), 0)
        x = norm(y + linear(hidden, f"{name}.linear2"), f"{name}.norm2")
    read = linear(x, "dim_reduction.0")
    embedding = np.where(read > 0, read, 0.01 * read).reshape(len(x), -1)
    h = linear(embedding, "g.net.0") - w["g.net.1.running_mean"]
    h = h / np.sqrt(w["g.net.1.running_var"] + 1e-5) * w["g.net.1.weight"] + w["g.net.1.bias"]
    return embedding, linear(np.maximum(h, 0), "g.net.3")


@pytest.mark.parametrize(
    ("n_rois", "heads", "chosen", "with_rest", "fisher_z"),
    [
        (156, None, 12, False, True),
        (156, 6, 6, True, False),
        (100, None, 10, True, True),
        (31, None, 1, False, False),
    ],
)
def test_a_checkpoint_of_the_shape_of_2026_embeds_as_numpy_does(
    n_rois, heads, chosen, with_rest, fisher_z, tmp_path
):
    tensors = release_2(n_rois, with_rest)
    content = {"model": tensors} if with_rest else {"online_network_state_dict": tensors}
    torch.save(content, tmp_path / "c.pth")
    about = ("atlas", "ledoit_wolf", heads, fisher_z)
    import_official(tmp_path / "c.pth", tmp_path / "model", *about)
    model = BrainMass.from_pretrained(tmp_path / "model")
    assert (model.size, model.n_rois, model.heads) == ("release-2", n_rois, chosen)
    assert model.fisher_z is fisher_z
    assert ("Fisher z" in (tmp_path / "model" / "README.md").read_text()) == fisher_z
    online = {k.removeprefix("online_network."): t.double().numpy() for k, t in tensors.items()}
    x = fc(n_rois).double().numpy()
    given = np.arctanh(np.clip(x, -0.999999, 0.999999)) if fisher_z else x
    embedding, projection = in_numpy(online, given, chosen)
    found = model.encode(fc(n_rois))
    # the diagonal, 7.25 as z, has an error of 3e-5 in single precision
    np.testing.assert_allclose(found, embedding, atol=1e-3 if fisher_z else 1e-5)
    np.testing.assert_allclose(model.online.projector(found), projection, atol=1e-3)


def test_a_checkpoint_of_2026_is_exported_as_it_was(tmp_path):
    tensors = release_2(20, with_rest=True)
    torch.save({"model": tensors}, tmp_path / "c.pth")
    import_official(tmp_path / "c.pth", tmp_path / "model", "atlas", "ledoit_wolf")
    export_official(tmp_path / "model", tmp_path / "d.pth")
    again = torch.load(tmp_path / "d.pth", weights_only=True)["model"]
    assert again.keys() == tensors.keys()
    unused = {"norm.weight", "norm.bias"}
    assert all(torch.equal(again[k], t) for k, t in tensors.items() if k not in unused)


def test_a_projection_of_fc_before_the_layers_is_refused_by_name(tmp_path):
    tensors = release_2(192, with_rest=False) | {"proj.weight": torch.ones(192, 156)}
    torch.save({"online_network_state_dict": tensors}, tmp_path / "c.pth")
    pattern = r"c\.pth: found online_network\.proj\.weight of shape \(192, 156\), a projection"
    with pytest.raises(ModelError, match=pattern):
        import_official(tmp_path / "c.pth", tmp_path / "model", "atlas", "ledoit_wolf")
    assert not (tmp_path / "model").exists()
