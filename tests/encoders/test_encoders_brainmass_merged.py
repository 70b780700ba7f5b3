"""Merged passes of BrainMass, compared with the objective written out in float64 by plain torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brainmass_core.config import parse_config
from brainmass_core.config.sections import Pretrain
from brainmass_core.encoders.brainmass.card import flops_per_sample
from brainmass_core.encoders.brainmass.model import BrainMass, build
from brainmass_core.encoders.brainmass.network import SIZES
from brainmass_core.models import fused
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pretrain.data.views import Batch
from brainmass_core.pretrain.loop.distributed import Ranks
from brainmass_core.pretrain.loop.step import make_optimiser, train_step

N, BATCH, WEIGHTS = 12, 4, (0.1, 2.0)
PARTS = ("alignment", "classification", "reconstruction")
CONFIG = {"datasets": {"x": {"kind": "timeseries", "role": "internal", "path": "."}}}
HIDING = pytest.mark.parametrize("masking", ["rows", "rows_and_columns"])


def made(passes: str = "merged", **options) -> BrainMass:
    return build("tiny", N, 3, dropout=0.0, passes=passes, **options).train()


def inputs(n_class: int = 4, n_values: int = 3) -> tuple[Tensor, ...]:
    """Two views (BATCH, N, N), and other masked ROIs in each sample and task."""
    rng = np.random.default_rng(0)
    series = rng.standard_normal((BATCH, N, 3)) @ rng.standard_normal((BATCH, 3, 60))
    views = [
        np.stack([np.corrcoef(s + rng.standard_normal(s.shape)) for s in series]) for _ in range(2)
    ]
    masks = [rng.random((BATCH, N)).argsort(1)[:, :m] for m in (n_class, n_values)]
    return (
        *(torch.from_numpy(v).float() for v in views),
        *(torch.from_numpy(np.ascontiguousarray(m)) for m in masks),
    )


# ---- the objective again: nothing of the package but names and shapes of the weights


def positions(n: int) -> Tensor:
    """Codes of places 2 to n + 1 (n, n), float64."""
    place, column = np.arange(2, n + 2)[:, None], np.arange(n)
    angle = place / 10_000 ** (2 * (column // 2) / n)
    return torch.from_numpy(np.where(column % 2, np.cos(angle), np.sin(angle)))


def total(losses: dict[str, Tensor]) -> Tensor:
    classification, reconstruction = (losses[n] for n in PARTS[1:])
    return losses["alignment"] + WEIGHTS[0] * classification + WEIGHTS[1] * reconstruction


def linear(x: Tensor, w: dict, name: str) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def layer_norm(x: Tensor, w: dict, name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    spread = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return centred / spread * w[f"{name}.weight"] + w[f"{name}.bias"]


def layer(x: Tensor, w: dict, name: str, heads: int) -> Tensor:
    inner, d = f"{name}.self_attn", x.shape[-1] // heads
    qkv = x @ w[f"{inner}.in_proj_weight"].T + w[f"{inner}.in_proj_bias"]
    mixed = []
    for h in range(heads):
        q, k, v = (qkv[..., i * N + h * d : i * N + (h + 1) * d] for i in range(3))
        mixed.append((q @ k.transpose(1, 2) / d**0.5).softmax(-1) @ v)
    y = layer_norm(x + linear(torch.cat(mixed, -1), w, f"{inner}.out_proj"), w, f"{name}.norm1")
    hidden = linear(y, w, f"{name}.linear1").clamp_min(0)
    return layer_norm(y + linear(hidden, w, f"{name}.linear2"), w, f"{name}.norm2")


def perceptron(x: Tensor, w: dict, name: str) -> Tensor:
    h = linear(x, w, f"{name}.0")
    h = (h - h.mean(0)) / (h.var(0, correction=0) + 1e-5).sqrt()
    h = h * w[f"{name}.1.weight"] + w[f"{name}.1.bias"]
    return linear(h.clamp_min(0), w, f"{name}.3")


def leaky(x: Tensor) -> Tensor:
    return torch.maximum(x, 0.01 * x)


def network(x: Tensor, w: dict, name: str, heads: int) -> tuple[Tensor, Tensor]:
    """Tokens and projection."""
    for i in range(SIZES["tiny"].depth):
        x = layer(x, w, f"{name}.layers.{i}", heads)
    embedding = leaky(linear(x, w, f"{name}.readout.0")).reshape(len(x), -1)
    return x, perceptron(embedding, w, f"{name}.projector")


def masked_view(fc: Tensor, rois: Tensor, w: dict, masking: str) -> Tensor:
    token, code = w["mask_token"][0, 0], positions(N)
    samples = []
    for matrix, mine in zip(fc, rois.tolist(), strict=True):
        rows = []
        for i in range(N):
            values = [
                token[i] if masking == "rows_and_columns" and j in mine else matrix[i, j]
                for j in range(N)
            ]
            rows.append(token + code[i] if i in mine else torch.stack(values))
        samples.append(torch.stack(rows))
    return torch.stack(samples)


def reference(model: BrainMass, masking: str) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Losses, and gradients of their weighted sum."""
    w = {n: t.detach().double().requires_grad_() for n, t in model.named_parameters()}
    view_1, view_2, for_class, for_values = inputs()
    view_1, view_2 = view_1.double(), view_2.double()
    tokens_1, p_1 = network(masked_view(view_1, for_class, w, masking), w, "online", model.heads)
    tokens_2, p_2 = network(masked_view(view_2, for_values, w, masking), w, "online", model.heads)
    keys = [network(v, w, "target", model.heads)[1].detach() for v in (view_1, view_2)]
    aligned = torch.zeros((), dtype=torch.float64)
    for projection, key in ((p_1, keys[1]), (p_2, keys[0])):
        query = perceptron(projection, w, "predictor")
        cosine = (query * key).sum(1) / query.norm(dim=1) / key.norm(dim=1)
        aligned = aligned + (2 - 2 * cosine).mean()
    found, restored = [], []
    for b in range(BATCH):
        predicted = leaky(linear(tokens_1[b, for_class[b]], w, "classification_head.0"))
        scores = view_1[b, for_class[b]] @ linear(predicted, w, "classification_head.2").T
        found.append(-scores.log_softmax(1).diagonal())
        predicted = leaky(linear(tokens_2[b, for_values[b]], w, "reconstruction_head.0"))
        predicted = linear(predicted, w, "reconstruction_head.2")
        restored.append((predicted - view_2[b, for_values[b]]).square())
    losses = dict(
        zip(PARTS, (aligned, torch.cat(found).mean(), torch.cat(restored).mean()), strict=True)
    )
    total(losses).backward()
    gradients = {n: t.grad for n, t in w.items() if t.grad is not None}
    return {n: float(v.detach()) for n, v in losses.items()}, gradients


