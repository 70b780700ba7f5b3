"""What all streams of batches share: which scans a step holds, and which data stay in memory.

What a batch holds follows from (seed, step) alone, so a run resumes anywhere without saved reader
state, and the same global batch is made by one process or by a hundred.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from brainmass_core.pretrain.index import Group, Index, ShardError
from brainmass_core.pretrain.order import Sequence
from brainmass_core.tables import TableError
from brainmass_core.timeseries.table import bold_by_scan, refuse_partial


class Batch(Protocol):
    """One rank's slice of a global batch."""

    @property
    def scan_ids(self) -> list[str]:
        """Of the whole global batch, for messages."""

    def tensors(self, device: torch.device) -> tuple[Any, ...]:
        """What the model's forward takes, on a device."""


class Batches(ABC):
    """Batches of an index; holds two shuffle buffers, and more up to a limit.

    Parameters
    ----------
    memory : int
        Bytes of data that may be held from one epoch to the next, beyond the shuffle buffers.
    """

    def __init__(
        self, index: Index, seed: int, batch_size: int, rank: int, n_ranks: int, memory: int
    ) -> None:
        self.index, self.seed = index, seed
        self.batch_size, self.rank, self.n_ranks = batch_size, rank, n_ranks
        sizes = np.array([len(g.scan_ids) for g in index.groups])
        self.sequence = Sequence(sizes, seed, batch_size)
        held = np.cumsum([self._bytes(g) for g in index.groups])
        self._stay = set(np.flatnonzero(held <= memory).tolist())
        self._held: dict[int, Any] = {}

    def n_steps(self, epochs: int) -> int:
        """Steps of a training of so many epochs."""
        return self.sequence.n_steps(epochs)

    def epoch_of(self, step: int) -> int:
        """Epoch to which a step belongs: that of its first scan."""
        return self.sequence.epoch_of(step)

    def batch(self, step: int) -> Batch:
        """This rank's slice of a step, counted from the start of training; in any order."""
        slots = self.sequence.batch(step)
        keep = self.sequence.needed(step) | self._stay
        self._held = {g: a for g, a in self._held.items() if g in keep}
        share = self.batch_size // self.n_ranks
        mine = slice(self.rank * share, (self.rank + 1) * share)
        groups = self.index.groups
        ids = [groups[g].scan_ids[i] for g, i in slots[:, 1:].tolist()]
        return self._batch(step, slots, mine, ids)

    @abstractmethod
    def _batch(self, step: int, slots: np.ndarray, mine: slice, ids: list[str]) -> Batch:
        """The slice `mine` of a step's slots (batch_size, 3): epoch, group, position in it."""

    @abstractmethod
    def _bytes(self, group: Group) -> int:
        """Memory that a group takes."""

    @abstractmethod
    def _read(self, group: Group) -> Any:
        """Data of a row group."""

    def _group(self, number: int) -> Any:
        """Data of a row group, from memory where they are held."""
        if number not in self._held:
            self._held[number] = read_checked(self.index.groups[number], self._read)
        return self._held[number]


def read_checked(group: Group, read: Any) -> Any:
    """``read(group)``, whose failures name file and row group.

    Raises
    ------
    ShardError
        If it cannot be read.
    """
    try:
        return read(group)
    except (pa.ArrowException, OSError) as error:
        raise ShardError(f"{group.file}: row group {group.row_group}: {error}") from None


def read_series(group: Group) -> list[np.ndarray]:
    """Series (n_timepoints, n_rois) of the group's scans; those of others are not kept.

    Raises
    ------
    ShardError
        If a parcel is missing or infinite at some timepoints only; no loss would tell.
    """
    series = bold_by_scan(row_group(group, ["scan_id", "status", "bold"]))
    for scan_id in group.scan_ids:
        try:
            refuse_partial(series[scan_id], f"{group.file}: {scan_id}")
        except TableError as error:
            raise ShardError(str(error)) from None
    return [np.array(series[scan_id], np.float32) for scan_id in group.scan_ids]


def row_group(group: Group, columns: list[str]) -> pa.Table:
    """Columns of one row group."""
    path: Path = group.file
    with open(path, "rb") as stream:
        # one column at one place: neither a second buffer nor threads make that faster
        file = pq.ParquetFile(stream, pre_buffer=False)
        return file.read_row_group(group.row_group, columns=columns, use_threads=False)


def stretches(groups: np.ndarray) -> Iterator[tuple[int, slice]]:
    """Each run of equal group numbers, and where it lies."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    stops = [*starts[1:].tolist(), len(groups)]
    for a, b in zip(starts.tolist(), stops, strict=True):
        yield int(groups[a]), slice(a, b)
