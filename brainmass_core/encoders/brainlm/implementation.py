"""The implementation of BrainLM for the stages."""

from __future__ import annotations

from typing import Literal, Self

from brainmass_core.config import Config
from brainmass_core.encoders.brainlm.head import KINDS, SeriesArchitecture, SeriesFineTune
from brainmass_core.encoders.brainlm.model import BrainLM
from brainmass_core.encoders.brainlm.pretraining import PRETRAINING, meta_model
from brainmass_core.encoders.brainlm.vit import BrainLMViT
from brainmass_core.encoders.interface import Architecture, Implementation
from brainmass_core.encoders.record import Network
from brainmass_core.models.series import SeriesModel


class Shape(Architecture):
    """Architecture of a frozen BrainLM."""

    architecture: Literal["BrainLM", "BrainLMViT"]
    size: str | dict[str, int]
    mode: Literal["corrected", "reference"]

    @classmethod
    def of(cls, model: SeriesModel) -> Self:
        """The architecture of a model."""
        return cls.model_validate(
            {"architecture": type(model).__name__, "size": model.size, "mode": model.mode}
        )

    def build(self) -> SeriesModel:
        """Build a model without decoder, with random weights."""
        model = KINDS[self.architecture](self.size, self.mode)
        del model.decoder
        return model


class _BrainLM(Implementation):
    training = PRETRAINING
    kinds = (BrainLM, BrainLMViT)
    architecture = Shape
    stored_recipes = (SeriesArchitecture,)
    only_trained = ("decoder.",)

    def kind(self, config: Config) -> type[SeriesModel]:
        """By the architecture of the configured model."""
        return type(meta_model(config))

    def recipe(self, network: Network, config: Config) -> SeriesFineTune:
        """Trained whole, from initial or pre-trained weights."""
        return SeriesFineTune(config, network.pretrained, config.neural.finetune_lr)


IMPLEMENTATION = _BrainLM()