@HIDING
@pytest.mark.parametrize("through", ["fused", "torch"])
def test_losses_and_gradients_are_those_of_the_objective_in_float64(masking, through, monkeypatch):
    if through == "torch":  # as on a GPU
        monkeypatch.setattr(fused, "usable", lambda x: False)
    model = made(masking=masking)
    losses = model(*inputs())
    expected, gradients = reference(model, masking)
    assert {n: losses[n].item() for n in PARTS} == pytest.approx(expected, rel=1e-5)
    total(losses).backward()
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == gradients.keys()
    largest = max(float(g.abs().max()) for g in gradients.values())
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            found[name].double(), gradient, rtol=1e-3, atol=1e-5 * largest, msg=name
        )


def test_without_masked_rois_alignment_and_its_gradients_are_those_of_separate_passes():
    whole = inputs(0, 0)
    found = []
    for passes in ("merged", "separate"):
        model = made(passes)
        # separate passes have masked ones as well, which do not affect alignment
        losses = model(*(inputs() if passes == "separate" else whole))
        losses["alignment"].backward()
        found.append((losses, dict(model.online.named_parameters()), model.predictor))
    (merged, mine, predictor), (separate, theirs, other) = found
    assert merged["alignment"].item() == separate["alignment"].item()
    assert torch.equal(merged["embedding"], separate["embedding"])
    for name, p in [*mine.items(), *predictor.named_parameters()]:
        wanted = theirs[name] if name in theirs else other.get_parameter(name)
        torch.testing.assert_close(p.grad, wanted.grad, rtol=1e-4, atol=1e-7)


def test_the_target_gets_no_gradient_even_if_its_weights_could():
    model = made()
    model.target.requires_grad_(True)
    total(model(*inputs())).backward()
    assert all(p.grad is None for p in model.target.parameters())
    assert all(p.grad is not None for p in model.online.parameters())


