"""Parts of a transformer layer as autograd functions that store little for the backward pass.

For the CPU, in float32; the feed-forward part also in bfloat16. torch stores every dropout mask,
every attention probability and the hidden values of the feed-forward part twice, and draws its
masks sequentially on one thread. Here masks are recomputed from a seed (`kernels`), and so are
probabilities (`attention_kernel`); the hidden values of the feed-forward part are stored once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from brainmass_core.models import attention_kernel, kernels

CHUNK = 512  # tokens: their hidden values, 4 MB at 2048 features, stay in the cache


def usable(x: Tensor) -> bool:
    """Whether the functions of this module support a tensor.

    Parameters
    ----------
    x : Tensor
        Of any shape.
    """
    plain = x.device.type == "cpu" and x.dtype == torch.float32
    return plain and not torch.compiler.is_compiling()  # torch.compile cannot trace numba


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, p: float) -> Tensor:
    """``dropout(softmax(q kᵀ / √d)) v`` for each head, with d = d_model / heads.

    Parameters
    ----------
    q : Tensor (B, n_queries, d_model)
    k, v : Tensor (B, n_keys, d_model)
        float32 on the CPU, see `usable`; heads are consecutive slices of the last dimension.
    heads : int
    p : float
        Probability of dropout; its mask follows from torch's default generator.

    Returns
    -------
    Tensor (B, n_queries, d_model)
    """
    return _Attention.apply(q, k, v, heads, p, _seed(p))


def feed_forward(
    x: Tensor, weight_1: Tensor, bias_1: Tensor, weight_2: Tensor, p: float, dtype: torch.dtype
) -> Tensor:
    """``dropout(relu(x W1ᵀ + b1)) W2ᵀ``, without the second bias; products are in `dtype`.

    Parameters
    ----------
    x : Tensor (..., d)
    weight_1 : Tensor (hidden, d)
    bias_1 : Tensor (hidden,)
    weight_2 : Tensor (d, hidden)
    p : float
        Probability of dropout; its mask follows from torch's default generator.
    dtype : dtype
        float32 or bfloat16.

    Returns
    -------
    Tensor (..., d)
    """
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (x, weight_1, weight_2))
    return _FeedForward.apply(x, weight_1, bias_1, weight_2, p, _seed(p), dtype, keep)


def drop_add_norm(
    x: Tensor, branch: Tensor, weight: Tensor, bias: Tensor, eps: float, p: float
) -> Tensor:
    """``LayerNorm(x + dropout(branch))``, (..., d).

    Parameters
    ----------
    x, branch : Tensor (..., d)
    weight, bias : Tensor (d,)
        Of the layer norm.
    eps : float
        Added to the variance.
    p : float
        Probability of dropout.

    Returns
    -------
    Tensor (..., d)
    """
    return _DropAddNorm.apply(x, branch, weight, bias, eps, p, _seed(p))


def _seed(p: float) -> int:
    """64 bits from torch's default generator, which is not used without dropout."""
    return int(torch.randint(-(2**63), 2**63 - 1, ())) % 2**64 if p else 0


def _dropout(p: float, seed: int) -> tuple[np.uint64, np.uint32, np.float32]:
    return np.uint64(seed), kernels.drop_below(p), np.float32(1 / (1 - p))


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, p: float, seed: int
    ) -> Tensor:
        batch, n_queries, _ = q.shape
        out = torch.empty(q.shape)
        log_sum = torch.empty(batch, heads, n_queries)
        inputs = [t.numpy() for t in (q.detach(), k.detach(), v.detach())]
        settings = (heads, *_dropout(p, seed))
        kernels.over_rows(
            attention_kernel.attention, batch, *inputs, *settings, out.numpy(), log_sum.numpy()
        )
        ctx.save_for_backward(q, k, v, out, log_sum)
        ctx.settings = settings
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, log_sum = ctx.saved_tensors
        grads = [torch.empty(t.shape) for t in (q, k, v)]
        kernels.over_rows(
            attention_kernel.attention_backward,
            len(q),
            *(t.detach().numpy() for t in (q, k, v)),
            *ctx.settings,
            *(t.detach().numpy() for t in (out, log_sum, grad.contiguous(), *grads)),
        )
        return (*grads, None, None, None)


