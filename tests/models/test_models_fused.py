"""The fused functions, compared with torch's layer and with their formulas in double precision."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from brainmass_core.encoders.brainmass.model import BrainMass
from brainmass_core.encoders.brainmass.network import SIZES, Layer
from brainmass_core.models import fused, kernels

P = 0.1
SEED = 2**63 + 12345  # the highest bit counts, too


def mask_of(rows: int, columns: int, p: float = P, seed: int = SEED) -> torch.Tensor:
    """Factors of dropout, float64 (rows, columns)."""
    out = np.empty((rows, columns), np.bool_)
    kernels.keep(0, rows, np.uint64(seed), kernels.drop_below(p), out)
    return torch.from_numpy(out).double() / (1 - p)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).requires_grad_()


def compared(made: torch.Tensor, wanted: torch.Tensor, inputs: list[torch.Tensor]) -> None:
    """Results and all gradients; `wanted` is in double precision."""
    torch.testing.assert_close(made.double(), wanted, rtol=0, atol=5e-6)
    weight = numbers(*made.shape, seed=9).detach()
    found = torch.autograd.grad((made * weight).sum(), inputs)
    expected = torch.autograd.grad((wanted * weight.double()).sum(), inputs)
    for a, b in zip(found, expected, strict=True):
        scale = b.abs().max().item()
        torch.testing.assert_close(a, b, rtol=0, atol=2e-5 * scale)


@pytest.fixture
def fixed_seed(monkeypatch):
    monkeypatch.setattr(fused, "_seed", lambda p: SEED if p else 0)


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_without_dropout_a_layer_is_that_of_torch(size):
    shape = SIZES[size]
    torch.manual_seed(1)
    theirs = nn.TransformerEncoderLayer(100, shape.heads, shape.feedforward, 0.0, batch_first=True)
    ours = Layer(100, shape.heads, shape.feedforward, 0.0)
    ours.load_state_dict(theirs.state_dict())
    x = numbers(6, 102, 100)  # 612 tokens: more than one chunk, and no multiple of it
    results = [layer(x) for layer in (ours, theirs)]
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=2e-6)
    weight = numbers(*x.shape, seed=3).detach()
    for a, b in zip(
        torch.autograd.grad((results[0] * weight).sum(), [x, *ours.parameters()]),
        torch.autograd.grad((results[1] * weight).sum(), [x, *theirs.parameters()]),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * b.abs().max().item())


@pytest.mark.parametrize("p", [0.0, P])
@pytest.mark.parametrize("n_queries", [13, 7])
def test_attention_is_its_formula_with_the_mask_of_its_seed(fixed_seed, p, n_queries):
    heads, d, n_keys = 3, 5, 13
    q = numbers(2, n_queries, heads * d)
    k, v = numbers(2, n_keys, heads * d, seed=1), numbers(2, n_keys, heads * d, seed=2)
    made = fused.attention(q, k, v, heads, p)
    split = [t.double().unflatten(-1, (heads, d)).transpose(1, 2) for t in (q, k, v)]
    weights = (split[0] @ split[1].transpose(-1, -2) / d**0.5).softmax(-1)
    if p:  # its rows are the keys
        mask = mask_of(2 * heads * n_keys, n_queries).view(2, heads, n_keys, n_queries)
        weights = weights * mask.transpose(-1, -2)
    compared(made, (weights @ split[2]).transpose(1, 2).flatten(2), [q, k, v])


@pytest.mark.parametrize("p", [0.0, P])
def test_feed_forward_is_its_formula_with_the_mask_of_its_seed(fixed_seed, p):
    x, first, bias = numbers(6, 100, 20), numbers(48, 20, seed=1), numbers(48, seed=2)
    second = numbers(20, 48, seed=3)
    made = fused.feed_forward(x, first, bias, second, p, torch.float32) / 10
    hidden = functional.linear(x.double(), first.double(), bias.double()).relu()
    if p:
        hidden = hidden * mask_of(600, 48).view(hidden.shape)
    compared(made, hidden @ second.double().T / 10, [x, first, bias, second])


@pytest.mark.parametrize("p", [0.0, P])
def test_drop_add_norm_is_its_formula_with_the_mask_of_its_seed(fixed_seed, p):
    x, branch = numbers(3, 7, 20), numbers(3, 7, 20, seed=1)
    weight, bias = numbers(20, seed=2), numbers(20, seed=3)
    made = fused.drop_add_norm(x, branch, weight, bias, 1e-5, p)
    dropped = branch.double() * (mask_of(21, 20).view(3, 7, 20) if p else 1)
    wanted = functional.layer_norm(
        x.double() + dropped, (20,), weight.double(), bias.double(), 1e-5
    )
    compared(made, wanted, [x, branch, weight, bias])


def test_dropout_keeps_its_share_of_every_row_and_column():
    kept = mask_of(3000, 2048) > 0
    n = kept.numel()
    assert abs(kept.double().mean().item() - (1 - P)) < 5 * (P * (1 - P) / n) ** 0.5
    for axis, length in ((0, 3000), (1, 2048)):
        shares = kept.double().mean(axis)
        error = (P * (1 - P) / length) ** 0.5
        assert shares.std().item() == pytest.approx(error, rel=0.1)
        assert (shares - (1 - P)).abs().max().item() < 6 * error


def test_masks_of_neighbours_and_of_other_seeds_are_independent():
    one = (mask_of(2000, 1000) > 0).double() - (1 - P)
    other = (mask_of(2000, 1000, seed=SEED + 1) > 0).double() - (1 - P)
    variance, n = P * (1 - P), 2e6
    pairs = {
        "row": one[1:] * one[:-1],
        "column": one[:, 1:] * one[:, :-1],
        "far column": one[:, 512:] * one[:, :-512],
        "diagonal": one[1:, 1:] * one[:-1, :-1],
        "seed": one * other,
        "shifted seed": one[1:] * other[:-1],
    }
    for name, product in pairs.items():
        assert abs(product.mean().item()) < 6 * variance / n**0.5, name


@pytest.mark.parametrize("p", [0.0, 0.001, 0.5, 0.9])
def test_any_probability_of_dropout_is_met(p):
    kept = (mask_of(1000, 1000, p) > 0).double().mean().item()
    assert kept == pytest.approx(1 - p, abs=6 * (p * (1 - p)) ** 0.5 / 1000)


def model_step(threads: int, seed: int = 5) -> list[torch.Tensor]:
    before = torch.get_num_threads()
    torch.manual_seed(0)
    model = BrainMass("tiny", 40, dropout=P).train()
    fc = torch.rand(2, 30, 40, 40, generator=torch.Generator().manual_seed(1))
    masks = [torch.arange(m).expand(30, m) for m in (10, 5)]
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    try:
        losses = model(fc[0], fc[1], *masks)
        total = losses["alignment"] + losses["classification"] + losses["reconstruction"]
        total.backward()
    finally:
        torch.set_num_threads(before)
    layer = model.online.layers[0]
    return [total.detach(), *(p.grad for p in layer.parameters() if p.grad is not None)]


def test_a_step_follows_from_the_seed_whatever_the_number_of_threads():
    alone, again, together = model_step(1), model_step(1), model_step(2)
    for a, b in zip(alone, again, strict=True):
        assert torch.equal(a, b)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
    assert not torch.equal(model_step(1, seed=6)[0], alone[0])


def test_layers_give_the_same_bits_on_one_and_on_two_threads():
    results = []
    for threads in (1, 2):
        before = torch.get_num_threads()
        torch.manual_seed(3)
        x, branch = numbers(40, 100, 20), numbers(40, 100, 20, seed=1)
        first, second = numbers(64, 20, seed=2), numbers(20, 64, seed=3)
        torch.set_num_threads(threads)
        try:
            y = fused.attention(x, branch, branch, 4, P)
            y = fused.drop_add_norm(y, branch, numbers(20, seed=4), numbers(20, seed=5), 1e-5, P)
            y = fused.feed_forward(y, first, numbers(64, seed=6), second, P, torch.float32)
            gradients = torch.autograd.grad(y.square().sum(), [x, branch, first, second])
        finally:
            torch.set_num_threads(before)
        results.append([y, *gradients])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_what_is_not_kept_for_a_backward_pass_is_not_missing():
    layer = Layer(20, 4, 48, 0.0)
    x = numbers(8, 100, 20)
    with torch.no_grad():
        without = layer(x)
    assert torch.equal(without, layer(x).detach())
    layer.requires_grad_(False)
    assert torch.autograd.grad(layer(x).sum(), [x])[0].isfinite().all()


@pytest.mark.parametrize("threads", [1, 2])
def test_inference_gives_what_training_mode_gives_on_any_number_of_threads(threads):
    layer = Layer(20, 4, 48, 0.0)
    x = numbers(8, 100, 20).detach()
    wanted, before = layer(x).detach(), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for mode in (torch.inference_mode, torch.no_grad):
            with mode():
                assert torch.equal(layer(x), wanted)
    finally:
        torch.set_num_threads(before)


BITS = """
import hashlib, sys
import torch
from brainmass_core.encoders.brainmass.model import build
model = build("tiny", 20, 0).eval()
found = set()
with torch.inference_mode():
    for n in (5, 7):  # so few tokens that a product on two threads is another one
        fc = torch.rand(n, 190, generator=torch.Generator().manual_seed(n))
        found |= {hashlib.sha256(model.encode(fc).numpy().tobytes()).hexdigest() for _ in range(8)}
