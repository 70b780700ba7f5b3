"""Early stopping by the loss of held-out participants, and their selection."""

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
    """Train epoch by epoch, and restore the weights with the lowest loss on held-out participants.

    Parameters
    ----------
    train : callable
        One pass over the training scans, with the network in training mode; returns the loss.
    held_out : callable, optional
        Returns the loss of held-out participants. None: nobody is held out, all epochs are run.
    patience : int
        Training ends after this number of epochs without a lower held-out loss.
    from_start : bool
        Whether the initial weights are also evaluated, as epoch 0.

    Returns
    -------
    list of (float, float)
        Training and held-out loss of each epoch, NaN if there is none.
    int
        The epoch of the final weights.
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
    """Split rows into training and held-out ones, grouped by participant and stratified.

    Parameters
    ----------
    strata : ndarray (n_scans,) of int
        Class, or bin of a regression's target.
    groups : array (n_scans,), optional
        Participants; None: one per scan.
    fraction : float
        Fraction of the participants to hold out; more if a class has few.

    Returns
    -------
    two ndarrays of int, sorted
        The second is empty if a class has a single participant: then nobody is held out.
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