def test_the_target_sees_whole_views_and_the_online_network_masked_ones():
    model = made()
    seen: dict[str, Tensor] = {}
    for name in ("online", "target"):
        first = getattr(model, name).layers[0]
        first.register_forward_hook(lambda *a, n=name: seen.update({n: a[1][0].detach()}))
    view_1, view_2, for_class, for_values = inputs()
    model(view_1, view_2, for_class, for_values)
    whole = torch.cat([view_1, view_2])
    assert torch.equal(seen["target"], whole)
    differs = (seen["online"] != whole).any(2)  # (2 BATCH, N)
    for rows, rois in zip(differs, [*for_class, *for_values], strict=True):
        assert sorted(rows.nonzero().flatten().tolist()) == sorted(rois.tolist())


def test_hidden_rois_of_one_sample_are_told_apart():
    model = made().eval()
    view_1, view_2, for_class, for_values = inputs()
    tokens = model.online.tokens(model._both_hidden(view_1, view_2, (for_class, for_values)))
    hidden = tokens[0, for_class[0]]
    assert torch.pdist(hidden).min() > 0.1


@HIDING
def test_what_is_hidden_with_its_columns_reaches_only_the_target(masking):
    model = made(masking=masking)
    view_1, view_2, for_class, for_values = inputs()
    other = view_1.clone()
    for matrix, rois in zip(other, for_class, strict=True):
        matrix[rois, :] = matrix[:, rois] = 0.3
    a, b = (model(v, view_2, for_class, for_values)["embedding"] for v in (view_1, other))
    assert torch.equal(a[0], b[0]) == (masking == "rows_and_columns")
    assert torch.equal(a[1], b[1])


def test_every_trained_tensor_has_a_gradient_and_the_special_tokens_are_not_trained():
    for train_heads in (True, False):
        model = made(train_heads=train_heads)
        total(model(*inputs())).backward()
        trained = {n for n, p in model.named_parameters() if p.requires_grad}
        assert trained == {n for n, p in model.named_parameters() if p.grad is not None}
        assert not trained & {"cls_token", "dist_token"}
        assert ("mask_token" in trained) == train_heads
        assert ("classification_head.0.weight" in trained) == train_heads


def test_a_step_moves_the_target_by_the_average_of_the_updated_network():
    settings = Pretrain(passes="merged", dropout=0.0)
    model = made()
    before = {n: p.clone() for n, p in model.target.named_parameters()}
    views, masks = inputs()[:2], inputs()[2:]
    batch = Batch(*(t.numpy() for t in (*views, *masks)), [])
    alone = Ranks(0, 1, 1, torch.device("cpu"))
    train_step(model, model, make_optimiser(model, settings), batch, settings, alone, False)
    for name, p in model.target.named_parameters():
        now = model.online.get_parameter(name)
        assert not torch.equal(now, before[name])
        torch.testing.assert_close(p, 0.996 * before[name] + 0.004 * now)
    norm = model.target.projector[1]
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.num_batches_tracked == 2


def test_initial_weights_do_not_depend_on_the_passes():
    a, b = (made(passes).state_dict() for passes in ("merged", "separate"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_step_costs_eight_passes_of_the_encoder():
    """Operations counted by hand: two passes with gradient, two without, all of n tokens."""
    size = SIZES["small"]
    d, depth, f, dim = 100, size.depth, size.feedforward, size.feature_dim
    encoder = depth * (8 * d**3 + 4 * d**3 + 4 * d * d * f)
    linear = 2 * (d * d * 8 + 8 * d * 16 * d + 16 * d * dim)  # readout and projector
    predictor = 2 * 2 * dim * 2 * dim
    heads = sum(4 * m * d * f for m in (10, 5))
    scores = 2 * (2 * 10 * 10 * d)  # of classification: a gradient to one side only
    expected = 8 * encoder + 8 * linear + 6 * predictor + 3 * heads + scores
    config = parse_config(CONFIG | {"pretrain": {"size": "small", "passes": "merged"}})
    with torch.device("meta"):
        model = BrainMass("small", d)
    assert flops_per_sample(model, config) == expected


def test_the_setting_changes_the_hash_and_its_default_does_not():
    plain, merged, explicit = (
        stage_hash(parse_config(CONFIG | {"pretrain": pretrain}), "pretrain")
        for pretrain in ({}, {"passes": "merged"}, {"passes": "separate"})
    )
    assert plain == explicit != merged
