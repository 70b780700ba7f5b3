"""Is training right on this device? Known numbers first, then the device against the CPU.

Weights and input follow from names and seeds alone; the expected numbers were measured by running
the authors' released code on them. Timings of a device that fails here mean nothing.

``python benchmarks/gpu_check.py [--device cuda|cpu]`` ends with status 1 if anything is off.
"""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, util
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from brainmass_core.config.sections import Pretrain
from brainmass_core.encoders.brainmass.model import BrainMass, build
from brainmass_core.encoders.brainmass.official import official_name
from brainmass_core.pretrain.data.views import Batch
from brainmass_core.pretrain.loop.distributed import Ranks
from brainmass_core.pretrain.loop.step import make_optimiser, train_step

N_ROIS = 100
STEPS = 5
PASSES = ("separate", "merged")
NETWORKS = ("online_network.", "target_network.")
# of size base: measured on the released code
EMBEDDING_NORMS = (26.4878, 28.6950, 32.5951, 28.5905)
PROJECTION_NORMS = (19.7985, 21.5694, 24.6894, 21.4692)
LOSSES = {"alignment": 3.952878, "classification": 2.304233, "reconstruction": 0.580900}
TOTAL = 5.345102
GRADIENT_NORMS = {
    "online.layers.0.self_attn.in_proj_weight": 1.24654,
    "online.layers.0.linear1.weight": 1.73336,
    "online.readout.0.weight": 3.7264,
    "online.projector.0.weight": 3.74852,
    "predictor.3.weight": 2.91503,
}


@dataclass(frozen=True)
class Check:
    """One comparison; `difference` is relative unless the name says otherwise."""

    name: str
    difference: float
    allowed: float

    @property
    def passed(self) -> bool:
        """False for NaN as well."""
        return self.difference <= self.allowed


