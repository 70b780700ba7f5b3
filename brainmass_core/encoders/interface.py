"""What an encoder does in the stages: one `Implementation`, which its record names.

Models follow one of two interfaces, by what the record says that the encoder sees. A model of FC
has ``encode(fc)``, from edges or matrices of a batch to embeddings (B, d). A model of series is a
`models.series.SeriesModel`. Everything else that the stages ask for is here.
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
from brainmass_core.pretrain.family import Family


class Architecture(Strict, ABC):
    """What a deployed model's contract says of its frozen encoder: enough to build it again."""

    @classmethod
    @abstractmethod
    def of(cls, model: Any) -> Self:
        """That of a model."""

    @abstractmethod
    def build(self) -> Pretrained:
        """A model of it with random weights."""


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
    training : Family
        Its pre-training.
    kinds : tuple of type
        Classes whose folders are models of it.
    architecture : type of Architecture
    stored_recipes : tuple of type
        Recipes by which a deployed, fine-tuned model is built again; see `recipe`.
    only_trained : tuple of str
        Beginnings of the names of weights of `core` that only pre-training needs.
    """

    training: ClassVar[Family]
    kinds: ClassVar[tuple[type[Pretrained], ...]]
    architecture: ClassVar[type[Architecture]]
    stored_recipes: ClassVar[tuple[type, ...]] = ()
    only_trained: ClassVar[tuple[str, ...]] = ()

    def kind(self, config: Config) -> type[Pretrained]:
        """Class of the configured model."""
        return self.kinds[0]

    def pretrained(self, config: Config) -> Any:
        """The study's model in evaluation mode, on the CPU.

        Raises
        ------
        ModelError
            If there is none, or its files are damaged.
        """
        return self.kind(config).from_pretrained(folder_of(config))

    def untrained(self, config: Config, n_rois: int) -> Any:
        """The same architecture with its initial weights, in evaluation mode: the control."""
        return self.training.build(config, n_rois).eval().requires_grad_(False)

    def core(self, model: Any) -> nn.Module:
        """The part of a model that embeds, whose weights a deployed model holds."""
        return model

    def recipe(self, network: Network, config: Config) -> Any:
        """How one of the record's `networks` is built and trained.

        Returns
        -------
        finetune.methods.networks.Recipe
        """
        raise NotImplementedError(f"{type(self).__name__} has no network {network.name}")

    def transformer(self, model: Any) -> Transformer:
        """What attention maps are made from, of an encoder that is explained by ``attention``."""
        raise NotImplementedError(f"{type(self).__name__} has no attention maps")


def implementation_of(encoder: Encoder) -> Implementation:
    """What an encoder does in the stages, which its record names."""
    return resolve(encoder.implementation)


def folder_of(config: Config) -> Path:
    """Folder of the pre-trained model."""
    return Paths(config.results).pretrain(config.pretrain.model)
