"""Tokens of a time series: masks, position embeddings, losses and scores of hidden values.

A set of visible tokens is an index (B, n_visible) into a sample's tokens, in the order in which
they enter the encoder; all others are hidden.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def n_masked(n_tokens: int, ratio: float, reference: bool = False) -> int:
    """Number of hidden tokens, out of `n_tokens`, for a mask ratio.

    Parameters
    ----------
    ratio : float
        In [0, 1).
    reference : bool
        Truncate the number of visible tokens, ``n_tokens (1 - ratio)``, as in the released code:
        423 of 4240 are visible at 0.9. Otherwise the number of hidden tokens is rounded, and 424
        are visible.

    Raises
    ------
    ValueError
        If the ratio is not in [0, 1), or hides all tokens.
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"found a mask ratio of {ratio}, expected one in [0, 1)")
    hidden = n_tokens - int(n_tokens * (1 - ratio)) if reference else round(n_tokens * ratio)
    if hidden == n_tokens:
        raise ValueError(
            f"a mask ratio of {ratio} hides all {n_tokens} tokens; use a smaller one, or more data"
        )
    return hidden


def random_visible(noise: Tensor, ratio: float, reference: bool = False) -> Tensor:
    """Visible tokens (B, n_visible), int64: those with the smallest noise (B, n_tokens).

    In ascending order; with `reference`, in the order of their noise, as in the released code.

    Parameters
    ----------
    noise : Tensor (B, n_tokens)
    ratio : float
        Fraction of hidden tokens.

    Returns
    -------
    Tensor (B, n_visible) of int64
    """
    n = noise.shape[1]
    visible = noise.argsort(dim=1)[:, : n - n_masked(n, ratio, reference)]
    return visible if reference else visible.sort(dim=1).values


def mask_of(visible: Tensor, n_tokens: int) -> Tensor:
    """Mask (B, n_tokens), float: 1 where a token is hidden, 0 where it is visible.

    Parameters
    ----------
    visible : Tensor (B, n_visible)
        int64.

    Returns
    -------
    Tensor (B, n_tokens)
    """
    mask = torch.ones(len(visible), n_tokens, device=visible.device)
    return mask.scatter(1, visible, 0.0)


def hidden_of(visible: Tensor, n_tokens: int) -> Tensor:
    """Hidden tokens (B, n_tokens - n_visible) in ascending order.

    Parameters
    ----------
    visible : Tensor (B, n_visible)
        int64.

    Returns
    -------
    Tensor (B, n_tokens - n_visible) of int64
    """
    # not torch.nonzero: the size is known, so a GPU does not have to synchronise
    order = mask_of(visible, n_tokens).argsort(dim=1, descending=True, stable=True)
    return order[:, : n_tokens - visible.shape[1]]


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Select tokens of each sample.

    Parameters
    ----------
    tokens : Tensor (B, n, d)
    index : Tensor (B, m)
        int64.

    Returns
    -------
    Tensor (B, m, d)
    """
    rows = tokens.flatten(0, 1).index_select(0, _flat(index, tokens.shape[1]))
    return rows.view(*index.shape, -1)


def put_back(tokens: Tensor, visible: Tensor, filling: Tensor, n_tokens: int) -> Tensor:
    """Put visible tokens (B, n_visible, d) at their positions, and `filling` (d,) at the others.

    Parameters
    ----------
    tokens : Tensor (B, n_visible, d)
    visible : Tensor (B, n_visible)
        int64.
    filling : Tensor (d,)

    Returns
    -------
    Tensor (B, n_tokens, d)
    """
    batch = len(tokens)
    whole = filling.to(tokens.dtype).expand(batch * n_tokens, -1)
    rows = whole.index_copy(0, _flat(visible, n_tokens), tokens.flatten(0, 1))
    return rows.view(batch, n_tokens, -1)


def _flat(index: Tensor, n: int) -> Tensor:
    """Convert an index (B, m) into rows of (B, n, d) to one (B m,) into rows of (B n, d)."""
    return (index + n * torch.arange(len(index), device=index.device)[:, None]).flatten()


def sinusoid_1d(length: int, width: int) -> Tensor:
    """Position embeddings: sine in even, cosine in odd columns (Vaswani et al. 2017).

    Parameters
    ----------
    width : int
        Even.

    Returns
    -------
    Tensor (length, width)
    """
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angle = torch.arange(length)[:, None] * rate  # (length, width / 2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def sinusoid_2d(side: int, width: int) -> Tensor:
    """Position embeddings (side², width) of a square grid, row-major (He et al. 2022,
    arXiv:2111.06377).

    First half for the column, second for the row; within each, sines before cosines.

    Parameters
    ----------
    width : int
        A multiple of four.

    Returns
    -------
    Tensor (side², width)
    """
    rate = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angle = torch.arange(side, dtype=torch.float64)[:, None] * rate
    line = torch.cat([angle.sin(), angle.cos()], dim=1)  # (side, width / 2)
    columns, rows = line.repeat(side, 1), line.repeat_interleave(side, dim=0)
    return torch.cat([columns, rows], dim=1).float()


def masked_loss(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over hidden values: ``Σ m (ŷ - x)² / Σ m``.

    Parameters
    ----------
    predicted, target, mask : Tensor
        Of one shape; the mask is 1 where a value is hidden.

    Returns
    -------
    Tensor ()
    """
    return ((predicted - target).square() * mask).sum() / mask.sum()


def padded(image: Tensor, side: int, value: float) -> Tensor:
    """Matrices (B, h, w) in the middle of a square (B, side, side) of `value`.

    Parameters
    ----------
    image : Tensor (B, h, w)
        h and w are at most `side`.

    Returns
    -------
    Tensor (B, side, side)
    """
    (top, bottom), (left, right) = margins(image.shape[1], side), margins(image.shape[2], side)
    return functional.pad(image, (left, right, top, bottom), value=value)


def margins(length: int, side: int) -> tuple[int, int]:
    """Padding before and after; an odd element is added after."""
    total = side - length
    return total // 2, total - total // 2


def patches_of(image: Tensor, patch: int) -> Tensor:
    """Square matrices (B, side, side) as patches (B, n_patches, patch²), both row by row.

    Parameters
    ----------
    image : Tensor (B, side, side)
    patch : int
        Divides `side`.

    Returns
    -------
    Tensor (B, n_patches, patch²)
    """
    grid = image.unflatten(2, (-1, patch)).unflatten(1, (-1, patch))  # (B, g, p, g, p)
    return grid.transpose(2, 3).flatten(3).flatten(1, 2)


def image_of(patches: Tensor, patch: int) -> Tensor:
    """The inverse of `patches_of`.

    Parameters
    ----------
    patches : Tensor (B, n_patches, patch²)
    patch : int

    Returns
    -------
    Tensor (B, side, side)
    """
    g = math.isqrt(patches.shape[1])
    grid = patches.unflatten(2, (patch, patch)).unflatten(1, (g, g))  # (B, g, g, p, p)
    return grid.transpose(2, 3).flatten(3).flatten(1, 2)
