"""What a foundation model brings to pre-training; loop, step, checkpoints and launch are shared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa
from torch import Tensor

from brainmass_core.config import Config
from brainmass_core.config.stages import Pretrain
from brainmass_core.models.pretrained import Pretrained
from brainmass_core.pretrain.data.index import Index
from brainmass_core.pretrain.data.order import global_batch_size
from brainmass_core.pretrain.data.stream import Batches

Constants = Mapping[str, Tensor]


class Family(ABC):
    """One kind of foundation model, without state: everything follows from the configuration.

    Attributes
    ----------
    history : pa.Schema
        Of the history table; see `tables.history_schema`.
    parts : tuple of str
        What the model's forward returns and the history holds beside the total loss, in the order
        of its columns.
    curves : mapping
        Label of an axis to the columns drawn there and what they are called.
    digest : str
        Under which ``config.json`` holds the SHA-256 of the tables.
    """

    history: ClassVar[pa.Schema]
    parts: ClassVar[tuple[str, ...]]
    curves: ClassVar[Mapping[str, Mapping[str, str]]]
    digest: ClassVar[str]

    @abstractmethod
    def build(self, config: Config, n_rois: int) -> Pretrained:
        """The model as configured, with its initial weights."""

    def constants(self, config: Config, index: Index) -> dict[str, Tensor]:
        """What is worked out of the data once, before the first step, and belongs to the model.

        Raises
        ------
        ShardError
            If the data or the atlas do not have it.
        """
        return {}

    @abstractmethod
    def check(self, config: Config, index: Index, n_ranks: int) -> None:
        """Refuse what the first step would refuse, before processes are started.

        Raises
        ------
        ShardError
            If the batches cannot be formed, or what goes with the data is not there.
        """

    @abstractmethod
    def stream(
        self, config: Config, index: Index, rank: int, n_ranks: int, constants: Constants
    ) -> Batches:
        """The batches of one rank."""

    @abstractmethod
    def total(self, parts: Mapping[str, Tensor], settings: Pretrain) -> Tensor:
        """The loss that is lowered, of what the model's forward returns."""

    def views(self, embedding: Tensor) -> Tensor:
        """Embedding of a batch as (n_views, n, d)."""
        return embedding

    def after_step(self, model: Any, settings: Pretrain) -> None:
        """What follows an update of the weights."""
        return

    @abstractmethod
    def operations(self, model: Any, config: Config, n_rois: int) -> int:
        """Floating-point operations of the matrix products of one scan in one step."""

    @abstractmethod
    def describe(
        self, model: Any, config: Config, index: Index, constants: Constants
    ) -> dict[str, Any]:
        """Entries of ``config.json``: what is needed to build the model and to feed it rightly."""

    @abstractmethod
    def card(
        self, model: Any, config: Config, index: Index, about: dict[str, Any], history: pa.Table
    ) -> str:
        """The model card as Markdown."""


def batching(config: Config, index: Index, rank: int, n_ranks: int) -> dict[str, int]:
    """What all streams take: batch size, place among the ranks, bytes that may be held.

    Raises
    ------
    ShardError
        If the batches cannot be formed.
    """
    s = config.pretrain
    batch_size = global_batch_size(s.batch_size, index.n_scans, n_ranks)
    # a quarter of the job's memory, shared by the processes of a machine, may hold data
    memory = config.stage_resources("pretrain").mem_mb * 10**6 // 4 * s.nodes // n_ranks
    return {
        "seed": config.seed,
        "batch_size": batch_size,
        "rank": rank,
        "n_ranks": n_ranks,
        "memory": memory,
    }