class _FeedForward(torch.autograd.Function):
    """Feed-forward in chunks of tokens; a column of ones includes the first bias in the
    products."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_1: Tensor,
        bias_1: Tensor,
        weight_2: Tensor,
        p: float,
        seed: int,
        dtype: torch.dtype,
        keep: bool,
    ) -> Tensor:
        flat = x.detach().reshape(-1, x.shape[-1])
        rows = torch.cat([flat, flat.new_ones(len(flat), 1)], 1).to(dtype)  # (N, d + 1)
        first = torch.cat([weight_1.detach(), bias_1.detach()[:, None]], 1).to(dtype)  # (F, d + 1)
        second = weight_2.detach().to(dtype)  # (d, F)
        out = torch.empty(flat.shape, dtype=dtype)
        hidden = _empty(len(rows), len(first), dtype) if keep else rows.new_empty(0)
        number, drop, scale = _dropout(p, seed)

        def work(_: int, start: int, stop: int) -> None:
            space = None if keep else torch.empty(min(CHUNK, stop - start), len(first), dtype=dtype)
            for part in _chunks(start, stop):
                h = hidden[part] if space is None else space[: part.stop - part.start]
                torch.mm(rows[part], first.T, out=h)
                kernels.relu_dropout(_bits(h), part.start, number, drop)
                torch.mm(h, second.T, out=out[part])

        kernels.over_spans(work, len(rows))
        ctx.save_for_backward(rows, first, second, hidden)
        ctx.scale, ctx.shape = float(scale), x.shape
        return out.float().mul_(ctx.scale).view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, first, second, hidden = ctx.saved_tensors
        width = rows.shape[1] - 1
        # hidden values are stored without the dropout factor, so it is applied to the gradient
        grad = (grad.reshape(-1, width) * ctx.scale).to(rows.dtype)
        grad_x = torch.empty(grad.shape, dtype=rows.dtype)
        sums_first = torch.zeros(kernels.SPANS, width + 1, len(first))
        sums_second = torch.zeros(kernels.SPANS, *second.shape)

        def work(i: int, start: int, stop: int) -> None:
            space = torch.empty(min(CHUNK, stop - start), len(first), dtype=rows.dtype)
            for part in _chunks(start, stop):
                g, h = grad[part], hidden[part]
                _add_product(sums_second[i], g.T, h)
                grad_h = torch.mm(g, second, out=space[: len(g)])
                kernels.mask(_bits(grad_h), _bits(h))
                _add_product(sums_first[i], rows[part].T, grad_h)
                torch.mm(grad_h, first[:, :width], out=grad_x[part])

        kernels.over_spans(work, len(rows))
        grad_first = sums_first.sum(0)
        return (
            grad_x.float().view(ctx.shape),
            grad_first[:width].T,
            grad_first[width],
            sums_second.sum(0),
            *[None] * 4,
        )


class _DropAddNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        branch: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        p: float,
        seed: int,
    ) -> Tensor:
        width = x.shape[-1]
        flat = [t.detach().reshape(-1, width).numpy() for t in (x, branch)]
        normal, out = torch.empty(len(flat[0]), width), torch.empty(len(flat[0]), width)
        inverse = torch.empty(len(normal))
        affine = [t.detach().numpy() for t in (weight, bias)]
        ctx.dropout = _dropout(p, seed)
        written = [t.numpy() for t in (normal, inverse, out)]
        kernels.over_rows(
            kernels.drop_add_norm, len(normal), *flat, *affine, eps, *ctx.dropout, *written
        )
        ctx.save_for_backward(weight, normal, inverse)
        return out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, normal, inverse = ctx.saved_tensors
        flat = grad.reshape(normal.shape)
        grads = [torch.empty(normal.shape) for _ in range(2)]
        read = [t.detach().numpy() for t in (flat, weight, normal, inverse)]
        written = [t.numpy() for t in grads]
        kernels.over_rows(
            kernels.drop_add_norm_backward, len(normal), *read, *ctx.dropout, *written
        )
        by_x, by_branch = (t.view(grad.shape) for t in grads)
        return by_x, by_branch, (flat * normal).sum(0), flat.sum(0), None, None, None


def _empty(n: int, width: int, dtype: torch.dtype) -> Tensor:
    """New memory (n, width), allocated by NumPy because it requests large pages.

    torch does not: with pages of 4 kB, the page faults take as long as the product that fills
    them."""
    size = torch.empty((), dtype=dtype).element_size()
    return torch.from_numpy(np.empty(n * width * size, np.uint8)).view(dtype).view(n, width)


def _chunks(start: int, stop: int) -> list[slice]:
    return [slice(i, min(i + CHUNK, stop)) for i in range(start, stop, CHUNK)]


def _bits(x: Tensor) -> np.ndarray:
    """View a float32 or bfloat16 tensor as integers, which numba supports in both widths."""
    return x.view(torch.int32 if x.dtype == torch.float32 else torch.int16).numpy()


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """``total += a @ b``, with sums over chunks in float32."""
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b
