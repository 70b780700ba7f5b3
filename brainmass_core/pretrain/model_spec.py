"""Interface of a foundation model to pre-training; loop, step and checkpoints are shared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa
from torch import Tensor

from brainmass_core.config import Config
from brainmass_core.config.sections import Pretrain
from brainmass_core.models.pretrained import Pretrained
from brainmass_core.pretrain.data.index import Index
from brainmass_core.pretrain.data.order import global_batch_size
from brainmass_core.pretrain.data.stream import Batches

Constants = Mapping[str, Tensor]


class ModelSpec(ABC):
    """Specification of a foundation model, without state: everything follows from the
    configuration.

    Attributes
    ----------
    history : pa.Schema
        Schema of the history table; see `tables.history_schema`.
    parts : tuple of str
        Loss components that the model's forward returns, in the order of columns of the history,
        without the total loss.
    curves : mapping
        Label of an axis to the columns drawn there and their labels.
    digest : str
        Key in ``config.json`` for the SHA-256 of the tables.
    """

    history: ClassVar[pa.Schema]
    parts: ClassVar[tuple[str, ...]]
    curves: ClassVar[Mapping[str, Mapping[str, str]]]
    digest: ClassVar[str]

    @abstractmethod
    def build(self, config: Config, n_rois: int) -> Pretrained:
        """Build the configured model with initial weights."""

    def constants(self, config: Config, index: Index) -> dict[str, Tensor]:
        """Constants of the model that are computed from the data once, before the first step.

        Raises
        ------
        ShardError
            If the data or the atlas lack what is needed.
        """
        return {}

    @abstractmethod
    def check(self, config: Config, index: Index, n_ranks: int) -> None:
        """Check everything that the first step needs, before processes are started.

        Raises
        ------
        ShardError
            If batches cannot be formed, or data are missing.
        """

    @abstractmethod
    def stream(
        self, config: Config, index: Index, rank: int, n_ranks: int, constants: Constants
    ) -> Batches:
        """The batches of one rank."""

    @abstractmethod
    def total(self, parts: Mapping[str, Tensor], settings: Pretrain) -> Tensor:
        """The loss to minimise, a scalar, from the output of the model's forward."""

    def views(self, embedding: Tensor) -> Tensor:
        """Embedding of a batch as (n_views, n, d)."""
        return embedding

    def after_step(self, model: Any, settings: Pretrain) -> None:
        """Called after an update of the weights."""
        return

    @abstractmethod
    def operations(self, model: Any, config: Config, n_rois: int) -> int:
        """Floating-point operations of the matrix products of one scan in one step."""

    @abstractmethod
    def describe(
        self, model: Any, config: Config, index: Index, constants: Constants
    ) -> dict[str, Any]:
        """Entries of ``config.json`` to build the model and to prepare its input."""

    @abstractmethod
    def card(
        self, model: Any, config: Config, index: Index, about: dict[str, Any], history: pa.Table
    ) -> str:
        """The model card as Markdown."""


def batching(config: Config, index: Index, rank: int, n_ranks: int) -> dict[str, int]:
    """Arguments of all streams: batch size, rank, bytes that may be kept in memory.

    Raises
    ------
    ShardError
        If batches cannot be formed.
    """
    s = config.pretrain
    batch_size = global_batch_size(s.batch_size, index.n_scans, n_ranks)
    # data may use a quarter of the job's memory, shared by the processes of a machine
    memory = config.stage_resources("pretrain").mem_mb * 10**6 // 4 * s.nodes // n_ranks
    return {
        "seed": config.seed,
        "batch_size": batch_size,
        "rank": rank,
        "n_ranks": n_ranks,
        "memory": memory,
    }
