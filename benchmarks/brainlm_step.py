"""One training step of BrainLM: ours and the authors', same weights, same input, in one process.

First the predictions of all tokens are compared: they must agree to 1e-5 of the largest one, and in
double precision to 1e-9. Then each side takes steps in turn: forward, loss, backward, Adam. As the
stage ``pretrain`` does, ours takes denormal numbers as 0 and the update in one pass; the authors'
side runs as released (``--flush`` gives it the first of the two: released attention over
coordinates in mm is full of such numbers, and some processors are many times slower with each).
Rates are of the median step, per wall second and per second of CPU; memory is the largest rise of
this process's resident memory during a step.

``python benchmarks/brainlm_step.py --official FOLDER --model a --ratio 0.2``, where FOLDER holds
the package ``brainlm_mae`` of the authors' repository (commit b591d88), which needs transformers 4
(4.48.3 will do). ``--profile`` prints where the time of our float32 step goes. Without FOLDER only
ours is timed.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import torch
import typer
from torch import Tensor, nn

from brainmass_core.encoders.brainlm.official import from_official, model_of
from brainmass_core.encoders.brainlm.vit import IMAGE_SCALE, BrainLMViT, order_of
from brainmass_core.models.series import Mask

N_ROIS, N_TIMEPOINTS = 424, 200
COMMON = {"hidden_act": "gelu", "hidden_dropout_prob": 0.0, "layer_norm_eps": 1e-12}
CONFIGS: dict[str, dict[str, Any]] = {
    "a": {
        "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4,
        "intermediate_size": 1024, "decoder_hidden_size": 512, "decoder_num_hidden_layers": 2,
        "decoder_num_attention_heads": 4, "decoder_intermediate_size": 1024,
        "num_brain_voxels": N_ROIS, "num_timepoints_per_voxel": N_TIMEPOINTS,
        "timepoint_patching_size": 20, "num_landmarks": 64, "segment_means_seq_len": 64,
        "conv_kernel_size": 65,
    },
    "b": {
        "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "decoder_hidden_size": 512, "decoder_num_hidden_layers": 8,
        "decoder_num_attention_heads": 16, "decoder_intermediate_size": 2048,
        "image_size": 432, "patch_size": 16, "num_channels": 3,
        "attention_probs_dropout_prob": 0.0,
    },
}  # fmt: skip


def official(folder: Path, model: str, ratio: float) -> nn.Module:
    """The authors' model with random weights."""
    import transformers

    sys.path.insert(0, str(folder))
    settings = CONFIGS[model] | COMMON | {"mask_ratio": ratio}
    if model == "a":
        config = importlib.import_module("brainlm_mae.configuration_brainlm").BrainLMConfig
        name, made = "modeling_brainlm", config(**settings)
        kind = "BrainLMForPretraining"
    else:
        name, made = "modeling_vit_mae_with_padding", transformers.ViTMAEConfig(**settings)
        made.train_mode = "auto_encode"
        kind = "ViTMAEForPreTraining"
    made._attn_implementation = "eager"
    module = importlib.import_module(f"brainlm_mae.{name}")
    return getattr(module, kind)(made)


def predictions(theirs: nn.Module, ours: nn.Module, data: list[Tensor], mask: Mask) -> float:
    """Largest difference, as a share of the largest; their model is told the mask by noise."""
    series, coordinates = data
    with torch.no_grad():
        found = ours.reconstruct(series, coordinates, mask)[0]
        wanted = authors_output(theirs, data, noise_of(ours, mask)).logits
        if isinstance(wanted, tuple):
            wanted = wanted[0]
        else:
            found = found[:, order_of(coordinates)] / IMAGE_SCALE
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


def refuse_difference(
    theirs: nn.Module, config: dict[str, Any], data: list[Tensor], ratio: float
) -> None:
    """Compare with the same weights, in both precisions; end where they differ."""
    ours = from_official(config, theirs.state_dict(), "reference")
    mask = ours.random_mask(len(data[0]), N_ROIS, N_TIMEPOINTS, ratio)
    for kind, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
        converted = [m.eval().to(kind) for m in (theirs, ours)]
        difference = predictions(*converted, [t.to(kind) for t in data], mask)
        print(f"same weights, {kind}: predictions agree to {difference:.1e} of the largest")
        if difference > tolerance:
            raise SystemExit(f"the predictions differ by more than {tolerance}")
    theirs.float()


def noise_of(ours: Any, mask: Mask) -> Tensor:
    """Noise whose order of tokens begins with the visible ones of a mask."""
    of_image = isinstance(ours, BrainLMViT)
    slots = len(ours.slots(N_ROIS, N_TIMEPOINTS)) if of_image else N_ROIS * N_TIMEPOINTS // 20
    noise = torch.full((len(mask.visible), slots), 1e9)
    rank = torch.arange(mask.visible.shape[1]).float().expand_as(mask.visible)
    return noise.scatter(1, mask.visible, rank)


