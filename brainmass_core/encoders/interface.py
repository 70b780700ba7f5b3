"""Interface of encoders to the stages: one `Implementation`, which the encoder's record names.

Models have one of two interfaces, depending on the input in the record. A model of FC
has ``encode(fc)``, from edges or matrices of a batch to embeddings (B, d), and, if its record has
readouts, ``encode(fc, readout=name)``. A model of series is a `models.series.SeriesModel`.
Everything else that the stages need is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from torch import Tensor, nn

from brainmass_core.config import Config
from brainmass_core.config.base import Strict
from brainmass_core.encoders.record import Encoder, Network
from brainmass_core.encoders.registry import resolve
from brainmass_core.models.pretrained import Pretrained
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.model_spec import ModelSpec


class Architecture(Strict, ABC):
    """Architecture of a frozen encoder in the contract of a deployed model, to rebuild it."""

    @classmethod
    @abstractmethod
    def of(cls, model: Any) -> Self:
        """The architecture of a model."""

    @abstractmethod
    def build(self) -> Pretrained:
        """Build a model with random weights."""


class Transformer(NamedTuple):
    """A post-norm transformer over ROIs, for maps of its attention.

    Attributes
    ----------
    weights : mapping
        Parameters named as `torch.nn.TransformerEncoderLayer` names them, after ``layers.<i>.``.
    heads : int
    tokens : callable
        FC (B, n_edges) to the tokens (B, n_rois, d) that enter the first layer.
    """

    weights: Mapping[str, Tensor]
    heads: int
    tokens: Callable[[Tensor], Tensor]


class Implementation(ABC):
    """One encoder, without state: everything follows from the configuration.

    Attributes
    ----------
    training : ModelSpec
        Its pre-training.
    kinds : tuple of type
        Model classes whose folders belong to this encoder.
    architecture : type of Architecture
    stored_recipes : tuple of type
        Recipes that rebuild a deployed, fine-tuned model; see `recipe`.
    only_trained : tuple of str
        Prefixes of the names of weights of `core` that only pre-training needs.
    needs_all : tuple of str
        Readouts that need these weights too.
    """

    training: ClassVar[ModelSpec]
    kinds: ClassVar[tuple[type[Pretrained], ...]]
    architecture: ClassVar[type[Architecture]]
    stored_recipes: ClassVar[tuple[type, ...]] = ()
    only_trained: ClassVar[tuple[str, ...]] = ()
    needs_all: ClassVar[tuple[str, ...]] = ()

    def kind(self, config: Config) -> type[Pretrained]:
        """Class of the configured model."""
        return self.kinds[0]

    def pretrained(self, config: Config) -> Any:
        """The study's model in evaluation mode, on the CPU.

        Raises
        ------
        ModelError
            If there is no model, or its files are damaged.
        """
        return self.kind(config).from_pretrained(folder_of(config))

    def untrained(self, config: Config, n_rois: int) -> Any:
        """The same architecture with its initial weights, in evaluation mode: the control."""
        return self.training.build(config, n_rois).eval().requires_grad_(False)

    def not_stored(self, readout: str) -> tuple[str, ...]:
        """Prefixes of weights of `core` that a deployed model with this readout does not need."""
        return () if readout in self.needs_all else self.only_trained

    def core(self, model: Any) -> nn.Module:
        """The part of a model that computes embeddings, whose weights a deployed model stores."""
        return model

    def recipe(self, network: Network, config: Config) -> Any:
        """The recipe to build and train one of the record's `networks`.

        Returns
        -------
        finetune.methods.networks.Recipe
        """
        raise NotImplementedError(f"{type(self).__name__} has no network {network.name}")

    def transformer(self, model: Any) -> Transformer:
        """The layers for attention maps, for encoders with the interpretation method
        ``attention``."""
        raise NotImplementedError(f"{type(self).__name__} has no attention maps")


def implementation_of(encoder: Encoder) -> Implementation:
    """What an encoder does in the stages, which its record names."""
    return resolve(encoder.implementation)


def folder_of(config: Config) -> Path:
    """Folder of the pre-trained model."""
    return Paths(config.results).pretrain(config.pretrain.model)
