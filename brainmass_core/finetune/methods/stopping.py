"""Training that ends when the loss of held-out participants no longer falls, and who they are."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold
from torch import nn


def train_with_stopping(
    network: nn.Module,
    train: Callable[[], float],
    held_out: Callable[[], float] | None,
    max_epochs: int,
    patience: int,
    from_start: bool = False,
) -> tuple[list[tuple[float, float]], int]:
    """Train epoch by epoch, and go back to the weights that were best for those held out.

    Parameters
    ----------
    train : callable
        One pass over the training scans, the network being in training mode; its loss.
    held_out : callable, optional
        The loss of those held out. None: nobody is, and every epoch is done.
    patience : int
        Epochs without a lower loss of those held out, after which training ends.
    from_start : bool
        Whether the weights before training are judged as well, as epoch 0.

    Returns
    -------
    list of (float, float)
        Loss of training and of those held out in each epoch, NaN where there is none.
    int
        The epoch of the weights that were kept.
    """
    history: list[tuple[float, float]] = []
    at, best, kept = 0, math.inf, None
    for epoch in range(0 if from_start else 1, max_epochs + 1):
        network.train()
        loss = train() if epoch else math.nan
        judged = held_out() if held_out else math.nan
        history.append((loss, judged))
        if not held_out:
            at = epoch
        elif judged < best:
            at, best, kept = epoch, judged, copy.deepcopy(network.state_dict())
        elif epoch - at >= patience:
            break
    if kept is not None:
        network.load_state_dict(kept)
    return history, at


def inner_split(
    strata: np.ndarray, groups: Any, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to hold back, grouped by participant and stratified.

    Parameters
    ----------
    strata : ndarray (n_scans,) of int
        Class, or bin of a regression's target.
    groups : array (n_scans,), optional
        Participants; None: one per scan.
    fraction : float
        Share of the participants to hold back; more where a class has few.

    Returns
    -------
    two ndarrays of int, sorted
        The second is empty where a class has a single participant: then nothing is held back.
    """
    rows = np.arange(len(strata))
    groups = rows if groups is None else np.asarray(groups)
    if len(groups) != len(strata):
        raise ValueError(f"found {len(groups)} groups for {len(strata)} scans; expected one each")
    people = np.array([len(np.unique(groups[strata == s])) for s in np.unique(strata)])
    n_splits = min(round(1 / fraction), int(people.min()))
    if n_splits < 2:
        return rows, rows[:0]
    splitter = StratifiedGroupKFold(n_splits, shuffle=True, random_state=seed)
    return next(iter(splitter.split(rows[:, None], strata, groups)))
