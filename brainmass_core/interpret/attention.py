"""Attention maps of the encoder, computed from its parameters.

The layers may use a fused kernel that never forms the attention matrix, so the forward pass is
computed here from the tensors of the state dictionary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from brainmass_core.connectivity import n_rois_of
from brainmass_core.encoders.interface import Transformer

LAYERS = ("mean", "first", "last")
MAX_WEIGHTS = 2**25  # attention weights of one layer in memory at once, 128 MB
EPSILON = 1e-5  # epsilon of the layer norms, torch's default


@dataclass(frozen=True)
class AttentionMaps:
    """Head-averaged attention over a set of scans.

    Attributes
    ----------
    maps : dict of (layers, group) to ndarray (n_rois, n_rois)
        Row i is the attention of region i to all regions, with sum 1.
    received : ndarray (n_scans, n_rois)
        Mean over layers and rows, times n_rois: 1 for uniform attention.
    n_scans, n_participants : dict of group to int
    """

    maps: dict[tuple[str, str], np.ndarray]
    received: np.ndarray
    n_scans: dict[str, int]
    n_participants: dict[str, int]


def layer_attention(weights: Mapping[str, Tensor], heads: int, x: Tensor) -> Iterator[Tensor]:
    """Attention of every layer of a post-norm transformer in evaluation mode.

    With ``softmax(q k' / sqrt(d))`` per head (Vaswani et al. 2017) and
    ``y = norm1(x + attention(x)); x = norm2(y + linear2(relu(linear1(y))))``.

    Parameters
    ----------
    weights : mapping
        Parameters named ``layers.<i>.self_attn.in_proj_weight`` and so on, as
        `torch.nn.TransformerEncoderLayer` names them.
    x : Tensor (B, n, d)
        Tokens.

    Yields
    ------
    Tensor (B, n, n)
        Averaged over heads; rows sum to 1.
    """
    depth = len({name.split(".")[1] for name in weights if name.startswith("layers.")})
    for i in range(depth):
        p = {k.removeprefix(f"layers.{i}."): v for k, v in weights.items() if f"layers.{i}." in k}
        attention, mixed = _attend(p, heads, x)
        yield attention
        x = functional.layer_norm(
            x + mixed, x.shape[-1:], p["norm1.weight"], p["norm1.bias"], EPSILON
        )
        hidden = functional.linear(x, p["linear1.weight"], p["linear1.bias"]).relu()
        x = x + functional.linear(hidden, p["linear2.weight"], p["linear2.bias"])
        x = functional.layer_norm(x, x.shape[-1:], p["norm2.weight"], p["norm2.bias"], EPSILON)


def _attend(p: Mapping[str, Tensor], heads: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """Head-averaged attention (B, n, n) and the layer's attention output (B, n, d)."""
    batch, n, width = x.shape
    projected = functional.linear(x, p["self_attn.in_proj_weight"], p["self_attn.in_proj_bias"])
    # (3, B, heads, n, d / heads)
    q, k, v = projected.view(batch, n, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    attention = (q @ k.transpose(-1, -2) / math.sqrt(width // heads)).softmax(-1)
    mixed = (attention @ v).transpose(1, 2).reshape(batch, n, width)
    out = functional.linear(mixed, p["self_attn.out_proj.weight"], p["self_attn.out_proj.bias"])
    return attention.mean(1), out


def attention_maps(
    encoder: Transformer, fc: np.ndarray, group: np.ndarray, participant: np.ndarray
) -> AttentionMaps:
    """Mean attention of each group of scans; one batch in memory at a time.

    Parameters
    ----------
    encoder : Transformer
        In evaluation mode, on the device to compute on.
    fc : ndarray (n_scans, n_edges)
    group : ndarray (n_scans,)
        Name of the class of each scan.
    participant : ndarray (n_scans,)
        Each participant has the same weight in the maps, whatever the number of scans.
    """
    n, weights = n_rois_of(fc.shape[1]), encoder.weights
    device = next(iter(weights.values())).device
    groups = list(dict.fromkeys(group.tolist()))
    shares = np.stack([_shares(group == g, participant) for g in groups])  # (n_groups, n_scans)
    sums = {layers: torch.zeros(len(groups), n, n, device=device) for layers in LAYERS}
    received = np.empty((len(fc), n), np.float32)
    step = max(1, MAX_WEIGHTS // (encoder.heads * n * n))
    with torch.inference_mode():
        for i in range(0, len(fc), step):
            batch = torch.from_numpy(np.ascontiguousarray(fc[i : i + step])).to(device)
            found = _layer_summaries(weights, encoder.heads, encoder.tokens(batch))
            share = torch.from_numpy(shares[:, i : i + step]).to(device, torch.float32)
            for layers in LAYERS:
                sums[layers] += torch.einsum("gb,bij->gij", share, found[layers])
            received[i : i + step] = n * found["mean"].mean(1).cpu().numpy()
    means = {layers: total.cpu().numpy() for layers, total in sums.items()}
    maps = {(layers, g): means[layers][k] for layers in LAYERS for k, g in enumerate(groups)}
    people = {g: len(set(participant[group == g].tolist())) for g in groups}
    return AttentionMaps(maps, received, {g: int((group == g).sum()) for g in groups}, people)


def _layer_summaries(weights: Mapping[str, Tensor], heads: int, x: Tensor) -> dict[str, Tensor]:
    """Attention (B, n, n) of the first and last layer and the mean, without storing all layers."""
    layers = layer_attention(weights, heads, x)
    first = last = next(layers)
    total, depth = first.clone(), 1
    for last in layers:
        total, depth = total.add_(last), depth + 1
    return {"mean": total / depth, "first": first, "last": last}


def _shares(mine: np.ndarray, participant: np.ndarray) -> np.ndarray:
    """Weight of each scan in the group's mean: equal over participants, with sum 1."""
    shares = np.zeros(len(mine))
    _, place, counts = np.unique(participant[mine], return_inverse=True, return_counts=True)
    shares[mine] = 1 / (counts[place] * len(counts))
    return shares
