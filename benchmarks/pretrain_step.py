"""Samples per second of one pre-training step: ours in each precision, and the authors' by path.

A step is forward, backward, clipping, AdamW and the move of the target, on the same random FC. All
sides run interleaved in this process; rates are of the median step, per wall second and per second
of CPU. Operations are those of the matrix products, counted by torch on our model (the authors' has
the same); the peak is a large matrix product in the same precision, measured in the same run.

Run on an idle machine: ``python benchmarks/pretrain_step.py --size base --batch 32 --threads 2
[--official FOLDER]``, where FOLDER holds the ``byol_trainer.py`` and ``utils.py`` of the authors'
release. Largest memory needs one side per process: ``--only ours-float32``.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from brainmass_core.config.stages import Pretrain
from brainmass_core.models.brainmass import SIZES, build
from brainmass_core.pretrain.data import Batch
from brainmass_core.pretrain.distributed import Ranks
from brainmass_core.pretrain.step import make_optimiser, train_step

N_ROIS = 100


def ours(size: str, batch: int, precision: str, device: torch.device) -> Callable[[], object]:
    """One step of ours on edge vectors, as the stream gives them."""
    settings = Pretrain.model_validate({"size": size, "precision": precision})
    model = build(size, N_ROIS, seed=0).to(device).train()
    optimiser = make_optimiser(model, settings)
    rng = np.random.default_rng(0)
    n_edges = N_ROIS * (N_ROIS - 1) // 2
    views = [rng.uniform(-1, 1, (batch, n_edges)).astype(np.float16) for _ in range(2)]
    masks = [rng.random((batch, N_ROIS)).argsort(1)[:, :m] for m in (10, 5)]
    data = Batch(views[0], views[1], masks[0], masks[1], [])
    ranks = Ranks(0, 1, 1, device)
    return lambda: train_step(model, model, optimiser, data, settings, ranks, False)


def authors(folder: Path, size: str, batch: int, device: torch.device) -> Callable[[], object]:
    """One step of the authors' code: its model, and the lines of its loop without logging."""
    for name, members in {
        "timm.utils": ["get_state_dict"],
        "tensorboardX": ["SummaryWriter"],
    }.items():
        # imported by their modules, not used in a step
        module = ModuleType(name)
        module.__dict__.update(dict.fromkeys(members))
        sys.modules.setdefault(name.split(".")[0], module)
        sys.modules.setdefault(name, module)
    sys.path.insert(0, str(folder))
    shape = SIZES[size]
    arguments = (shape.depth, shape.heads, 0.996, shape.feature_dim, shape.feedforward)
    model = import_module("byol_trainer").BYOLTrainer(*arguments, mm="byol+clf+mse")
    model = model.to(device).train()
    model.initialize_target()
    optimiser = torch.optim.AdamW(model.get_parameters(), lr=3e-4, weight_decay=5e-5)
    generator = torch.Generator().manual_seed(0)
    views = torch.rand(2, batch, N_ROIS, N_ROIS, generator=generator).to(device) * 2 - 1

    def step() -> None:
        byol, _, classification, reconstruction = model(views[0], views[1])
        loss = byol + 0.1 * classification + 2 * reconstruction
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(model.parameters(), 1.0)
        optimiser.step()
        model.update_target()
        loss.item()

    return step


def peak(precision: str, device: torch.device, n: int = 2048) -> float:
    """Operations per second of a large matrix product."""
    a: Tensor = torch.rand(n, n, device=device).to(getattr(torch, precision))
    seconds = [_seconds(lambda: a @ a, device)[0] for _ in range(6)]
    return 2 * n**3 / min(seconds)


def _seconds(make: Callable[[], Any], device: torch.device) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter(), time.process_time()
    make()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def main(
    size: Annotated[str, typer.Option()] = "base",
    batch: Annotated[int, typer.Option(help="Scans per step.")] = 32,
    threads: Annotated[int, typer.Option()] = 2,
    repeats: Annotated[int, typer.Option()] = 5,
    official: Annotated[Path | None, typer.Option(help="Folder of the authors' code.")] = None,
    only: Annotated[str, typer.Option(help="One side alone.")] = "",
) -> None:
    """Time the sides in turn and print rates, ratios, shares of the peak and memory."""
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    makers: dict[str, Callable[[], Callable[[], object]]] = {
        "ours-float32": lambda: ours(size, batch, "float32", device),
        "ours-bfloat16": lambda: ours(size, batch, "bfloat16", device),
    }
    if official is not None:
        makers["authors"] = lambda: authors(official, size, batch, device)
    sides = {name: make() for name, make in makers.items() if only in ("", name)}
    with FlopCounterMode(display=False) as counter:
        next(iter(sides.values()))()
    flops = counter.get_total_flops()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, step in sides.items():
            taken[name].append(_seconds(step, device))
    medians = {name: np.median(times, axis=0) for name, times in taken.items()}
    print(
        f"{size}, batch {batch}, {threads} threads, {device}, {flops / batch / 1e9:.2f} GF a sample"
    )
    print(f"{'side':14s} {'samples/s':>10s} {'per CPU-s':>10s} {'of peak':>8s} {'ratio':>6s}")
    for name, (wall, cpu) in medians.items():
        share = (
            flops / wall / peak(name.removeprefix("ours-").replace("authors", "float32"), device)
        )
        ratio = medians["authors"][1] / cpu if "authors" in medians else float("nan")
        print(f"{name:14s} {batch / wall:10.2f} {batch / cpu:10.2f} {share:8.1%} {ratio:6.2f}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"largest memory of this process {memory:.2f} GiB")


if __name__ == "__main__":
    typer.run(main)
