"""The pre-training of the configured encoder."""

from __future__ import annotations

from brainmass_core.config.sections import Pretrain
from brainmass_core.encoders.interface import implementation_of
from brainmass_core.pretrain.model_spec import ModelSpec


def model_spec_of(settings: Pretrain) -> ModelSpec:
    """The pre-training specification of the encoder's record."""
    return implementation_of(settings.encoder).training
