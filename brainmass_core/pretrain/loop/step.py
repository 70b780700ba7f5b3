"""One optimiser step of pre-training, and its measures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainmass_core.config.sections import Pretrain
from brainmass_core.pretrain.data.stream import Batch
from brainmass_core.pretrain.loop.distributed import Ranks, average, gather
from brainmass_core.pretrain.model_specs import model_spec_of

DROPOUT = 3  # random stream of dropout; those of the data are in `pretrain.data`
COLLAPSE_STEPS = 10  # an eigendecomposition at every step would slow training down


class NonFiniteLoss(ValueError):  # noqa: N818 - it names what was found
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class StepResult:
    """Results of one step.

    Attributes
    ----------
    losses : list of float
        The total and its parts, `ModelSpec.parts`: means over the global batch.
    embedding : Tensor (n_views, n, embedding_dim)
        Embedding of this rank's slice.
    stop : bool
        Whether any rank was asked to stop.
    """

    losses: list[float]
    embedding: Tensor
    stop: bool


def make_optimiser(model: nn.Module, settings: Pretrain) -> torch.optim.AdamW:
    """Fused AdamW for all trainable tensors, with weight decay, as in the released code."""
    return torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=settings.lr,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def seed_dropout(seed: int, step: int, rank: int) -> None:
    """Seed dropout from (seed, step, rank), so that resuming needs no generator state."""
    state = np.random.SeedSequence([seed, DROPOUT, step, rank]).generate_state(1, np.uint64)
    torch.manual_seed(int(state[0]))


def losses_of(
    module: nn.Module, batch: Batch, settings: Pretrain, ranks: Ranks
) -> tuple[Tensor, dict[str, Tensor]]:
    """Total loss of a rank's slice, and the output of the model's forward.

    Returns
    -------
    total : Tensor ()
    parts : dict of Tensor
        As the model returns them.
    """
    tensors = batch.tensors(ranks.device)
    lower = settings.precision == "bfloat16"
    with torch.autocast(ranks.device.type, dtype=torch.bfloat16, enabled=lower):
        parts = module(*tensors)
    return model_spec_of(settings).total(parts, settings), parts


def train_step(
    module: nn.Module,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    settings: Pretrain,
    ranks: Ranks,
    stop_asked: bool,
) -> StepResult:
    """Forward, backward, clip, update, and `ModelSpec.after_step`.

    Parameters
    ----------
    module : nn.Module
        The model, wrapped for data-parallel training or not.
    stop_asked : bool
        Whether this rank was asked to stop.

    Raises
    ------
    NonFiniteLoss
        On all ranks, before any weight is changed.
    """
    spec = model_spec_of(settings)
    total, parts = losses_of(module, batch, settings, ranks)
    names = ("total", *spec.parts)
    asked = total.new_tensor(float(stop_asked))
    values = average(torch.stack([total, *(parts[n] for n in spec.parts), asked]), ranks).tolist()
    losses, stop = values[:-1], values[-1] > 0
    if not np.isfinite(losses).all():
        found = ", ".join(f"{n} {v}" for n, v in zip(names, losses, strict=True))
        raise NonFiniteLoss(f"the loss is not finite: {found}")

    optimiser.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_value_(model.parameters(), settings.clip_value)
    optimiser.step()
    spec.after_step(model, settings)
    return StepResult(losses, spec.views(parts["embedding"]), stop)


@torch.no_grad()
def check_finite(model: nn.Module) -> None:
    """Refuse non-finite weights before they are written to a checkpoint.

    A finite loss may have a non-finite gradient, which makes the weights non-finite one step before
    the loss shows it.

    Raises
    ------
    NonFiniteLoss
        If a tensor contains NaN or infinity; names up to three.
    """
    tensors = {n: t for n, t in model.state_dict().items() if t.is_floating_point()}
    largest = torch.stack(torch._foreach_norm(list(tensors.values()), math.inf))
    bad = [n for n, ok in zip(tensors, largest.isfinite().tolist(), strict=True) if not ok]
    if bad:
        raise NonFiniteLoss(f"the update made {', '.join(bad[:3])} NaN or infinite")


def collapse_measures(embedding: Tensor, ranks: Ranks) -> tuple[float, float, float, float]:
    """Measures of collapse: spread of embeddings over scans, and distance of views of a scan.

    Parameters
    ----------
    embedding : Tensor (n_views, B, d)
        One or two views of this rank's slice of the global batch. The first two measures use the
        first view; the last two are on the unit sphere.

    Returns
    -------
    std : float
        Standard deviation over scans, averaged over dimensions; 0 when collapsed.
    effective_rank : float
        Exponential of the entropy of the normalised singular values of the centred embedding (Roy
        & Vetterli 2007); 1 if only one direction remains.
    view_distance : float
        Mean squared distance between the views of a scan, in [0, 4] (Wang & Isola 2020,
        arXiv:2005.10242: alignment); NaN with a single view.
    uniformity : float
        Log of the mean of ``exp(-2 distance²)`` over pairs of scans: 0 when collapsed, lower for
        larger distances (same reference).
    """
    views = [gather(view.float(), ranks).double() for view in embedding]
    x = views[0] - views[0].mean(0)
    std = x.std(0, correction=0).mean().item()
    squares = torch.linalg.eigvalsh(x @ x.T).clamp_min(0)
    share = squares.sqrt() / squares.sqrt().sum().clamp_min(1e-12)
    entropy = -torch.special.xlogy(share, share).sum()
    first, *others = (functional.normalize(view, dim=1) for view in views)
    distance = (first - others[0]).square().sum(1).mean().item() if others else math.nan
    apart = torch.pdist(first).square().mul(-2).exp().mean().log().item()
    return std, entropy.exp().item(), distance, apart
