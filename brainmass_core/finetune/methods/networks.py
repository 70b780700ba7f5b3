"""Recipes of networks on FC that are trained end to end.

A recipe is a small frozen dataclass, so that estimators with a recipe can be cloned and compared.
Networks take matrices (B, n_rois, n_rois) of the full series; pseudo-FC is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from torch import nn

from brainmass_core.models import baselines


class Recipe(Protocol):
    """How a network is built.

    Attributes
    ----------
    lr : float
        Default learning rate of the network.
    standardise : bool
        Whether edges are z-scored over the training scans. Pre-trained encoders need plain FC.
    """

    knob: ClassVar[str]  # name of the setting of its learning rate

    @property
    def lr(self) -> float:
        """Learning rate of the optimiser."""

    @property
    def standardise(self) -> bool:
        """Whether edges are z-scored over the training scans."""

    def build(self, n_rois: int, n_out: int) -> nn.Module:
        """Build the network; its random weights come from torch's global generator.

        A network with an encoder has ``embed``, from its input to the embeddings (B, d).
        """

    def finish(self, network: nn.Module) -> nn.Module:
        """The network for prediction, made from the trained network."""

    def stored(self, network: nn.Module) -> Recipe:
        """A recipe that rebuilds the trained network without files, for loading its weights."""


@dataclass(frozen=True)
class BrainNetCNN:
    """See `models.baselines.BrainNetCNN`; widths of layers have the paper's proportions.

    Attributes
    ----------
    edge_maps : int
        Feature maps of the edge-to-edge layers; 32 in the paper.
    """

    knob: ClassVar[str] = "neural.brainnetcnn_lr"
    edge_maps: int = 16
    lr: float = 3e-4
    standardise: bool = True

    def build(self, n_rois: int, n_out: int) -> nn.Module:
        """Build with twice as many node maps and eight times as many graph units as edge maps."""
        maps = self.edge_maps
        return baselines.BrainNetCNN(n_rois, n_out, maps, 2 * maps, 8 * maps)

    def finish(self, network: nn.Module) -> nn.Module:
        """The same."""
        return network

    def stored(self, network: nn.Module) -> Self:
        """The same."""
        return self


@dataclass(frozen=True)
class BrainNetworkTransformer:
    """See `models.baselines.BrainNetworkTransformer`."""

    knob: ClassVar[str] = "neural.transformer_lr"
    n_clusters: int = 10
    lr: float = 1e-4
    standardise: bool = False

    def build(self, n_rois: int, n_out: int) -> nn.Module:
        """Build with the paper's depth, heads and widths."""
        return baselines.BrainNetworkTransformer(n_rois, n_out, n_clusters=self.n_clusters)

    def finish(self, network: nn.Module) -> nn.Module:
        """The same."""
        return network

    def stored(self, network: nn.Module) -> Self:
        """The same."""
        return self
