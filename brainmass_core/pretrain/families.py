"""The pre-training of the configured encoder."""

from __future__ import annotations

from brainmass_core.config.stages import Pretrain
from brainmass_core.pretrain.family import Family


def family_of(settings: Pretrain) -> Family:
    """The pre-training specification of the encoder's record."""
    return settings.encoder.load().training
