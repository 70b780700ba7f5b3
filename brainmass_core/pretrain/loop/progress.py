"""Progress of training: TensorBoard events and a log line every few seconds."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from brainmass_core.config import Config
from brainmass_core.models.pretrained import Pretrained
from brainmass_core.pretrain.loop.distributed import Ranks
from brainmass_core.pretrain.model_specs import model_spec_of

log = logging.getLogger(__name__)
LOG_SECONDS = 10
MEASURES = "embedding_std"  # the first column of the history that is not a loss
PEAK_SECONDS = 0.3  # duration of the measurement of the peak, once per run
PEAK_WIDTH = {"cuda": 8192, "cpu": 1024}  # size of a matrix product that uses the device fully


class Progress:
    """Events and log lines, on the first rank only.

    Rates are since the last line. They are not part of the history, whose bytes must not depend on
    time.

    Parameters
    ----------
    folder : Path
        Folder of the events.
    start, total_steps : int
        Steps done before, and in total.
    batch_size : int
        Scans per step over all ranks.
    columns : sequence of str
        Names of a row; see `tables.history_schema`.
    """

    def __init__(
        self,
        folder: Path,
        ranks: Ranks,
        start: int,
        total_steps: int,
        batch_size: int,
        columns: Sequence[str],
        step_share: float = math.nan,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.batch_size, self.total_steps, self.step_share = batch_size, total_steps, step_share
        self.columns = columns
        self.last_line, self.done, self.clock = -math.inf, start, time.monotonic()
        self.writer = SummaryWriter(str(folder), purge_step=start) if ranks.rank == 0 else None

    def show(self, row: list[float]) -> None:
        """Show one row of the history."""
        if self.writer is None:
            return
        values = dict(zip(self.columns, row, strict=True))
        step = int(values.pop("step"))
        for name, value in values.items():
            if math.isfinite(value):
                self.writer.add_scalar(name, value, step)
        now = time.monotonic()
        if now - self.last_line < LOG_SECONDS and step + 1 < self.total_steps:
            return
        rate = (step + 1 - self.done) / max(now - self.clock, 1e-9)  # steps per second
        self.last_line, self.done, self.clock = now, step + 1, now
        self.writer.add_scalar("samples_per_second", rate * self.batch_size, step)
        share = rate * self.step_share
        if math.isfinite(share):
            self.writer.add_scalar("share_of_peak", share, step)
        beside = self.columns[self.columns.index("loss") + 1 : self.columns.index(MEASURES)]
        parts = ", ".join(f"{_said(name)} {values[name]:.4f}" for name in beside)
        log.info(
            "step %d/%d epoch %d lr %.2g loss %.4f (%s), %.2f steps/s, %.1f samples/s, %.1f %% of "
            "the peak, %.0f s left",
            *(step + 1, self.total_steps, values["epoch"], values["lr"], values["loss"], parts),
            *(rate, rate * self.batch_size, 100 * share),
            (self.total_steps - step - 1) / rate,
        )
        if step + 1 == self.total_steps:
            self.writer.close()


def _said(column: str) -> str:
    return column.removeprefix("loss_").replace("_", " ")


def share_of_peak(
    model: Pretrained, config: Config, n_rois: int, batch_size: int, ranks: Ranks
) -> float:
    """Fraction of the peak at one step per second; measures and logs the peak.

    The operations are those of the matrix products of a step (`ModelSpec.operations`); the peak is
    that of this rank's device times the number of ranks.
    """
    if ranks.rank:
        return math.nan
    precision = config.pretrain.precision
    if emulated(precision, ranks.device):
        log.warning(
            "pretrain.precision is bfloat16, but this processor has no instructions for it: torch "
            "emulates it, tens of times slower than float32; set pretrain.precision: float32"
        )
    peak = peak_flops(precision, ranks.device)
    operations = model_spec_of(config.pretrain).operations(model, config, n_rois) * batch_size
    log.info(
        "peak of %s in %s: %.4g GFLOP/s per process, by a matrix product; a step is %.4g GFLOP",
        *(ranks.device.type, precision, peak / 1e9, operations / 1e9),
    )
    return operations / (peak * ranks.n_ranks)


def emulated(precision: str, device: torch.device) -> bool:
    """Whether the processor has no matrix products of this precision (AVX-512 or AMX for bf16)."""
    return precision == "bfloat16" and device.type == "cpu" and not _native_bfloat16()


def _native_bfloat16() -> bool:
    known = torch.backends.mkldnn.is_available()
    return known and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def peak_flops(precision: str, device: torch.device) -> float:
    """Operations per second of a square matrix product: the fastest of those in `PEAK_SECONDS`."""
    n = PEAK_WIDTH[device.type]
    generator = torch.Generator(device).manual_seed(0)  # does not change the generator of dropout
    a = torch.rand(n, n, generator=generator, device=device).to(getattr(torch, precision))
    best, spent = math.inf, 0.0
    a @ a  # the first one loads libraries
    while best == math.inf or spent < PEAK_SECONDS:
        _wait(device)
        begin = time.perf_counter()
        a @ a
        _wait(device)
        seconds = time.perf_counter() - begin
        best, spent = min(best, seconds), spent + seconds
    return 2 * n**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
