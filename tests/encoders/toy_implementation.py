"""Implementation of the encoder of `toy_encoder`: one linear map of the edges of FC.

It is pre-trained to give two views of a scan the same embedding, of variance 1 in each dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import pyarrow as pa
import torch
from torch import Tensor, nn

from brainmass_core.config import Config
from brainmass_core.config.sections import Pretrain
from brainmass_core.encoders.interface import Architecture, Implementation, folder_of
from brainmass_core.encoders.record import Network
from brainmass_core.models.pretrained import Pretrained
from brainmass_core.pretrain.data.views import Index, Stream, fresh_of
from brainmass_core.pretrain.model_spec import Constants, ModelSpec, batching
from brainmass_core.tables import history_schema

WIDTH = 6


class Toy(Pretrained):
    """Edges (B, n_edges) to (B, width)."""

    ARGUMENTS = ("n_rois", "width")

    def __init__(self, n_rois: int, width: int = WIDTH) -> None:
        super().__init__()
        self.n_rois, self.width = n_rois, width
        self.map = nn.Linear(n_rois * (n_rois - 1) // 2, width)
        self.unused = nn.Linear(2, 2)  # which a deployed model does not keep

    def encode(self, fc: Tensor) -> Tensor:
        """The embedding of edges, or of matrices (B, n_rois, n_rois)."""
        if fc.ndim == 3:
            rows, columns = torch.triu_indices(self.n_rois, self.n_rois, offset=1)
            fc = fc[:, rows, columns]
        return self.map(fc.float())

    def forward(self, one: Tensor, two: Tensor, *masks: Tensor) -> dict[str, Tensor]:
        a, b = self.encode(one), self.encode(two)
        spread = (a.std(0) - 1).square().mean() + self.unused.weight.square().sum()
        return {
            "views": (a - b).square().mean(),
            "spread": spread,
            "embedding": torch.stack([a, b]),
        }


class ToyTraining(ModelSpec):
    """Two views, no masks."""

    history = history_schema(("loss_views", "loss_spread"))
    parts = ("views", "spread")
    curves: ClassVar = {"loss": {"loss": "", "loss_views": "views", "loss_spread": "spread"}}
    digest = "pfc_sha256"

    def build(self, config: Config, n_rois: int) -> Toy:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            return Toy(n_rois)

    def check(self, config: Config, index: Index, n_ranks: int) -> None:
        self.stream(config, index, 0, n_ranks, {})

    def stream(
        self, config: Config, index: Index, rank: int, n_ranks: int, constants: Constants
    ) -> Stream:
        how = batching(config, index, rank, n_ranks)
        return Stream(index, n_masked=(1, 1), fresh=fresh_of(config), **how)

    def total(self, parts: Mapping[str, Tensor], settings: Pretrain) -> Tensor:
        return parts["views"] + parts["spread"]

    def views(self, embedding: Tensor) -> Tensor:
        return embedding.detach()

    def operations(self, model: Toy, config: Config, n_rois: int) -> int:
        return 6 * model.map.weight.numel()

    def describe(
        self, model: Toy, config: Config, index: Index, constants: Constants
    ) -> dict[str, Any]:
        about = {"n_rois": model.n_rois, "width": model.width, "atlas": config.atlas.name}
        return about | {"estimator": config.pfc.estimator}

    def card(self, model: Toy, config: Config, index: Index, about: dict, history: pa.Table) -> str:
        return f"# Toy, {model.n_rois} ROIs\n"


class Shape(Architecture):
    """Of a frozen one."""

    n_rois: int
    width: int

    @classmethod
    def of(cls, model: Toy) -> Self:
        return cls(n_rois=model.n_rois, width=model.width)

    def build(self) -> Toy:
        return Toy(self.n_rois, self.width)


class Headed(nn.Module):
    """Encoder and a linear head."""

    def __init__(self, encoder: Toy, n_out: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(encoder.width, n_out)

    def forward(self, fc: Tensor) -> Tensor:
        return self.head(self.embed(fc))

    def embed(self, fc: Tensor) -> Tensor:
        return self.encoder.encode(fc)


@dataclass(frozen=True)
class ToyTune:
    """Encoder and head; either both are trained or only the head."""

    knob: ClassVar[str] = "neural.finetune_lr"
    folder: str | None = None
    fixed: bool = False
    lr: float = 1e-4
    standardise: bool = False

    def build(self, n_rois: int, n_out: int) -> nn.Module:
        model = Toy.from_pretrained(self.folder) if self.folder else Toy(n_rois)
        return Headed(model.requires_grad_(not self.fixed), n_out)

    def finish(self, network: nn.Module) -> nn.Module:
        return network

    def stored(self, network: nn.Module) -> ToyTune:
        return ToyTune(lr=self.lr)


class _Toy(Implementation):
    training = ToyTraining()
    kinds = (Toy,)
    architecture = Shape
    stored_recipes = (ToyTune,)
    only_trained = ("unused.",)

    def recipe(self, network: Network, config: Config) -> ToyTune:
        fixed = network.training == "head"
        return ToyTune(str(folder_of(config)), fixed, lr=config.neural.finetune_lr)


IMPLEMENTATION = _Toy()
