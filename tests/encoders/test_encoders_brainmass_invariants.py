"""Invariants of the specification for the sizes of the paper, and of one training step of the
released code.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from brainmass_core.config import parse_config
from brainmass_core.encoders.brainmass.model import BrainMass, build, parameter_counts
from brainmass_core.encoders.brainmass.network import SIZES
from brainmass_core.pretrain.data.views import Batch
from brainmass_core.pretrain.loop.distributed import Ranks
from brainmass_core.pretrain.loop.step import make_optimiser, train_step
from brainmass_core.pretrain.loop.train import build_model

ALONE = Ranks(0, 1, 1, torch.device("cpu"))
PAPER = ["small", "base", "large"]


@pytest.fixture(scope="module")
def reference(root):
    """The reference weights and inputs, which `benchmarks/gpu_check.py` needs as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root / "benchmarks"))
        import gpu_check

        yield gpu_check


@pytest.fixture(scope="module", params=PAPER)
def model(request) -> BrainMass:
    return build(request.param, 100, seed=0, dropout=0.0)


@pytest.fixture(scope="module")
def views() -> torch.Tensor:
    series = np.random.default_rng(0).standard_normal((2, 2, 100, 160))
    series += np.random.default_rng(1).standard_normal((1, 2, 100, 1))
    series += np.random.default_rng(2).standard_normal((1, 2, 1, 160))
    fc = np.stack([[np.corrcoef(s) for s in view] for view in series])
    return torch.from_numpy(fc).float()


@pytest.mark.parametrize(
    ("size", "transformer", "heads", "deployed"),
    [
        ("small", 1_973_792, 411_848, 1_974_600),
        ("base", 7_240_768, 823_496, 7_241_576),
        ("large", 27_654_272, 1_646_792, 27_655_080),
    ],
)
def test_each_part_has_the_parameters_of_the_released_code(size, transformer, heads, deployed):
    with torch.device("meta"):
        model = BrainMass(size, 100)

    def count(*modules: nn.Module) -> int:
        return sum(p.numel() for m in modules for p in m.parameters())

    assert count(model.online.layers) == count(model.target.layers) == transformer
    assert count(model.online.readout) == 808
    assert count(model.online.projector) == 2_924_224
    assert count(model.predictor) == 4_201_472
    assert count(model.classification_head, model.reconstruction_head) == heads
    assert parameter_counts(model)["deployed"] == deployed
    tokens = (model.mask_token, model.cls_token, model.dist_token)
    assert sum(t.numel() for t in tokens) == 300


def test_shapes_are_those_of_the_paper(model, views):
    model.eval()
    seen = []
    hook = model.online.layers[0].register_forward_hook(lambda *a: seen.append(a[2].shape))
    with torch.no_grad():
        embedding = model.encode(views[0])
        projection = model.online.projector(embedding)
        model._masked_tokens(views[0], [torch.arange(10).repeat(2, 1)])
    hook.remove()
    assert seen == [(2, 100, 100), (2, 102, 100)]
    assert embedding.shape == (2, 800)
    assert projection.shape == (2, 1024)
    assert model.online.layers[0].self_attn.num_heads == SIZES[model.size].heads
    assert len(model.online.layers) == SIZES[model.size].depth


def test_output_tokens_have_mean_0_and_standard_deviation_1(model, views):
    model.eval()
    with torch.no_grad():
        tokens = model.online.tokens(views[0]).double()
    assert tokens.mean(-1).abs().max() < 1e-6  # float32 rounding of the norm itself
    assert tokens.std(-1, unbiased=False).numpy() == pytest.approx(1.0, abs=1e-4)


