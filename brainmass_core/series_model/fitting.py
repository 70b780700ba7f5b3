"""Windows of some participants, and small networks fitted to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from sklearn.model_selection import GroupShuffleSplit
from torch import Tensor, nn

from brainmass_core.finetune.methods.stopping import train_with_stopping
from brainmass_core.series_model.windows import batches

HELD_OUT = 0.2  # fraction of training participants, for early stopping
MAX_NORM = 1.0  # for clipping the gradient


@dataclass(frozen=True)
class Windows:
    """Windows of series and their participants.

    Attributes
    ----------
    series : Tensor (n_windows, n_rois, n_timepoints)
        Scaled as for training.
    who : ndarray (n_windows,)
        Participant of each.
    """

    series: Tensor
    who: np.ndarray

    def __post_init__(self) -> None:
        if self.series.ndim != 3 or len(self.series) != len(self.who):
            raise ValueError(
                f"found series of shape {tuple(self.series.shape)} and {len(self.who)} "
                "participants, expected (windows, parcels, timepoints) and one for each window"
            )

    def __getitem__(self, rows: np.ndarray) -> Windows:
        return Windows(self.series[torch.from_numpy(np.flatnonzero(rows))], self.who[rows])


@dataclass(frozen=True)
class Fit:
    """How a network is fitted, by Adam.

    Attributes
    ----------
    patience : int
        Fitting ends after this number of epochs without a lower held-out loss.
    """

    epochs: int = 200
    patience: int = 20
    batch: int = 32
    lr: float = 1e-3
    seed: int = 0


def fit(
    module: nn.Module,
    loss: Callable[[Tensor], Tensor],
    windows: Windows,
    settings: Fit,
    held_out_loss: Callable[[Tensor], Tensor] | None = None,
) -> list[float]:
    """Fit a network in place, and restore the weights with the lowest held-out loss.

    Parameters
    ----------
    loss : function of Tensor (B, n_rois, n_timepoints)
        Mean loss over the windows.
    windows : Windows
        Windows of training participants; a fifth of them are held out.
    held_out_loss : function, optional
        Default: `loss`. The network is in evaluation mode.

    Returns
    -------
    list of float
        The held-out loss before fitting and after every epoch.

    Raises
    ------
    ValueError
        If there are fewer than two participants.
    """
    held_out = hold_out(windows.who, settings.seed)
    train, rest = windows[~held_out].series, windows[held_out].series
    device = next(module.parameters()).device
    optimiser = torch.optim.Adam(module.parameters(), settings.lr)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)

        def epoch() -> float:
            order = torch.randperm(len(train))
            for part in batches(len(train), settings.batch):
                optimiser.zero_grad()
                loss(train[order[part]].to(device)).backward()
                nn.utils.clip_grad_norm_(module.parameters(), MAX_NORM)
                optimiser.step()
            return math.nan  # not used

        judge = partial(_mean_loss, module, held_out_loss or loss, rest, settings.batch)
        history, _ = train_with_stopping(
            module, epoch, judge, settings.epochs, settings.patience, from_start=True
        )
    module.eval()
    return [judged for _, judged in history]


def hold_out(who: np.ndarray, seed: int) -> np.ndarray:
    """Whether windows (n_windows,) belong to held-out participants.

    Parameters
    ----------
    who : ndarray (n_windows,)
        Participant of each window.
    seed : int

    Returns
    -------
    ndarray (n_windows,), bool

    Raises
    ------
    ValueError
        If there are fewer than two participants.
    """
    if len(np.unique(who)) < 2:
        raise ValueError(
            f"found {len(np.unique(who))} training participants, expected two or more: some are "
            "held out for early stopping"
        )
    split = GroupShuffleSplit(1, test_size=HELD_OUT, random_state=seed)
    chosen = next(split.split(who, groups=who))[1]
    return np.isin(np.arange(len(who)), chosen)


@torch.no_grad()
def _mean_loss(
    module: nn.Module, loss: Callable[[Tensor], Tensor], series: Tensor, batch: int
) -> float:
    module.eval()
    device = next(module.parameters()).device
    parts = (series[part].to(device) for part in batches(len(series), batch))
    return sum(float(loss(part)) * len(part) for part in parts) / len(series)
