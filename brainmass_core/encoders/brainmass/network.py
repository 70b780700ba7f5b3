"""The network that embeds FC: its sizes, its transformer layers, readout and projector.

`model.BrainMass` has it twice, as the online and the target network, with all else that the
pre-training needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainmass_core.models import fused
from brainmass_core.readers.limits import quoted

READOUT = 8  # features per ROI; the embedding is their concatenation
FISHER_LIMIT = 0.999999  # |FC| is clipped to it before the Fisher z transform


@dataclass(frozen=True)
class Size:
    """Shape of a model.

    Attributes
    ----------
    feature_dim : int
        Width of the space in which the views are aligned.
    """

    depth: int
    heads: int
    feedforward: int
    feature_dim: int = 1024


SIZES = {
    "tiny": Size(2, 5, 256, feature_dim=128),  # for tests and the demo; not in the paper
    "small": Size(8, 5, 1024),
    "base": Size(16, 10, 2048),
    "large": Size(32, 20, 4096),
    # of the authors' code of 2026, whose 10 heads do not divide its 156 ROIs
    "release-2": Size(8, 12, 1024, feature_dim=512),
}
FITTED = ("tiny", "release-2")  # sizes that take fewer heads where theirs do not divide the ROIs


def heads_for(size: str, n_rois: int, heads: int | None = None) -> int:
    """Number of attention heads of a size at this number of ROIs.

    Parameters
    ----------
    heads : int, optional
        The user's choice. Default: that of the size; sizes in `FITTED` take the largest number up
        to their own that divides `n_rois`.

    Raises
    ------
    ValueError
        If there is no such size, or the heads do not divide `n_rois`; names those that do.
    """
    if not isinstance(size, str) or size not in SIZES:
        raise ValueError(f"found size {quoted(size)}, expected one of {', '.join(SIZES)}")
    if heads is not None and heads < 1:
        raise ValueError(f"found {heads} attention heads, expected 1 or more")
    wanted = heads or SIZES[size].heads
    divisors = [h for h in range(1, n_rois + 1) if n_rois % h == 0]
    if wanted in divisors:
        return wanted
    if size in FITTED and heads is None:
        return max(h for h in divisors if h < wanted)
    nearest = [max(h for h in divisors if h < wanted), *[h for h in divisors if h > wanted][:1]]
    choices = " or ".join(map(str, nearest))
    raise ValueError(
        f"model size {quoted(size)}: {wanted} attention heads do not divide {n_rois} ROIs; "
        f"set pretrain.heads to {choices}"
    )


class Layer(nn.TransformerEncoderLayer):
    """Post-norm transformer layer with torch's parameters and mathematics.

    On the CPU in float32, or bfloat16 by autocast, through the functions of `fused`; elsewhere
    through torch's.
    """

    self_attn: nn.MultiheadAttention

    def __init__(self, n_rois: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__(n_rois, heads, feedforward, dropout, batch_first=True)

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Transform tokens in the context of all tokens of their sample.

        Parameters
        ----------
        x : Tensor (B, n_tokens, d)
        rows : Tensor (B, m) of int64, optional
            Tokens that are returned; the others only serve as context. Default: all.

        Returns
        -------
        Tensor (B, n_tokens, d), or (B, m, d) with `rows`
        """
        mine = x if rows is None else rows_at(x, rows)  # (B, m, d)
        p = self.dropout.p if self.training else 0.0
        y = self._add_norm(mine, self._attend(x, mine, p), self.norm1, p)
        return self._add_norm(y, self._feed_forward(y, p), self.norm2, p)

    def _attend(self, x: Tensor, mine: Tensor, p: float) -> Tensor:
        """What the tokens `mine` (B, m, d) take from all tokens x (B, n, d)."""
        attn = self.self_attn
        weight, bias = attn.in_proj_weight, attn.in_proj_bias  # (3 d, d), (3 d,)
        if mine is x:
            q, k, v = functional.linear(x, weight, bias).chunk(3, dim=-1)
        else:
            d = x.shape[-1]
            q = functional.linear(mine, weight[:d], bias[:d])
            k, v = functional.linear(x, weight[d:], bias[d:]).chunk(2, dim=-1)
        if fused.usable(x):
            mixed = fused.attention(q.float(), k.float(), v.float(), attn.num_heads, p)
        else:
            # (B, heads, n, d / heads)
            q, k, v = (t.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
            mixed = functional.scaled_dot_product_attention(q, k, v, dropout_p=p)
            mixed = mixed.transpose(1, 2).flatten(2)
        return attn.out_proj(mixed)

    def _feed_forward(self, y: Tensor, p: float) -> Tensor:
        first, second = self.linear1, self.linear2
        if fused.usable(y):
            lower = torch.is_autocast_enabled("cpu")
            dtype = torch.get_autocast_dtype("cpu") if lower else y.dtype
            mixed = fused.feed_forward(y, first.weight, first.bias, second.weight, p, dtype)
            return mixed + second.bias
        return second(functional.dropout(functional.relu(first(y)), p))

    def _add_norm(self, x: Tensor, branch: Tensor, norm: nn.LayerNorm, p: float) -> Tensor:
        if fused.usable(x):
            return fused.drop_add_norm(x, branch.float(), norm.weight, norm.bias, norm.eps, p)
        return norm(x + functional.dropout(branch, p))


class Encoder(nn.Module):
    """Transformer over ROI tokens, readout and projector: the online and the target network.

    Post-norm layers as `torch.nn.TransformerEncoderLayer` makes them; no embedding of the input,
    no positions and no further norm on this path.
    """

    def __init__(
        self, n_rois: int, heads: int, size: Size, dropout: float, fisher_z: bool = False
    ) -> None:
        super().__init__()
        self.fisher_z = fisher_z
        width, hidden = READOUT * n_rois, 2 * READOUT * n_rois
        self.layers = nn.ModuleList(
            Layer(n_rois, heads, size.feedforward, dropout) for _ in range(size.depth)
        )
        self.readout = nn.Sequential(nn.Linear(n_rois, READOUT), nn.LeakyReLU())
        self.projector = mlp(width, hidden, size.feature_dim)

    def tokens(self, x: Tensor) -> Tensor:
        """Apply all layers.

        Parameters
        ----------
        x : Tensor (B, n_tokens, n_rois)
            A token is a row of FC, or one of the special tokens.

        Returns
        -------
        Tensor (B, n_tokens, n_rois)
        """
        for layer in self.layers:
            x = layer(x)
        return x

    def tokens_at(self, x: Tensor, rows: Sequence[Tensor]) -> list[Tensor]:
        """As `tokens`, but only selected tokens, which differ between parts of the batch.

        The last layer is computed for these alone, because no later layer needs the others.

        Parameters
        ----------
        x : Tensor (k B, n_tokens, n_rois)
            k parts of B samples each.
        rows : sequence of k Tensor (B, m) of int64
            Selected tokens of each part.

        Returns
        -------
        list of k Tensor (B, m, n_rois)
        """
        *layers, last = self.layers
        for layer in layers:
            x = layer(x)
        return [last(t, picked) for t, picked in zip(x.chunk(len(rows)), rows, strict=True)]

    def prepare(self, fc: Tensor) -> Tensor:
        """The input of the first layer.

        With `fisher_z` the inverse hyperbolic tangent of FC clipped to ±0.999999, the diagonal
        included, as the authors' code of 2026 does; otherwise FC itself.

        Parameters
        ----------
        fc : Tensor (B, n_rois, n_rois)

        Returns
        -------
        Tensor (B, n_rois, n_rois)
        """
        return torch.atanh(fc.clamp(-FISHER_LIMIT, FISHER_LIMIT)) if self.fisher_z else fc

    def embed(self, x: Tensor) -> Tensor:
        """The embedding of FC: eight values per ROI.

        Parameters
        ----------
        x : Tensor (B, n_rois, n_rois)
            From `prepare`.

        Returns
        -------
        Tensor (B, 8 * n_rois)
            ROI by ROI.
        """
        return self.readout(self.tokens(x)).flatten(1)


def mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    """Two linear layers with batch normalisation and ReLU in between: (B, width) to (B, out)."""
    return nn.Sequential(
        nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out)
    )


def rows_at(x: Tensor, index: Tensor) -> Tensor:
    """Select rows of each sample.

    Parameters
    ----------
    x : Tensor (B, n, d)
    index : Tensor (B, m)
        int64.

    Returns
    -------
    Tensor (B, m, d)
    """
    return x[torch.arange(len(x), device=x.device)[:, None], index]