def test_without_positions_permuted_rows_give_permuted_tokens(model, views):
    model.eval()
    order = torch.randperm(100, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        difference = (
            model.online.tokens(views[0][:, order]) - model.online.tokens(views[0])[:, order]
        )
    assert difference.abs().max() < 1e-4


def test_losses_of_fresh_weights_are_finite_and_near_chance(model, views):
    model.train()
    masks = (torch.arange(10).repeat(2, 1), torch.arange(5).repeat(2, 1))
    with torch.no_grad():
        losses = model(*views, *masks)
    assert 0 < losses["alignment"] < 8
    assert losses["classification"].item() == pytest.approx(math.log(10), abs=0.7)
    assert 0 < losses["reconstruction"] < 2


def heads_and_tokens(model: BrainMass) -> dict[str, torch.Tensor]:
    parts = ("classification_head", "reconstruction_head", "mask_token", "cls_token", "dist_token")
    return {n: p for n, p in model.named_parameters() if n.startswith(parts)}


@pytest.fixture(scope="module")
def released_step(reference):
    """One step of the preset on the reference input: the model before and after, and its losses."""
    raw = {
        "presets": ["brainmass/official-release"],
        "datasets": {"a": {"kind": "timeseries", "role": "pretrain", "path": "."}},
        "pretrain": {"dropout": 0.0},  # as the reference numbers were measured
    }
    config = parse_config(raw, check_paths=False)
    model = reference.set_reference_weights(build_model(config, 100)).train()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    arrays = [t.numpy() for t in reference.reference_inputs(ALONE.device)]
    optimiser = make_optimiser(model, config.pretrain)
    batch = Batch(*arrays, scan_ids=[])
    result = train_step(model, model, optimiser, batch, config.pretrain, ALONE, False)
    return config.pretrain, model, before, result.losses


def test_the_released_losses_come_out_of_a_step_of_the_preset(released_step):
    *_, losses = released_step
    assert losses == pytest.approx([5.345102, 3.952878, 2.304233, 0.580900], rel=1e-5)


def test_the_released_gradient_norms_come_out_of_a_step_of_the_preset(released_step):
    _, model, *_ = released_step
    expected = {
        "online.layers.0.self_attn.in_proj_weight": 1.24654,
        "online.layers.0.linear1.weight": 1.73336,
        "online.readout.0.weight": 3.7264,
        "online.projector.0.weight": 3.74852,
        "predictor.3.weight": 2.91503,
    }
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert (
        max(g.abs().max() for n, g in gradients.items() if n in expected) < 1
    )  # no gradient was clipped
    found = {n: gradients[n].norm().item() for n in expected}
    assert found == pytest.approx(expected, rel=5e-4)
    assert not any(n.startswith("target.") for n in gradients)


def test_the_target_moves_by_4_per_mille_and_its_buffers_by_batch_statistics(released_step):
    _, model, before, _ = released_step
    for name, p in model.target.named_parameters():
        online = model.online.get_parameter(name).double()
        expected = 0.996 * before[f"target.{name}"].double() + 0.004 * online
        torch.testing.assert_close(p.double(), expected, rtol=3e-7, atol=1e-9)
    moved = dict(model.target.named_buffers())
    assert moved["projector.1.num_batches_tracked"] == 2  # one per view
    assert (moved["projector.1.running_mean"] != before["target.projector.1.running_mean"]).any()


def test_a_step_changes_0_of_11_heads_and_tokens_and_every_other_trained_tensor(released_step):
    _, model, before, _ = released_step
    frozen = heads_and_tokens(model)
    assert len(frozen) == 11
    assert all(torch.equal(p, before[n]) for n, p in frozen.items())
    online = [n for n, _ in model.named_parameters() if n.startswith("online.")]
    predictor = [n for n, _ in model.named_parameters() if n.startswith("predictor.")]
    assert (len(online), len(predictor)) == (16 * 12 + 2 + 6, 6)
    now = model.state_dict()
    same = [n for n in (*online, *predictor) if torch.equal(now[n], before[n])]
    assert same == []


def test_weights_of_at_most_the_learning_rate_move_in_the_first_step(released_step):
    """Adam's first step is the learning rate times the sign of the gradient."""
    settings, model, before, _ = released_step
    name = "online.layers.0.linear1.weight"
    gradient, moved = model.get_parameter(name).grad, model.get_parameter(name) - before[name]
    clear = gradient.abs() > 1e-5
    decayed = -settings.lr * settings.weight_decay * before[name]
    expected = decayed - settings.lr * gradient.sign()
    torch.testing.assert_close(moved[clear], expected[clear], rtol=2e-3, atol=1e-7)
