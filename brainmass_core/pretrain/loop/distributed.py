"""Ranks of a torchrun launch: process group, averaging, and batch norm over the global batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """Rank and device of this process.

    Attributes
    ----------
    rank, n_ranks : int
    n_local : int
        Number of processes on this machine.
    device : torch.device
    """

    rank: int
    n_ranks: int
    n_local: int
    device: torch.device


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the process group defined by torchrun's environment, and leave it at the end."""
    rank, n_ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local, n_local = (
        int(os.environ.get("LOCAL_RANK", 0)),
        int(os.environ.get("LOCAL_WORLD_SIZE", 1)),
    )
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", local) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    if n_ranks > 1:
        dist.init_process_group("nccl" if gpu else "gloo", timeout=timedelta(minutes=30))
    try:
        yield Ranks(rank, n_ranks, n_local, device)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def average(values: Tensor, ranks: Ranks) -> Tensor:
    """Mean over the ranks, on the CPU in float64; NaN on one rank gives NaN on all.

    Parameters
    ----------
    values : Tensor (n,)
    ranks : Ranks

    Returns
    -------
    Tensor (n,), float64
    """
    values = values.detach().double()
    if ranks.n_ranks > 1:
        dist.all_reduce(values)
        values /= ranks.n_ranks
    return values.cpu()


def from_first(make: Callable[[], T], ranks: Ranks) -> T:
    """Call ``make()`` on the first rank and broadcast the result to all."""
    if ranks.n_ranks == 1:
        return make()
    made = [make() if ranks.rank == 0 else None]
    dist.broadcast_object_list(made)
    return cast(T, made[0])


def wait_for_all(ranks: Ranks) -> None:
    """Wait until every rank has reached this point."""
    if ranks.n_ranks > 1:
        dist.barrier()


def gather(x: Tensor, ranks: Ranks) -> Tensor:
    """Gather the rows of all ranks in rank order, on the CPU.

    Parameters
    ----------
    x : Tensor (n, ...)
        The same n on all ranks.
    ranks : Ranks

    Returns
    -------
    Tensor (n_ranks * n, ...)
    """
    if ranks.n_ranks == 1:
        return x.cpu()
    parts = [torch.empty_like(x) for _ in range(ranks.n_ranks)]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts).cpu()


class _SumOverRanks(torch.autograd.Function):
    """All-reduce whose gradient is the all-reduce of the gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        total = x.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None


class GlobalBatchNorm1d(nn.BatchNorm1d):
    """Batch norm over the global batch on the CPU, where torch has no SyncBatchNorm.

    All ranks have the same number of rows, so the mean of the ranks' means is the global mean. The
    reductions are differentiable, because a row also affects the statistics of other ranks' rows.
    """

    group: dist.ProcessGroup | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_features) to the same."""
        if not self.training:
            return super().forward(x)
        n_ranks = dist.get_world_size()
        n = len(x) * n_ranks
        group = self.group or dist.group.WORLD
        mean = _SumOverRanks.apply(x.float().mean(0), group) / n_ranks
        centred = x.float() - mean
        variance = _SumOverRanks.apply(centred.square().mean(0), group) / n_ranks
        self._track(mean.detach(), variance.detach() * n / (n - 1))
        return centred * torch.rsqrt(variance + self.eps) * self.weight + self.bias

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


def share_batch_norm(model: nn.Module, ranks: Ranks) -> nn.Module:
    """Replace batch norms by global ones, so that results do not depend on the number of ranks."""
    if ranks.n_ranks == 1:
        return model
    if ranks.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    # a separate process group, because DDP reduces gradient buckets concurrently in the other
    group = dist.new_group()
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d):
                shared = GlobalBatchNorm1d(child.num_features, child.eps, child.momentum)
                shared.load_state_dict(child.state_dict())
                shared.group = group
                shared.requires_grad_(next(child.parameters()).requires_grad)
                setattr(module, name, shared)
    return model
