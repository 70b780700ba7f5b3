"""Pseudo-FC of many scans at once, on any device, from the timepoints that each view keeps.

With only two views per scan, the Gram matrix that `pfc.kernel` shares among many hardly saves
operations: with n ROIs, T timepoints and a dropped fraction d it needs ``2 n² T (1 + 2 d)``
operations per pair, masking needs ``4 n² T``: 5.6 and 8 million for n = 100, T = 200, d = 0.2.
Either is 0.1 % of a step of the smallest published model. So the products are masked: there is no
gathering of rows, no dependence on the number of timepoints of a scan, and no difference of large
numbers, so no view needs recomputation. Centring is in double precision, products are in single
precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from brainmass_core.timeseries.joining import CONSTANT

Chunk = tuple[np.ndarray, np.ndarray, np.ndarray]
CHUNK = 64  # number of scans of similar length computed together on a GPU
CHUNK_CPU = 8  # this number fits in the caches


def by_length(series: list[np.ndarray], kept: np.ndarray, chunk: int = CHUNK) -> list[Chunk]:
    """Group scans of similar length, padded to the longest of each chunk.

    Parameters
    ----------
    series : list of ndarray (n_timepoints, n_rois)
    kept : ndarray (n_scans, n_views, T), bool
        Timepoints that each view keeps; T is at least the largest n_timepoints.
    chunk : int
        Largest number of scans in a chunk.

    Returns
    -------
    list of (series, kept, places)
        float32 (b, t, n_rois), padded with zeros; bool (b, n_views, t); int64 (b,), the index of
        the scan in `series`.
    """
    lengths = np.array([len(s) for s in series])
    order = np.argsort(lengths, kind="stable")
    chunks = []
    for start in range(0, len(order), chunk):
        places = order[start : start + chunk]
        longest = int(lengths[places[-1]])
        padded = np.zeros((len(places), longest, series[0].shape[1]), np.float32)
        for row, place in zip(padded, places.tolist(), strict=True):
            row[: lengths[place]] = series[place]
        chunks.append((padded, kept[places, :, :longest], places))
    return chunks


def pseudo_fc_of(chunks: list[Chunk], estimator: str, device: torch.device) -> Tensor:
    """Views of scans of several lengths.

    Parameters
    ----------
    chunks : list of (series, kept, places)
        Result of `by_length`.
    estimator : {"pearson", "ledoit_wolf"}
    device : device
        Where the views are computed and remain.

    Returns
    -------
    Tensor (n_scans, n_views, n_edges), float32
        In the original order of the scans; see `pseudo_fc_batch`.
    """
    views = [
        pseudo_fc_batch(_on(bold, device), _on(kept, device), estimator) for bold, kept, _ in chunks
    ]
    order = np.argsort(np.concatenate([places for _, _, places in chunks]))
    return torch.cat(views)[torch.from_numpy(order).to(device)]


def _on(array: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    if device.type == "cuda":  # from pinned memory, the copy overlaps with the kernels
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


@torch.no_grad()
def pseudo_fc_batch(bold: Tensor, kept: Tensor, estimator: str = "pearson") -> Tensor:
    """Pseudo-FC of a batch of scans of the same length, or padded to it.

    Parameters
    ----------
    bold : Tensor (B, T, n_rois)
        Parcel series; padding may have any finite value. A ROI with a non-finite value counts as
        empty.
    kept : Tensor (B, n_views, T), bool
        Timepoints that each view keeps, at least three.
    estimator : {"pearson", "ledoit_wolf"}

    Returns
    -------
    Tensor (B, n_views, n_edges), float32
        Upper triangles in row-major order, as `pfc.pseudo_fc` gives them. Edges of a constant or
        empty ROI are 0.
    """
    chunk = CHUNK if bold.device.type == "cuda" else CHUNK_CPU
    with _full_precision(bold.device):
        parts = [
            _views(x, m, estimator == "ledoit_wolf")
            for x, m in zip(bold.split(chunk), kept.split(chunk), strict=True)
        ]
    return torch.cat(parts)


def _views(bold: Tensor, kept: Tensor, shrink: bool) -> Tensor:
    b, n_views, t = kept.shape
    n = bold.shape[2]
    x = bold.double()
    empty = ~x.sum(1, keepdim=True).isfinite()  # (b, 1, n); no sum of finite floats overflows
    x = x.masked_fill(empty, 0.0)
    mask = kept.double()
    n_kept = mask.sum(2, keepdim=True)  # (b, n_views, 1)
    mean = mask @ x / n_kept  # (b, n_views, n)
    centred = (x[:, None] - mean[:, :, None]) * mask[..., None]  # (b, n_views, t, n)
    norm = torch.linalg.vector_norm(centred, dim=2)
    signal = norm / n_kept.sqrt() > CONSTANT * mean.abs()
    scale = torch.where(signal, 1 / norm, 0.0)
    unit = (centred * scale[:, :, None]).float().view(b * n_views, t, n)
    r = (unit.mT @ unit).view(b, n_views, n * n)
    edges = r[..., _triangle(n, bold.device)].clamp(-1.0, 1.0)
    if not shrink:
        return edges
    fourth = unit.view(b, n_views, t, n).square().sum(3).square().sum(2).double()
    return edges * _unshrunk(edges, fourth, signal, n_kept[..., 0])[..., None]


def _unshrunk(edges: Tensor, fourth: Tensor, signal: Tensor, n_kept: Tensor) -> Tensor:
    """Factor of the correlations after Ledoit-Wolf shrinkage, (b, n_views); see
    `connectivity.ledoit_wolf`.

    Parameters
    ----------
    fourth : Tensor (b, n_views), float64
        Sum over timepoints of the fourth powers of their norms, for ROIs of unit norm.
    """
    n = signal.shape[-1]
    n_signals = signal.sum(-1).double()
    norm = n_signals + 2 * edges.double().square().sum(-1)
    level = n_signals / n
    delta = norm / n - level.square()
    beta = (fourth * n_kept - norm) / (n_kept * n)
    shrinkage = beta.clamp_min(0).minimum(delta) / delta
    left = (1 - shrinkage) / (1 - shrinkage + shrinkage * level)
    return torch.where(delta > 0, left, 1.0).float()


def _triangle(n: int, device: torch.device) -> Tensor:
    """Indices of the upper triangle in a flattened (n, n) matrix."""
    rows, columns = torch.triu_indices(n, n, 1, device=device)
    return rows * n + columns


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Disable autocast and TF32, whose products have only three correct digits."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