print(torch.get_num_threads(), sorted(found))
"""


@pytest.mark.study
def test_threads_that_the_environment_gives_do_not_change_a_bit():
    printed = []
    for threads in ("1", "2"):
        environment = os.environ | {"OMP_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", BITS], capture_output=True, text=True, env=environment
        )
        assert done.stdout.startswith(threads), done.stderr
        printed.append(done.stdout[1:])
    assert printed[0] == printed[1]


def test_tokens_asked_for_alone_are_those_of_the_whole():
    layer = Layer(20, 4, 48, 0.0)
    x = numbers(5, 11, 20)
    rows = torch.stack(
        [torch.randperm(11, generator=torch.Generator().manual_seed(i))[:3] for i in range(5)]
    )
    whole = layer(x)[torch.arange(5)[:, None], rows]
    torch.testing.assert_close(layer(x, rows), whole, rtol=0, atol=2e-6)


def test_bfloat16_is_near_single_precision():
    torch.manual_seed(0)
    layer = Layer(20, 4, 48, 0.0)
    x = numbers(6, 100, 20)
    plain = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lower = layer(x)
    assert lower.dtype == torch.float32
    assert not torch.equal(lower, plain)
    torch.testing.assert_close(lower, plain, rtol=0, atol=0.05)
    found = torch.autograd.grad(lower.square().sum(), list(layer.parameters()))
    wanted = torch.autograd.grad(plain.square().sum(), list(layer.parameters()))
    for a, b in zip(found, wanted, strict=True):
        assert (a - b).norm() <= 0.05 * b.norm() + 1e-3


def test_values_that_are_not_finite_are_not_hidden():
    layer = Layer(20, 4, 48, 0.0)
    x = numbers(2, 5, 20).detach().clone()
    x[0, 0, 0] = float("nan")
    assert layer(x)[0].isnan().any()
    assert layer(x)[1].isfinite().all()