def set_reference_weights(model: BrainMass) -> BrainMass:
    """Weights drawn from a checksum of each tensor's name in the released code."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            key = official_name(name)
            for network in NETWORKS:
                key = key.removeprefix(network)
            draw = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(tuple(p.shape))
            if p.ndim == 3:
                p.copy_(torch.from_numpy(0.1 * draw))
            elif p.ndim == 2:
                p.copy_(torch.from_numpy(draw / math.sqrt(p.shape[1])))
            else:
                p.fill_(1.0 if name.endswith("weight") else 0.0)
    return model


def reference_series() -> np.ndarray:
    """(4 scans, 100 ROIs, 160 timepoints) with eight shared sources."""
    normal = [np.random.RandomState(s).standard_normal for s in (7, 8, 9)]
    return normal[0]((4, 100, 8)) @ normal[1]((4, 8, 160)) + 2 * normal[2]((4, 100, 160))


def reference_inputs(device: torch.device) -> tuple[Tensor, ...]:
    """Two views (4, 100, 100) and the masked ROIs of both tasks."""
    series = reference_series()
    views = [np.stack([np.corrcoef(s) for s in series[..., p]]) for p in _PARTS]
    masks = [torch.arange(m).repeat(4, 1) for m in (10, 5)]
    return tuple(t.to(device) for t in (*(torch.from_numpy(v).float() for v in views), *masks))


_PARTS = (slice(0, 128), slice(32, 160))


def total_of(losses: dict[str, Tensor], weights: tuple[float, float] = (0.1, 2.0)) -> Tensor:
    """The weighted sum that is minimised."""
    return (
        losses["alignment"]
        + weights[0] * losses["classification"]
        + weights[1] * losses["reconstruction"]
    )


def reference_checks(device: torch.device) -> list[Check]:
    """Norms, losses and gradients of size base against those of the released code."""
    model = set_reference_weights(BrainMass("base", N_ROIS, dropout=0.0)).to(device)
    inputs = reference_inputs(device)
    model.eval()
    with torch.no_grad():
        embedding = model.encode(inputs[0])
        projection = model.online.projector(embedding)
    model.train()
    losses = model(*inputs)
    total = total_of(losses)
    total.backward()
    gradients = {n: p.grad.norm().item() for n, p in model.named_parameters() if p.grad is not None}
    return [
        _check("embedding norms", embedding.norm(dim=1), EMBEDDING_NORMS, 1e-5),
        _check("projection norms", projection.norm(dim=1), PROJECTION_NORMS, 1e-5),
        *(_check(f"loss of {n}", losses[n], v, 1e-5) for n, v in LOSSES.items()),
        _check("total loss", total, TOTAL, 1e-5),
        *(_check(f"gradient of {n}", gradients[n], v, 5e-4) for n, v in GRADIENT_NORMS.items()),
    ]


def _check(name: str, found: Tensor | float, expected: object, allowed: float) -> Check:
    a, b = (np.asarray(torch.as_tensor(x).detach().cpu(), dtype=float) for x in (found, expected))
    return Check(name, float((np.abs(a - b) / np.abs(b)).max()), allowed)


def random_batch(batch: int, seed: int = 0) -> Batch:
    """Structured FC of random series, as edge vectors, and random masks."""
    rng = np.random.default_rng(seed)
    rows, columns = np.triu_indices(N_ROIS, 1)
    mixing = rng.standard_normal((batch, N_ROIS, 8))
    views = []
    for _ in range(2):
        series = mixing @ rng.standard_normal((batch, 8, 160))
        series += rng.standard_normal(series.shape)
        fc = np.stack([np.corrcoef(s)[rows, columns] for s in series])
        views.append(fc.astype(np.float16))
    masks = [rng.random((batch, N_ROIS)).argsort(1)[:, :m] for m in (10, 5)]
    return Batch(views[0], views[1], masks[0], masks[1], [])


def make_step(
    size: str,
    data: Batch,
    precision: str,
    device: torch.device,
    dropout: float = 0.1,
    compiled: bool = False,
    passes: str = "separate",
) -> Callable[[], list[float]]:
    """A function that makes one optimiser step of ours and returns its losses."""
    settings = Pretrain.model_validate({"size": size, "precision": precision, "passes": passes})
    model = build(size, N_ROIS, seed=0, dropout=dropout, passes=passes).to(device).train()
    if compiled:
        model.compile()
    optimiser = make_optimiser(model, settings)
    ranks = Ranks(0, 1, 1, device)
    return lambda: train_step(model, model, optimiser, data, settings, ranks, False).losses


def losses_over_steps(size: str, precision: str, device: torch.device, passes: str) -> np.ndarray:
    """(STEPS, 4) losses without dropout."""
    step = make_step(size, random_batch(8), precision, device, dropout=0.0, passes=passes)
    return np.array([step() for _ in range(STEPS)])


def device_checks(device: torch.device, size: str, passes: str) -> list[Check]:
    """Losses of a few optimiser steps on the device against those on the CPU."""
    expected = losses_over_steps(size, "float32", torch.device("cpu"), passes)
    single = losses_over_steps(size, "float32", device, passes)
    half = losses_over_steps(size, "bfloat16", device, passes)
    where = f"{size}, {passes}"
    return [
        _check(f"losses of the first step, {where}, float32", single[0], expected[0], 1e-4),
        _check(f"losses over {STEPS} steps, {where}, float32", single, expected, 1e-2),
        _check(
            f"total loss over {STEPS} steps, {where}, bfloat16", half[:, 0], expected[:, 0], 0.1
        ),
    ]


def pfc_checks(device: torch.device) -> list[Check]:
    """Pseudo-FC on the device against numpy's correlation of the timepoints kept."""
    if not has_pfc_on_device():
        return []
    pseudo_fc_batch = import_module("brainmass_core.pfc.torch").pseudo_fc_batch
    series = reference_series().transpose(0, 2, 1)  # (4, T, n_rois)
    kept = np.random.default_rng(0).random((4, 2, 160)).argsort(2) < 128
    bold = torch.from_numpy(series).float().to(device)
    found = pseudo_fc_batch(bold, torch.from_numpy(kept).to(device)).cpu().double().numpy()
    pairs = np.triu_indices(N_ROIS, 1)
    expected = [
        [np.corrcoef(s[k].T)[pairs] for k in views] for s, views in zip(series, kept, strict=True)
    ]
    return [Check("pseudo-FC, absolute", float(np.abs(found - expected).max()), 1e-5)]


def has_pfc_on_device() -> bool:
    """Whether this version draws pseudo-FC on the device."""
    return util.find_spec("brainmass_core.pfc.torch") is not None


def all_checks(device: torch.device, size: str = "tiny") -> list[Check]:
    """Everything above."""
    steps = [c for passes in PASSES for c in device_checks(device, size, passes)]
    return [*reference_checks(device), *steps, *pfc_checks(device)]


def main(
    device: Annotated[str, typer.Option(help="cuda or cpu.")] = "cuda",
    size: Annotated[str, typer.Option(help="Of the comparison with the CPU.")] = "tiny",
) -> None:
    """Print every check; status 1 if one fails."""
    checks = all_checks(torch.device(device), size)
    for check in checks:
        verdict = "ok" if check.passed else "WRONG"
        print(f"{verdict:6s} {check.name:60s} {check.difference:9.2e} of {check.allowed:.0e}")
    if not has_pfc_on_device():
        print("pseudo-FC on the device: not in this version")
    if not all(check.passed for check in checks):
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
