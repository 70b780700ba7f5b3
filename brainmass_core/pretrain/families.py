"""The pre-training of the configured encoder."""

from __future__ import annotations

from brainmass_core.config.stages import Pretrain
from brainmass_core.encoders.interface import implementation_of
from brainmass_core.pretrain.family import Family


def family_of(settings: Pretrain) -> Family:
    """What the encoder's record brings to pre-training."""
    return implementation_of(settings.encoder).training
