"""Training that ends when the loss of held-out participants no longer falls."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

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
