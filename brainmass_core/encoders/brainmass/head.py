"""BrainMass with a head: the encoder fine-tuned, or frozen with low-rank adapters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from brainmass_core.encoders.brainmass.model import BrainMass, build
from brainmass_core.encoders.brainmass.network import READOUT, Encoder


@dataclass(frozen=True)
class FineTune:
    """Recipe for BrainMass's encoder with the paper's head, all parameters trained.

    Attributes
    ----------
    folder : str, optional
        Folder of the pre-trained model. None: the architecture with random weights, as the control.
    size, heads, init_seed, fisher_z
        Architecture and seed of the control; a pre-trained model includes its own.
    """

    knob: ClassVar[str] = "neural.finetune_lr"
    folder: str | None = None
    size: str = "tiny"
    heads: int | None = None
    init_seed: int = 0
    lr: float = 1e-4
    standardise: bool = False
    fisher_z: bool = False

    def build(self, n_rois: int, n_out: int) -> nn.Module:
        """Encoder and head."""
        return Adapted(self._encoder(n_rois), n_rois, n_out)

    def finish(self, network: nn.Module) -> nn.Module:
        """The same."""
        return network

    def stored(self, network: nn.Module) -> FineTune:
        """The recipe without a folder; adapters are merged into the weights."""
        if self.folder is None:
            return FineTune(None, self.size, self.heads, lr=self.lr, fisher_z=self.fisher_z)
        model = BrainMass.from_pretrained(self.folder)
        return FineTune(None, model.size, model.heads, lr=self.lr, fisher_z=model.fisher_z)

    def _encoder(self, n_rois: int) -> Encoder:
        if self.folder is None:
            seed, z = self.init_seed, self.fisher_z
            return build(self.size, n_rois, seed, self.heads, fisher_z=z).online
        model = BrainMass.from_pretrained(Path(self.folder))
        if model.n_rois != n_rois:
            raise ValueError(
                f"{self.folder}: the model was made for {model.n_rois} ROIs, the FC has {n_rois}; "
                "pre-train with the atlas of the task"
            )
        return model.online.requires_grad_(True)


@dataclass(frozen=True)
class Lora(FineTune):
    """The same with a frozen encoder whose weight matrices get low-rank adapters.

    Attributes
    ----------
    rank : int
        Rank of the adapters.
    alpha : float
        The adapters are scaled by ``alpha / rank``.
    """

    knob: ClassVar[str] = "neural.lora_lr"
    rank: int = 4
    alpha: float = 8.0
    lr: float = 1e-3

    def build(self, n_rois: int, n_out: int) -> nn.Module:
        """Encoder with adapters, and head."""
        encoder = self._encoder(n_rois)
        add_adapters(encoder, self.rank, self.alpha)
        return Adapted(encoder, n_rois, n_out)

    def finish(self, network: nn.Module) -> nn.Module:
        """Merge the adapters into the weights, so that they cost nothing at inference."""
        assert isinstance(network, Adapted)
        merge_adapters(network.encoder)
        return network


class Adapted(nn.Module):
    """Encoder and head: ``8 n_rois -> 256 -> 32 -> n_out``.

    The widths, batch norm, LeakyReLU and dropout 0.3 are those of the authors' fine-tuning class;
    its second LeakyReLU on the embedding is omitted.
    """

    def __init__(self, encoder: Encoder, n_rois: int, n_out: int, dropout: float = 0.3) -> None:
        super().__init__()
        del encoder.projector  # only pre-training needs it
        self.encoder = encoder
        self.head = nn.Sequential(
            *_block(READOUT * n_rois, 256, dropout), *_block(256, 32, dropout), nn.Linear(32, n_out)
        )

    def forward(self, fc: Tensor) -> Tensor:
        """Logits or predictions of scans.

        Parameters
        ----------
        fc : Tensor (B, n_rois, n_rois)

        Returns
        -------
        Tensor (B, n_out)
        """
        return self.head(self.embed(fc))

    def embed(self, fc: Tensor) -> Tensor:
        """The encoder's embedding of scans.

        Parameters
        ----------
        fc : Tensor (B, n_rois, n_rois)

        Returns
        -------
        Tensor (B, 8 * n_rois)
        """
        return self.encoder.embed(self.encoder.prepare(fc))


class Adapter(nn.Module):
    """``W + alpha / rank * up @ down`` (Hu et al. 2022, arXiv 2106.09685); `up` starts at zero."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        n_out, n_in = weight.shape
        self.down = nn.Parameter(torch.empty(rank, n_in))
        self.up = nn.Parameter(torch.zeros(n_out, rank))
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.down, a=5**0.5)  # as nn.Linear draws its weights

    def forward(self, weight: Tensor) -> Tensor:
        """The weight matrix with the adapter added.

        Parameters
        ----------
        weight : Tensor (n_out, n_in)
            The frozen weights.

        Returns
        -------
        Tensor (n_out, n_in)
        """
        return weight + self.scale * self.up @ self.down


def adapted_weights(encoder: Encoder) -> list[tuple[nn.Module, str]]:
    """Modules and names of the weight matrices that get adapters: attention and perceptrons.

    Query, key and value are one matrix, so they share one `down`.
    """
    found: list[tuple[nn.Module, str]] = []
    for layer in encoder.layers:
        assert isinstance(layer, nn.TransformerEncoderLayer)
        found += [(layer.self_attn, "in_proj_weight"), (layer.self_attn.out_proj, "weight")]
        found += [(layer.linear1, "weight"), (layer.linear2, "weight")]
    return found


def add_adapters(encoder: Encoder, rank: int, alpha: float) -> None:
    """Freeze an encoder and add adapters to its weight matrices, in place."""
    encoder.requires_grad_(False)
    for module, name in adapted_weights(encoder):
        adapter = Adapter(getattr(module, name), rank, alpha)
        parametrize.register_parametrization(module, name, adapter)


def merge_adapters(encoder: Encoder) -> None:
    """Replace each W by ``W + alpha / rank * up @ down``, in place."""
    for module, name in adapted_weights(encoder):
        parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def _block(n_in: int, n_out: int, dropout: float) -> list[nn.Module]:
    return [nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.LeakyReLU(), nn.Dropout(dropout)]
