"""Base of all streams of batches: scans of a step, and data that are kept in memory.

The content of a batch follows from (seed, step), so a run can resume at any step without saved
reader state, and the global batch does not depend on the number of processes.
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
        """Scans of the complete global batch, for messages."""

    def tensors(self, device: torch.device) -> tuple[Any, ...]:
        """Arguments of the model's forward, on a device."""


class Batches(ABC):
    """Batches of an index; keeps two shuffle buffers in memory, and more up to a limit.

    Parameters
    ----------
    memory : int
        Bytes of data that may be kept between epochs, in addition to the shuffle buffers.
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
        self._held: dict[int, dict[int, Any]] = {}  # by group and position in the group
        self._wanted: dict[int, set[int]] = {}
        if rank == 0 and len(self._stay) < len(index.groups) and len(index.groups) > len(blocks):
            self._say_what_memory_would_do(int(held[-1]), memory)

    def n_steps(self, epochs: int) -> int:
        """Number of steps in a number of epochs."""
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
        """Data of the slice `mine` of a step's elements (batch_size, 3): epoch, group, position."""

    @abstractmethod
    def _bytes(self, group: Group) -> int:
        """Memory of a group, in bytes."""

    @abstractmethod
    def _read(self, group: Group) -> Any:
        """Data of a row group, by position."""

    def _placed(self, slots: np.ndarray) -> np.ndarray:
        """Convert elements (n, 3) from blocks to row groups: epoch, row group, position in it."""
        return np.column_stack([slots[:, 0], self._places[self._starts[slots[:, 1]] + slots[:, 2]]])

    def _forget(self, soon: np.ndarray) -> None:
        """Keep data that are needed soon, and others within the limit."""
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
        """Data of a scan, from memory if available."""
        held = self._held.get(group, {})
        if position not in held:
            data = read_checked(self.index.groups[group], self._read)
            if group in self._stay or len(self._wanted[group]) == len(data):
                held = dict(enumerate(data))
            else:  # copies, because a view of one scan would keep its complete row group in memory
                held = {p: np.array(data[p]) for p in self._wanted[group]}
            self._held[group] = held
        return held[position]

    def _say_what_memory_would_do(self, total: int, memory: int) -> None:
        log.warning(
            "the data of pre-training take %d MB, of which %d MB may be kept in memory; because "
            "scans are read in random order, the rest is read many times per epoch. Raise "
            "resources.pretrain.mem_mb to %d or more",
            *(total // 10**6, memory // 10**6, 4 * total * self.n_ranks // 10**6 + 1),
        )


def read_checked(group: Group, read: Any) -> Any:
    """Call ``read(group)``; errors name file and row group.

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
    """Series (n_timepoints, n_rois) of the group's scans.

    Raises
    ------
    ShardError
        If a parcel is missing or infinite at some timepoints only; the loss would not show this.
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
        # a single column: neither buffering nor threads make reading faster
        file = pq.ParquetFile(stream, pre_buffer=False)
        return file.read_row_group(group.row_group, columns=columns, use_threads=False)
