"""Transformer layers of the two BrainLMs; neither keeps a matrix of tokens by tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainmass_core.models.tokens import take

TAPS = 65  # filter length of the convolution along the tokens
EPS = 1e-12  # epsilon of the layer norms, as in the released code


class Attention(nn.Module):
    """Softmax attention; with `convolution`, a depthwise convolution of the values is added.

    ``W_o [softmax(q kᵀ / √d_head) v + conv(v)]``. There is one filter per head, along the tokens in
    their given order.
    """

    def __init__(self, width: int, heads: int, convolution: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.taps = nn.Parameter(torch.empty(heads, TAPS)) if convolution else None

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Attention output of all tokens, or of some of them.

        Parameters
        ----------
        x : Tensor (B, n, d)
        rows : Tensor (B, m) of int64, optional
            Tokens whose output is needed; all tokens are attended to. Default: all.

        Returns
        -------
        Tensor (B, n, d), or (B, m, d) with `rows`
        """
        q, k, v = self._projected(x, rows)
        context = functional.scaled_dot_product_attention(q, k, v)
        context = context.transpose(1, 2).flatten(2)  # (B, m, d)
        if self.taps is not None:
            mixed = convolve(v, self.taps).transpose(1, 2).flatten(2)
            context = context + (mixed if rows is None else take(mixed, rows))
        return self.out(context)

    def weights(self, x: Tensor, rows: Tensor) -> Tensor:
        """Attention weights of some tokens over all tokens.

        Parameters
        ----------
        x : Tensor (B, n, d)
        rows : Tensor (B, m) of int64
            The queries.

        Returns
        -------
        Tensor (B, heads, m, n)
            Sums over the last dimension are 1. The convolution is not included.
        """
        q, k, _ = self._projected(x, rows)
        return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(dim=-1)

    def _projected(self, x: Tensor, rows: Tensor | None) -> list[Tensor]:
        """Queries (B, heads, m, d_head), keys and values (B, heads, n, d_head)."""
        if rows is None:
            parts = self.qkv(x).chunk(3, dim=-1)
        else:
            d, (weight, bias) = x.shape[-1], (self.qkv.weight, self.qkv.bias)
            q = functional.linear(take(x, rows), weight[:d], bias[:d])
            parts = (q, *functional.linear(x, weight[d:], bias[d:]).chunk(2, dim=-1))
        return [t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in parts]


def convolve(v: Tensor, taps: Tensor) -> Tensor:
    """Cross-correlate values with one filter per head along the tokens; zeros outside.

    Computed as products with a banded Toeplitz matrix, in blocks of K - 1 tokens, each of which
    needs values of two blocks: torch's grouped convolution is many times slower, forward and
    backward.

    Parameters
    ----------
    v : Tensor (B, heads, n, d)
    taps : Tensor (heads, K)
        K odd; the middle one belongs to the token itself.

    Returns
    -------
    Tensor (B, heads, n, d)
    """
    heads, k = taps.shape
    n, block = v.shape[2], k - 1
    blocks = -(-n // block)
    filled = functional.pad(v, (0, 0, block // 2, (blocks + 1) * block - n - block // 2))
    filled = filled.unflatten(2, (blocks + 1, block))  # (B, heads, blocks + 1, block, d)
    # row i of the matrix is the filter shifted by i: build rows one element longer and cut them
    span = 2 * block
    rows = functional.pad(taps.to(v.dtype), (0, span + 1 - k))[:, None].expand(-1, block, -1)
    matrix = rows.reshape(heads, -1)[:, : block * span].view(heads, block, span)
    first, second = matrix.split(block, dim=2)  # (heads, block, block)
    mixed = torch.einsum("hts,bhgsd->bhgtd", first, filled[:, :, :-1])
    mixed = mixed + torch.einsum("hts,bhgsd->bhgtd", second, filled[:, :, 1:])
    return mixed.flatten(2, 3)[:, :, :n]


class _Layer(nn.Module):
    def __init__(
        self, width: int, heads: int, feedforward: int, dropout: float, convolution: bool
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, convolution)
        self.norm_1 = nn.LayerNorm(width, eps=EPS)
        self.linear_1 = nn.Linear(width, feedforward)
        self.linear_2 = nn.Linear(feedforward, width)
        self.norm_2 = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.linear_2(functional.gelu(self.linear_1(x))))


class PostNormLayer(_Layer):
    """``h = LN(h + attention(h)); h = LN(h + W2 GELU(W1 h))``, attention with convolution."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float = 0.0) -> None:
        super().__init__(width, heads, feedforward, dropout, convolution=True)

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Transform tokens.

        Parameters
        ----------
        x : Tensor (B, n, d)
        rows : Tensor (B, m) of int64, optional
            Tokens that are returned; the others only serve as context. Default: all.

        Returns
        -------
        Tensor (B, n, d), or (B, m, d) with `rows`
        """
        mine = x if rows is None else take(x, rows)
        y = self.norm_1(mine + self.dropout(self.attention(x, rows)))
        return self.norm_2(y + self._feed_forward(y))


class PreNormLayer(_Layer):
    """``h = h + attention(LN(h)); h = h + W2 GELU(W1 LN(h))``, as in a vision transformer."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float = 0.0) -> None:
        super().__init__(width, heads, feedforward, dropout, convolution=False)

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Transform tokens.

        Parameters
        ----------
        x : Tensor (B, n, d)
        rows : Tensor (B, m) of int64, optional
            Tokens that are returned; the others only serve as context. Default: all.

        Returns
        -------
        Tensor (B, n, d), or (B, m, d) with `rows`
        """
        mine = x if rows is None else take(x, rows)
        y = mine + self.dropout(self.attention(self.norm_1(x), rows))
        return y + self._feed_forward(self.norm_2(y))


@torch.no_grad()
def initialise(module: nn.Module, kind: str) -> None:
    """Draw weights: ``normal`` (0, 0.02) or ``xavier`` uniform; zero biases, unit norms.

    The convolution filters are also normal, or uniform within ``1 / √TAPS``, which is torch's
    default.
    """
    joint = {id(part.qkv) for part in module.modules() if isinstance(part, Attention)}
    for part in module.modules():
        if isinstance(part, nn.Linear):
            # the matrix holds three: queries, keys and values
            for weight in part.weight.chunk(3) if id(part) in joint else (part.weight,):
                draw(weight, kind)
            nn.init.zeros_(part.bias)
        elif isinstance(part, Attention) and part.taps is not None:
            if kind == "normal":
                draw(part.taps, kind)
            else:
                nn.init.uniform_(part.taps, -(TAPS**-0.5), TAPS**-0.5)


def draw(weight: Tensor, kind: str) -> None:
    """Fill one matrix: ``normal`` (0, 0.02) or ``xavier`` uniform.

    Parameters
    ----------
    weight : Tensor (n_rows, n_columns)
        Overwritten.
    """
    if kind == "normal":
        nn.init.normal_(weight, std=0.02)
    else:
        nn.init.xavier_uniform_(weight)
