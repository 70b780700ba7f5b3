"""What all streams of batches share: which scans a step holds, and which data stay in memory.

What a batch holds follows from (seed, step) alone, so a run resumes anywhere without saved reader
state, and the same global batch is made by one process or by a hundred.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from brainmass_core.pretrain.data.index import Group, Index, ShardError
from brainmass_core.pretrain.data.order import Sequence
from brainmass_core.tables import TableError
from brainmass_core.timeseries.table import bold_by_scan, refuse_partial

log = logging.getLogger(__name__)


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
        blocks = index.blocks or tuple(
            np.stack([np.full(len(g.scan_ids), n), np.arange(len(g.scan_ids))], 1)
            for n, g in enumerate(index.groups)
        )
        sizes = np.array([len(b) for b in blocks])
        self._places, self._starts = np.concatenate(blocks), np.cumsum(sizes) - sizes
        self.sequence = Sequence(sizes, seed, batch_size)
        held = np.cumsum([self._bytes(g) for g in index.groups])
        self._stay = set(np.flatnonzero(held <= memory).tolist())
        self._held: dict[int, dict[int, Any]] = {}  # by group and position in it
        self._wanted: dict[int, set[int]] = {}
        if rank == 0 and len(self._stay) < len(index.groups) and len(index.groups) > len(blocks):
            self._say_what_memory_would_do(int(held[-1]), memory)

    def n_steps(self, epochs: int) -> int:
        """Steps of a training of so many epochs."""
        return self.sequence.n_steps(epochs)

    def epoch_of(self, step: int) -> int:
        """Epoch to which a step belongs: that of its first scan."""
        return self.sequence.epoch_of(step)

    def batch(self, step: int) -> Batch:
        """This rank's slice of a step, counted from the start of training; in any order."""
        slots = self._placed(self.sequence.batch(step))
        if len(self._stay) < len(self.index.groups):
            self._forget(np.concatenate([slots, self._placed(self.sequence.upcoming(step))]))
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
        """Data of a row group, by position."""

    def _placed(self, slots: np.ndarray) -> np.ndarray:
        """Epoch, row group and position in it of places (n, 3) in the blocks."""
        return np.column_stack([slots[:, 0], self._places[self._starts[slots[:, 1]] + slots[:, 2]]])

    def _forget(self, soon: np.ndarray) -> None:
        """Keep what is needed soon, and what may stay."""
        keys = np.unique(soon[:, 1] << 32 | soon[:, 2])
        groups, starts = np.unique(keys >> 32, return_index=True)
        parts = np.split(keys & (2**32 - 1), starts[1:])
        self._wanted = {g: set(p.tolist()) for g, p in zip(groups.tolist(), parts, strict=True)}
        for group in [g for g in self._held if g not in self._stay]:
            scans, wanted = self._held[group], self._wanted.get(group, set())
            if wanted.isdisjoint(scans):
                del self._held[group]
            elif len(scans) > len(wanted):
                self._held[group] = {p: x for p, x in scans.items() if p in wanted}

    def _scan(self, group: int, position: int) -> Any:
        """Data of a scan, from memory where they are held."""
        held = self._held.get(group, {})
        if position not in held:
            data = read_checked(self.index.groups[group], self._read)
            if group in self._stay or len(self._wanted[group]) == len(data):
                held = dict(enumerate(data))
            else:  # copies: a view of one scan would hold the memory of its whole row group
                held = {p: np.array(data[p]) for p in self._wanted[group]}
            self._held[group] = held
        return held[position]

    def _say_what_memory_would_do(self, total: int, memory: int) -> None:
        log.warning(
            "the data of pre-training take %d MB, of which %d MB may stay in memory; as scans are "
            "taken in an order that no table has, the rest is read many times in an epoch. Raise "
            "resources.pretrain.mem_mb to %d or more",
            *(total // 10**6, memory // 10**6, 4 * total * self.n_ranks // 10**6 + 1),
        )


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
