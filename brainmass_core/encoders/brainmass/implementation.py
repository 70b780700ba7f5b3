"""The implementation of BrainMass for the stages."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from torch import nn

from brainmass_core.config import Config
from brainmass_core.encoders.brainmass.head import FineTune, Lora
from brainmass_core.encoders.brainmass.model import BrainMass
from brainmass_core.encoders.brainmass.pretraining import BrainMassSpec
from brainmass_core.encoders.interface import (
    Architecture,
    Implementation,
    Transformer,
    folder_of,
)
from brainmass_core.encoders.record import Network


class Shape(Architecture):
    """Architecture of a frozen encoder of FC."""

    size: str
    n_rois: int
    heads: int
    fisher_z: bool = False

    @classmethod
    def of(cls, model: BrainMass) -> Self:
        """The architecture of a model."""
        return cls(size=model.size, n_rois=model.n_rois, heads=model.heads, fisher_z=model.fisher_z)

    def build(self) -> BrainMass:
        """Build a model with random weights."""
        return BrainMass(self.size, self.n_rois, self.heads, fisher_z=self.fisher_z)


class _BrainMass(Implementation):
    training = BrainMassSpec()
    kinds = (BrainMass,)
    architecture = Shape
    stored_recipes = (FineTune,)
    only_trained = ("projector.",)
    needs_all = ("projection",)

    def core(self, model: BrainMass) -> nn.Module:
        """The online network; the other parts are only for training."""
        return model.online

    def recipe(self, network: Network, config: Config) -> FineTune:
        """Fine-tuned from initial or pre-trained weights, or with adapters."""
        s, folder = config.neural, str(folder_of(config))
        if network.training == "lora":
            return Lora(folder, rank=s.lora_rank, alpha=s.lora_alpha, lr=s.lora_lr)
        if network.pretrained:
            return FineTune(folder, lr=s.finetune_lr)
        p = config.pretrain
        control = FineTune(None, p.size, p.heads, config.seed, fisher_z=p.fisher_z)
        return replace(control, lr=s.finetune_lr)

    def transformer(self, model: BrainMass) -> Transformer:
        """The online network's layers."""
        return Transformer(dict(model.online.state_dict()), model.heads, model.matrices)


IMPLEMENTATION = _BrainMass()
