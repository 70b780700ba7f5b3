"""The training loop."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable

import torch
from torch.nn.parallel import DistributedDataParallel

from brainmass_core.config import Config
from brainmass_core.models.pretrained import Pretrained
from brainmass_core.pretrain.data.index import Index, ShardError
from brainmass_core.pretrain.data.prefetch import prefetched
from brainmass_core.pretrain.data.stream import Batches
from brainmass_core.pretrain.loop.checkpoint import Checkpoints, State
from brainmass_core.pretrain.loop.distributed import (
    Ranks,
    from_first,
    share_batch_norm,
    wait_for_all,
)
from brainmass_core.pretrain.loop.progress import Progress, share_of_peak
from brainmass_core.pretrain.loop.schedule import learning_rate
from brainmass_core.pretrain.loop.step import (
    COLLAPSE_STEPS,
    NonFiniteLoss,
    check_finite,
    collapse_measures,
    make_optimiser,
    seed_dropout,
    train_step,
)
from brainmass_core.pretrain.model_specs import model_spec_of

log = logging.getLogger(__name__)
COMPILER = "inductor"


class Interrupted(Exception):  # noqa: N818 - not an error: the run was asked to stop and saved its state
    """Training stopped on request; its state is saved."""


def build_model(config: Config, n_rois: int) -> Pretrained:
    """Build the configured model with initial weights."""
    return model_spec_of(config.pretrain).build(config, n_rois)


def make_stream(
    config: Config,
    index: Index,
    rank: int,
    n_ranks: int,
    constants: dict[str, torch.Tensor] | None = None,
) -> Batches:
    """The batches of one rank; `ModelSpec.constants` are computed here if they are not given.

    Parameters
    ----------
    constants : dict of Tensor, optional
        Result of `ModelSpec.constants`.
    """
    spec = model_spec_of(config.pretrain)
    if constants is None:
        constants = spec.constants(config, index)
    return spec.stream(config, index, rank, n_ranks, constants)


def train(
    config: Config,
    index: Index,
    checkpoints: Checkpoints,
    ranks: Ranks,
    stop_asked: Callable[[], bool],
) -> None:
    """Train from the latest checkpoint, or from the start, to the last step.

    Parameters
    ----------
    stop_asked : callable
        Whether this process was asked to save and stop.

    Raises
    ------
    Interrupted
        If any rank was asked to stop; the state is saved.
    NonFiniteLoss
        If the loss or a weight is NaN or infinite; the message names epoch, step, scans and the
        last checkpoint, whose weights are finite.
    ShardError
        If the batches cannot be formed, or differ from those of the checkpoint.
    """
    settings, spec = config.pretrain, model_spec_of(config.pretrain)
    state = checkpoints.latest(ranks.device)
    constants = (
        state.constants if state else from_first(lambda: spec.constants(config, index), ranks)
    )
    stream = make_stream(config, index, ranks.rank, ranks.n_ranks, constants)
    total_steps = stream.n_steps(settings.epochs)
    model = build_model(config, index.n_rois).to(ranks.device).train()
    share_batch_norm(model, ranks)
    optimiser = make_optimiser(model, settings)
    start = 0
    history: list[list[float]] = []
    if state:
        _refuse_other_batches(state, checkpoints, stream, total_steps)
        start, history = _restore(state, model, optimiser)
        del state  # its tensors were copied
        log.info("resuming after step %d of %d", start, total_steps)
    module = _data_parallel(model, ranks)
    if compiles(settings.compile, ranks.device):
        model.compile(backend=COMPILER)  # in place, so the names of the weights do not change

    share = share_of_peak(model, config, index.n_rois, stream.batch_size, ranks)
    folder = checkpoints.folder / "tensorboard"
    columns = spec.history.names
    progress = Progress(folder, ranks, start, total_steps, stream.batch_size, columns, share)
    batches = prefetched(stream.batch, range(start, total_steps))
    for step in range(start, total_steps):
        epoch, batch = stream.epoch_of(step), next(batches)
        lr = _set_learning_rate(optimiser, learning_rate(epoch, settings))
        seed_dropout(config.seed, step, ranks.rank)
        try:
            result = train_step(module, model, optimiser, batch, settings, ranks, stop_asked())
            due = (step + 1) % settings.checkpoint_steps == 0 or step + 1 == total_steps
            if due := due or result.stop:
                check_finite(model)  # on all ranks, so that none waits for another
        except NonFiniteLoss as error:
            raise _with_place(error, epoch, step, batch.scan_ids, checkpoints) from None
        measures = (math.nan,) * 4
        if step % COLLAPSE_STEPS == 0 or step == total_steps - 1:
            measures = collapse_measures(result.embedding, ranks)
        history.append([step, epoch, lr, *result.losses, *measures])
        progress.show(history[-1])
        if due and ranks.rank == 0:
            rows = torch.tensor(history, dtype=torch.float64)
            states = model.state_dict(), optimiser.state_dict()
            size = stream.batch_size
            checkpoints.save(State(step + 1, total_steps, size, *states, rows, constants))
        if result.stop and step + 1 < total_steps:
            # the launcher kills a rank that is still writing when another has ended
            wait_for_all(ranks)
            raise Interrupted(f"stopped after step {step + 1} of {total_steps}; the state is saved")


def _restore(
    state: State, model: torch.nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[int, list[list[float]]]:
    """Load a checkpoint into model and optimiser; returns the steps done and their history."""
    model.load_state_dict(state.model)
    optimiser.load_state_dict(state.optimiser)
    return state.step, state.history.tolist()


def _set_learning_rate(optimiser: torch.optim.Optimizer, lr: float) -> float:
    for group in optimiser.param_groups:
        group["lr"] = lr
    return lr


def _refuse_other_batches(
    state: State, checkpoints: Checkpoints, stream: Batches, total_steps: int
) -> None:
    if (state.batch_size, state.total_steps) != (stream.batch_size, total_steps):
        raise ShardError(
            f"{checkpoints.folder}: found a checkpoint with {state.batch_size} scans per step, "
            f"expected {stream.batch_size}; use the same number of processes as before, or remove "
            "that folder to start again"
        )


def _data_parallel(model: torch.nn.Module, ranks: Ranks) -> torch.nn.Module:
    if ranks.n_ranks == 1:
        return model
    devices = [ranks.device] if ranks.device.type == "cuda" else None
    with warnings.catch_warnings():
        # torch 2.13 renames the argument; 2.6 has only this name
        warnings.filterwarnings("ignore", message=".*broadcast_buffers", category=FutureWarning)
        # batch norm is already the same on all ranks, so its buffers need no broadcast
        return DistributedDataParallel(model, device_ids=devices, broadcast_buffers=False)


def compiles(setting: bool | str, device: torch.device) -> bool:
    """Whether to compile the model on this device; `auto`: on GPUs only.

    On the CPU it takes minutes at the start of each run, without a measured gain.
    """
    return device.type == "cuda" if setting == "auto" else bool(setting)


def _with_place(
    error: NonFiniteLoss, epoch: int, step: int, scan_ids: list[str], checkpoints: Checkpoints
) -> NonFiniteLoss:
    last = checkpoints.newest()
    kept = f"{last} (after step {checkpoints.step_of(last)})" if last else "none was written yet"
    return NonFiniteLoss(
        f"training failed in epoch {epoch}, step {step}: {error}; scans of this batch: "
        f"{', '.join(scan_ids)}. Check their data, or lower pretrain.lr. Last valid checkpoint: "
        f"{kept}"
    )
