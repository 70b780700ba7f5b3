"""The schedule of the learning rate in pre-training."""

from __future__ import annotations

import math

from brainmass_core.config.sections import Pretrain


def learning_rate(epoch: int, settings: Pretrain) -> float:
    """Learning rate of an epoch, which depends only on its number, so resuming needs no state.

    Warm-up is linear from ``lr / warmup_epochs`` to ``lr``, as in the released code. Then it is
    constant, or decreases to ``lr_end`` in the last epoch, linearly or along half a cosine
    (Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts).
    """
    peak, warmup = settings.lr, settings.warmup_epochs
    if epoch < warmup:
        return peak * (epoch + 1) / warmup
    if settings.schedule == "constant":
        return peak
    done = (epoch + 1 - warmup) / (settings.epochs - warmup)
    left = 1 - done if settings.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return settings.lr_end + (peak - settings.lr_end) * left
