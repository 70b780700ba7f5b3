"""Which foundation models there are."""

from __future__ import annotations

from brainmass_core.config.stages import Pretrain
from brainmass_core.pretrain.brainlm import BrainLMFamily
from brainmass_core.pretrain.brainmass import BrainMassFamily
from brainmass_core.pretrain.family import Family


def family_of(settings: Pretrain) -> Family:
    """The family of the configured model."""
    return BrainLMFamily() if settings.of_series else BrainMassFamily()
