"""Training data of BrainMass: stored pFC, or views computed from time series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brainmass_core.config import Config
from brainmass_core.pfc import Dropping
from brainmass_core.pfc.draw import kept_masks, seeds_of
from brainmass_core.pfc.torch import Chunk, by_length, pseudo_fc_of
from brainmass_core.pipeline.hashing import stable_hash
from brainmass_core.pretrain.data.index import (
    Group,
    Index,
    ShardError,
    Source,
    index_shards,
    scans_seen,
)
from brainmass_core.pretrain.data.order import draw, epoch_order, generator, global_batch_size
from brainmass_core.pretrain.data.stream import Batches, read_series, row_group
from brainmass_core.pretrain.data.usable_series import dropping_of
from brainmass_core.tables import n_edges

__all__ = [
    "Batch",
    "Fresh",
    "FreshBatch",
    "Group",
    "Index",
    "ShardError",
    "Source",
    "Stream",
    "epoch_order",
    "fresh_of",
    "global_batch_size",
    "index_shards",
    "scans_seen",
]
F4, F2 = 4, 2  # bytes per value of a series and of pFC


@dataclass(frozen=True)
class Batch:
    """One rank's slice of a global batch of stored views.

    Attributes
    ----------
    view_1, view_2 : ndarray (n, n_edges), float16
    masked_for_class, masked_for_values : ndarray (n, n_masked), int64
    scan_ids : list of str
        Scans of the complete global batch, for messages.
    """

    view_1: np.ndarray
    view_2: np.ndarray
    masked_for_class: np.ndarray
    masked_for_values: np.ndarray
    scan_ids: list[str]

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Arguments of the model's forward, on a device: two views (n, n_edges), and indices of
        masked ROIs (n, n_masked) for either task.
        """
        arrays = (self.view_1, self.view_2, self.masked_for_class, self.masked_for_values)
        one, two, for_class, for_values = (torch.from_numpy(a).to(device) for a in arrays)
        return one, two, for_class, for_values


@dataclass(frozen=True)
class FreshBatch:
    """One rank's slice of a global batch of series, whose views are computed on the device.

    Attributes
    ----------
    chunks : list of tuple of ndarray
        From `pfc.torch.by_length`: series, kept timepoints, indices in the slice.
    masked_for_class, masked_for_values, scan_ids
        As in `Batch`.
    """

    chunks: list[Chunk]
    estimator: str
    masked_for_class: np.ndarray
    masked_for_values: np.ndarray
    scan_ids: list[str]

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Arguments of the model's forward, see `Batch.tensors`; the views are computed on the
        device.
        """
        views = pseudo_fc_of(self.chunks, self.estimator, device)  # (n, 2, n_edges)
        masks = (torch.from_numpy(m) for m in (self.masked_for_class, self.masked_for_values))
        for_class, for_values = (m.to(device) for m in masks)
        return views[:, 0].contiguous(), views[:, 1].contiguous(), for_class, for_values


@dataclass(frozen=True)
class Fresh:
    """How views are drawn at each step."""

    dropping: Dropping
    estimator: str


def fresh_of(config: Config) -> Fresh | None:
    """How views are drawn, or None if stored ones are read."""
    if config.pretrain.source == "pfc":
        return None
    return Fresh(dropping_of(config), config.pfc.estimator)


class Stream(Batches):
    """Batches of views.

    Parameters
    ----------
    n_masked : tuple of int
        Numbers of ROIs masked for classification and for reconstruction.
    fresh : Fresh, optional
        How views are drawn, if the index contains time series.
    memory : int
        See `Batches`.
    """

    def __init__(
        self,
        index: Index,
        seed: int,
        batch_size: int,
        n_masked: tuple[int, int],
        rank: int = 0,
        n_ranks: int = 1,
        fresh: Fresh | None = None,
        memory: int = 0,
    ) -> None:
        if max(n_masked) > index.n_rois:
            raise ShardError(f"found {n_masked} ROIs to mask, but there are only {index.n_rois}")
        self.n_masked, self.fresh = n_masked, fresh
        super().__init__(index, seed, batch_size, rank, n_ranks, memory)
        self._hashes = (
            [seeds_of(map(stable_hash, g.scan_ids)) for g in index.groups] if fresh else []
        )

    def _batch(
        self, step: int, slots: np.ndarray, mine: slice, ids: list[str]
    ) -> Batch | FreshBatch:
        n, rng = self.batch_size, generator(self.seed, step)
        views = None if self.fresh else draw(rng, n, self.index.n_views, 2)[mine]
        for_class, for_values = (draw(rng, n, self.index.n_rois, m)[mine] for m in self.n_masked)
        if views is None:
            chunks, estimator = self._fresh(slots[mine])
            return FreshBatch(chunks, estimator, for_class, for_values, ids)
        return Batch(*self._stored(slots[mine], views), for_class, for_values, ids)

    def _stored(self, slots: np.ndarray, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Two stored views of each scan, (n, n_edges) each."""
        shape = (len(slots), n_edges(self.index.n_rois))
        pair = (np.empty(shape, "<f2"), np.empty(shape, "<f2"))
        for row, ((_, group, place), (one, two)) in enumerate(
            zip(slots.tolist(), views.tolist(), strict=True)
        ):
            stored = self._scan(group, place)
            pair[0][row], pair[1][row] = stored[one], stored[two]
        return pair

    def _fresh(self, slots: np.ndarray) -> tuple[list[Chunk], str]:
        """Series of each scan, and the timepoints kept in each of two views."""
        assert self.fresh is not None
        places = slots[:, 1:].tolist()
        series = [self._scan(group, place) for group, place in places]
        hashes = np.array([self._hashes[group][place] for group, place in places], np.uint64)
        lengths = np.array([len(s) for s in series])
        seeds = seeds_of([self.seed], slots[:, 0], hashes)
        kept = kept_masks(self.fresh.dropping, lengths, seeds, 2)
        return by_length(series, kept), self.fresh.estimator

    def _bytes(self, group: Group) -> int:
        """Memory of a group, in bytes."""
        if self.fresh:
            return sum(group.lengths) * self.index.n_rois * F4
        return len(group.scan_ids) * self.index.n_views * n_edges(self.index.n_rois) * F2

    def _read(self, group: Group) -> Any:
        """pFC (n_scans, n_views, n_edges), or a list of series."""
        return read_series(group) if self.fresh else self._read_pfc(group)

    def _read_pfc(self, group: Group) -> np.ndarray:
        edges = n_edges(self.index.n_rois)
        column = row_group(group, ["fc"])["fc"].combine_chunks()
        data = np.frombuffer(column.buffers()[1], dtype="<f2")
        data = data[column.offset * edges : (column.offset + len(column)) * edges]
        return data.reshape(-1, self.index.n_views, edges)
