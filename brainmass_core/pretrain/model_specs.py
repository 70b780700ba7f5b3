"""The pre-training of the configured encoder."""

from __future__ import annotations

from brainmass_core.config.stages import Pretrain
from brainmass_core.pretrain.model_spec import ModelSpec


def model_spec_of(settings: Pretrain) -> ModelSpec:
    """The pre-training specification of the encoder's record."""
    return settings.encoder.load().training