def authors_output(theirs: Any, data: list[Tensor], noise: Tensor | None) -> Any:
    """One forward pass of the authors' model; their B takes random masks from torch.rand."""
    series, coordinates = data
    if hasattr(theirs.vit.embeddings, "xyz_embedding_projection"):
        return theirs(series, coordinates.expand(len(series), -1, -1), noise=noise)
    image = (series[:, order_of(coordinates)] / IMAGE_SCALE)[:, None].expand(-1, 3, -1, -1)
    rand = torch.rand
    if noise is not None:
        torch.rand = lambda *_, **__: noise
    try:
        return theirs(image)
    finally:
        torch.rand = rand


def step_of(
    model: nn.Module, loss: Callable[[], Tensor], fused: bool, flush: bool
) -> Callable[[], None]:
    """Forward, backward, Adam."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=1e-4, fused=fused)

    def step() -> None:
        torch.set_flush_denormal(flush)
        value = loss()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        value.item()

    return step


def measured(step: Callable[[], None]) -> tuple[float, float, float]:
    """Wall and CPU seconds of a step, and the largest rise of resident memory (GiB)."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    process = psutil.Process()
    before, largest, done = process.memory_info().rss, [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            largest[0] = max(largest[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    done.set()
    watcher.join()
    return wall, cpu, (largest[0] - before) / 2**30


def print_rates(steps: dict[str, Callable[[], None]], batch: int, repeats: int) -> None:
    """Take steps in turn, the first of each side uncounted, and print the medians."""
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in steps}
    for _ in range(repeats + 1):
        for name, step in steps.items():
            taken[name].append(measured(step))
    medians = {name: np.median(times[1:], axis=0) for name, times in taken.items()}
    print(f"{'side':26s} samples/s  per CPU-s  step s   GiB   speed  memory")
    for name, (wall, cpu, memory) in medians.items():
        ratios = ""
        if "authors float32" in medians:
            other = medians["authors float32"]
            ratios = f"{other[1] / cpu:7.2f} {memory / other[2]:7.2f}"
        print(
            f"{name:26s} {batch / wall:9.3f} {batch / cpu:10.3f} {wall:7.2f} {memory:5.2f} {ratios}"
        )


def main(
    model: Annotated[str, typer.Option(help="a: 13M, b: 111M.")] = "a",
    folder: Annotated[Path | None, typer.Option("--official", help="Authors' repository.")] = None,
    batch: Annotated[int, typer.Option()] = 2,
    ratio: Annotated[float, typer.Option(help="Share of tokens hidden.")] = 0.75,
    threads: Annotated[int, typer.Option()] = 2,
    repeats: Annotated[int, typer.Option()] = 3,
    compare: Annotated[bool, typer.Option(help="Compare predictions only.")] = False,
    bfloat16: Annotated[
        bool, typer.Option(help="Ours in bfloat16 as well; slow on a CPU without it.")
    ] = False,
    flush: Annotated[
        bool, typer.Option(help="The authors' side takes denormal numbers as 0 too.")
    ] = False,
    profiled: Annotated[bool, typer.Option("--profile")] = False,
) -> None:
    """Compare predictions, then time the sides in turn."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    series = torch.randn(batch, N_ROIS, N_TIMEPOINTS)
    low, high = torch.tensor([-62.0, -92, -54]), torch.tensor([64.0, 66, 70])  # those of A424
    data = [series, (low + (high - low) * torch.rand(N_ROIS, 3)).round()]
    theirs, config = None, CONFIGS[model] | COMMON
    if folder is not None:
        theirs = official(folder, model, ratio)
        refuse_difference(theirs, config, data, ratio)
    if compare:
        return
    steps: dict[str, Callable[[], None]] = {}
    for mode in ("reference", "corrected"):
        steps[f"ours {mode} float32"] = our_step(config, mode, data, ratio, False)
    if bfloat16:
        steps["ours corrected bfloat16"] = our_step(config, "corrected", data, ratio, True)
    if theirs is not None:
        trained = theirs.train()
        steps["authors float32"] = step_of(
            trained, lambda: authors_output(trained, data, None).loss, False, flush
        )
    if profiled:
        return profile(steps["ours corrected float32"])
    print(f"model {model}, batch {batch}, {ratio:.0%} hidden, {threads} threads")
    print_rates(steps, batch, repeats)


def our_step(
    config: dict[str, Any], mode: str, data: list[Tensor], ratio: float, lower: bool
) -> Callable[[], None]:
    """One step of ours, a new mask each."""
    model = model_of(config, mode).train()
    series, coordinates = data

    def loss() -> Tensor:
        mask = model.random_mask(len(series), N_ROIS, N_TIMEPOINTS, ratio)
        with torch.autocast("cpu", torch.bfloat16, enabled=lower):
            return model(series, coordinates, mask)["reconstruction"]

    return step_of(model, loss, fused=True, flush=True)


def profile(step: Callable[[], None], rows: int = 25) -> None:
    """Print the operations of a step by their own CPU time."""
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        step()
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=rows))


if __name__ == "__main__":
    typer.run(main)
