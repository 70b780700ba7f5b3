"""Samples per second and largest memory of one pre-training step: ours and the authors'.

A step is forward, backward, clipping, AdamW and the move of the target, on the same random FC: ours
with separate passes, the published objective, and with merged ones, in float32 and bfloat16, and
the authors' released code in float32. Every side has a fresh process of its own, whose largest
memory is therefore its own, and they take steps in turn; rates are of the median step, per wall
second and per second of CPU. ``speed`` is the authors' time over that of a side: of the CPU, or on
a GPU by the clock. Operations are those of the matrix products of the encoder, 14 passes a sample,
or 8 when merged; the peak is a large matrix product in the same precision, timed by each side
before its steps, per second of CPU.

``python benchmarks/pretrain_step.py --size base --batch 32 --threads 2 [--official FOLDER]``, where
FOLDER holds the ``byol_trainer.py`` and ``utils.py`` of the authors' release. ``--profile SIDE``
prints where the time of a step of ours goes. On a busy machine even rates per second of CPU are
rough.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn

from brainmass_core.config.sections import Pretrain
from brainmass_core.encoders.brainmass.model import build
from brainmass_core.encoders.brainmass.network import SIZES
from brainmass_core.pretrain.data.views import Batch
from brainmass_core.pretrain.loop.distributed import Ranks
from brainmass_core.pretrain.loop.progress import emulated
from brainmass_core.pretrain.loop.step import make_optimiser, train_step

N_ROIS = 100
AUTHORS = "authors"
OURS = tuple(f"{p}-{t}" for t in ("float32", "bfloat16") for p in ("separate", "merged"))


def ours(
    size: str, batch: int, passes: str, precision: str, device: torch.device
) -> Callable[[], object]:
    """One step of ours on edge vectors, as the stream gives them."""
    settings = Pretrain.model_validate({"size": size, "precision": precision, "passes": passes})
    model = build(size, N_ROIS, seed=0, passes=passes).to(device).train()
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


def make(side: str, folder: Path | None, size: str, batch: int) -> Callable[[], object]:
    """The step of a side: one of `OURS`, or `AUTHORS`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if folder is not None and side == AUTHORS:
        return authors(folder, size, batch, device)
    return ours(size, batch, *side.split("-"), device)


def peak(precision: str, n: int = 1024) -> float:
    """Operations per second of CPU of a large matrix product."""
    a: Tensor = torch.rand(n, n).to(getattr(torch, precision))
    return 2 * n**3 / min(_seconds(lambda: a @ a)[1] for _ in range(6))


def encoder_flops(size: str, side: str, n: int = N_ROIS) -> float:
    """Operations of the encoder's matrix products of a side, a sample and step."""
    shape = SIZES[size]

    def forward(tokens: int) -> int:
        linear = 8 * tokens * n * n + 4 * tokens * n * shape.feedforward
        return shape.depth * (linear + 4 * tokens**2 * n)

    # two views through online (thrice: forward and backward) and target
    both = 2 * (3 + 1) * forward(n)
    return both if side.startswith("merged") else both + 2 * 3 * forward(n + 2)


def instructions() -> str:
    """What this processor has for matrix products, as torch finds it."""
    known = {
        "AVX2": torch.cpu._is_avx2_supported(),
        "AVX-512": torch.cpu._is_avx512_supported(),
        "AVX512-BF16": torch.cpu._is_avx512_bf16_supported(),
        "AMX": torch.cpu._is_amx_tile_supported(),
    }
    return ", ".join(f"{name} {'yes' if has else 'no'}" for name, has in known.items())


def serve(
    pipe: Connection, side: str, folder: Path | None, size: str, batch: int, threads: int
) -> None:
    """A side's process: its peak, then a step for every message, then its largest memory."""
    torch.set_num_threads(threads)
    pipe.send(peak("bfloat16" if side.endswith("bfloat16") else "float32"))
    step = make(side, folder, size, batch)
    while pipe.recv():
        pipe.send(_seconds(step))
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def _seconds(make: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter(), time.process_time()
    make()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def profile(side: str, size: str, batch: int, rows: int = 25) -> None:
    """Print the operations of a step of ours by their own CPU time."""
    step = make(side, None, size, batch)
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        step()
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=rows))


def sides_of(only: str, official: Path | None) -> list[str]:
    """Sides that are timed: those asked for, or all that this machine can."""
    sides = only.split(",") if only else [*OURS, AUTHORS]
    if not only and emulated("bfloat16", torch.empty(0).device) and not torch.cuda.is_available():
        print("bfloat16 is left out: this processor would emulate it, for ten minutes a step")
        sides = [side for side in sides if not side.endswith("bfloat16")]
    return [side for side in sides if side != AUTHORS or official is not None]


def main(
    size: Annotated[str, typer.Option()] = "base",
    batch: Annotated[int, typer.Option(help="Scans per step.")] = 32,
    threads: Annotated[int, typer.Option()] = 2,
    repeats: Annotated[int, typer.Option()] = 3,
    official: Annotated[Path | None, typer.Option(help="Folder of the authors' code.")] = None,
    only: Annotated[str, typer.Option(help="Sides, separated by commas.")] = "",
    profiled: Annotated[str, typer.Option("--profile", help="Profile this side.")] = "",
) -> None:
    """Time the sides in turn and print rates, shares of the peak, memory, and ratios."""
    if profiled:
        torch.set_num_threads(threads)
        return profile(profiled, size, batch)
    sides = sides_of(only, official)
    context = multiprocessing.get_context("spawn")
    pipes, peaks = {}, {}
    for side in sides:
        pipes[side], theirs = context.Pipe()
        context.Process(
            target=serve, args=(theirs, side, official, size, batch, threads), daemon=True
        ).start()
        peaks[side] = pipes[side].recv()
    taken: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    for _ in range(repeats + 1):
        for side, pipe in pipes.items():
            pipe.send(True)
            taken[side].append(pipe.recv())
    # the first step compiles, allocates and warms up
    medians = {side: np.median(times[1:], axis=0) for side, times in taken.items()}
    memory = {}
    for side, pipe in pipes.items():
        pipe.send(False)
        memory[side] = pipe.recv()
    print(f"{size}, batch {batch}, {threads} threads, {repeats} steps, torch {torch.__version__}")
    print(f"processor: {instructions()}; load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores")
    show({s: (*medians[s], memory[s], peaks[s]) for s in sides}, size, batch)


def show(found: dict[str, tuple[float, ...]], size: str, batch: int) -> None:
    """Print wall and CPU seconds, memory and peak of each side, as rates and ratios."""
    by = 0 if torch.cuda.is_available() else 1  # the clock, or the CPU
    print(f"{'side':18s} samples/s  per CPU-s  CPU-s   of peak    GiB  speed  memory")
    for side, (wall, cpu, memory, most) in found.items():
        share = encoder_flops(size, side) * batch / cpu / most
        ratios = ""
        if AUTHORS in found:
            theirs = found[AUTHORS]
            ratios = f"{theirs[by] / found[side][by]:6.2f} {memory / theirs[2]:7.2f}"
        print(
            f"{side:18s} {batch / wall:9.2f} {batch / cpu:10.3f} {cpu:6.2f} "
            f"{share:9.1%} {memory:6.2f} {ratios}"
        )
    for precision in ("float32", "bfloat16"):
        pair = [
            found[f"{p}-{precision}"] for p in ("separate", "merged") if f"{p}-{precision}" in found
        ]
        if len(pair) == 2:
            print(f"merged over separate, {precision}: {pair[0][by] / pair[1][by]:.2f}")


if __name__ == "__main__":
    typer.run(main)
