"""Where the time of a step goes: kernels by torch.profiler, pseudo-FC, and what compiling changes.

``python benchmarks/gpu_profile.py --size base --batch 256 --precision bfloat16 [--passes merged]``
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from gpu_check import N_ROIS, has_pfc_on_device, make_step, random_batch
from torch.profiler import ProfilerActivity, profile

WARM_UP = 3
ROWS = 25  # kernels named


def seconds_of(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median wall time of one call, after a few that are not counted."""
    taken = []
    for _ in range(WARM_UP + repeats):
        _wait(device)
        begin = time.perf_counter()
        work()
        _wait(device)
        taken.append(time.perf_counter() - begin)
    return float(np.median(taken[WARM_UP:]))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def pfc_work(batch: int, device: torch.device) -> Callable[[], object]:
    """Two views of each of `batch` scans of 200 timepoints, a fifth of them dropped."""
    pseudo_fc_batch = import_module("brainmass_core.pfc.torch").pseudo_fc_batch
    bold = torch.randn(batch, 200, N_ROIS, device=device)
    kept = torch.rand(batch, 2, 200, device=device).argsort(2) < 160
    return lambda: pseudo_fc_batch(bold, kept)


def kernel_table(work: Callable[[], object], device: torch.device, steps: int) -> str:
    """Kernels by their own time, with their share of all."""
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    for _ in range(WARM_UP):
        work()
    with profile(activities=activities) as profiler:
        for _ in range(steps):
            work()
        _wait(device)
    order = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
    averages = profiler.key_averages()
    return averages.table(sort_by=order, row_limit=ROWS, max_name_column_width=70)


def main(
    size: Annotated[str, typer.Option()] = "base",
    batch: Annotated[int, typer.Option(help="Scans per step.")] = 256,
    precision: Annotated[str, typer.Option()] = "bfloat16",
    passes: Annotated[str, typer.Option(help="separate or merged.")] = "separate",
    steps: Annotated[int, typer.Option(help="Steps profiled, and timed.")] = 10,
    device: Annotated[str, typer.Option(help="cuda or cpu.")] = "cuda",
    compiled: Annotated[bool, typer.Option(help="Also time the compiled model.")] = True,
    out: Annotated[Path | None, typer.Option(help="File of the table.")] = None,
) -> None:
    """Time a step, eager and compiled, and pseudo-FC; then profile the eager step."""
    on = torch.device(device)
    data = random_batch(batch)
    lines = [f"{size}, batch {batch}, {precision}, {passes}, {on}, torch {torch.__version__}"]
    eager = make_step(size, data, precision, on, passes=passes)
    seconds = seconds_of(eager, on, steps)
    lines.append(f"step               {seconds * 1e3:10.2f} ms  {batch / seconds:10.1f} samples/s")
    if has_pfc_on_device():
        views = seconds_of(pfc_work(batch, on), on, steps)
        share = views / (views + seconds)
        lines.append(f"pseudo-FC          {views * 1e3:10.2f} ms  {share:10.1%} of both together")
    else:
        lines.append("pseudo-FC on the device: not in this version")
    if compiled:
        begin = time.perf_counter()
        fast = make_step(size, data, precision, on, compiled=True, passes=passes)
        fast()
        start = time.perf_counter() - begin
        other = seconds_of(fast, on, steps)
        lines.append(
            f"step, compiled     {other * 1e3:10.2f} ms  {seconds / other:10.2f} times as fast, "
            f"{start:.0f} s to compile"
        )
    if on.type == "cuda":
        memory = torch.cuda.max_memory_allocated(on) / 2**30
        lines.append(f"largest memory     {memory:10.2f} GiB")
    text = "\n".join([*lines, "", kernel_table(eager, on, steps)])
    print(text)
    if out:
        out.write_text(text + "\n")


if __name__ == "__main__":
    typer.run(main)
