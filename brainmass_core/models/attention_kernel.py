"""Attention of many small heads on the CPU: 100 tokens, 5 to 20 features per head.

One head of one sample is processed at a time, in the cache: scores (keys, queries) take 40 kB.
Queries are along the vector lanes, so the softmax over keys needs no sum across lanes. The backward
pass recomputes the probabilities from the logarithm of their sum (Dao et al. 2022,
arXiv:2205.14135), and the dropout mask from its seed: nothing of size keys x queries is stored.
"""

from __future__ import annotations

import numba
import numpy as np

from brainmass_core.models.kernels import FAST, hash_of, row_key


@numba.njit(inline="always")
def _exp(x: np.float32) -> np.float32:
    """exp(x) for x <= 0, to 2e-7: a power of two, and a Taylor series within half of one."""
    x = max(x, np.float32(-87.0))
    power = np.int32(x * np.float32(1.44269504) - np.float32(0.5))  # towards 0: nearest
    n = np.float32(power)
    r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)  # ln 2 in two parts
    s = np.float32(1 / 5040)
    s = s * r + np.float32(1 / 720)
    s = s * r + np.float32(1 / 120)
    s = s * r + np.float32(1 / 24)
    s = s * r + np.float32(1 / 6)
    s = s * r + np.float32(0.5)
    s = s * r + np.float32(1)
    s = s * r + np.float32(1)
    return s * np.int32((power + np.int32(127)) << np.int32(23)).view(np.float32)


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def _combine(weights: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
    """``out = weights @ rows``: (k,), (k, n), (n,); five rows at a time, to store less often."""
    out[:] = 0
    k = len(weights)
    whole = k - k % 5
    for i in range(0, whole, 5):
        a, b, c, d, e = rows[i], rows[i + 1], rows[i + 2], rows[i + 3], rows[i + 4]
        u, v, w, x, y = weights[i], weights[i + 1], weights[i + 2], weights[i + 3], weights[i + 4]
        for j in range(len(out)):
            out[j] += u * a[j] + v * b[j] + w * c[j] + x * d[j] + y * e[j]
    for i in range(whole, k):
        a, u = rows[i], weights[i]
        for j in range(len(out)):
            out[j] += u * a[j]


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def _dots(row: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
    """``out = rows @ row``: (k,) from (k, n) and (n,); five sums at a time, to load less often."""
    k = len(rows)
    whole = k - k % 5
    for i in range(0, whole, 5):
        a, b, c, d, e = rows[i], rows[i + 1], rows[i + 2], rows[i + 3], rows[i + 4]
        u = v = w = x = y = np.float32(0)
        for j in range(len(row)):
            u += row[j] * a[j]
            v += row[j] * b[j]
            w += row[j] * c[j]
            x += row[j] * d[j]
            y += row[j] * e[j]
        out[i], out[i + 1], out[i + 2], out[i + 3], out[i + 4] = u, v, w, x, y
    for i in range(whole, k):
        a = rows[i]
        u = np.float32(0)
        for j in range(len(row)):
            u += row[j] * a[j]
        out[i] = u


@numba.njit(cache=True, nogil=True)
def _turned(x: np.ndarray, factor: np.float32, out: np.ndarray) -> None:
    """``out = factor * x.T``."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[j, i] = factor * x[i, j]


@numba.njit(cache=True, nogil=True)
def _factors(
    seed: np.uint64, row: int, drop: np.uint32, scale: np.float32, out: np.ndarray
) -> None:
    """Dropout factors of one row (n,): 0 or `scale`."""
    key = row_key(seed, row)
    low, high = np.uint32(key), np.uint32(key >> np.uint64(32))
    for i in range(len(out)):
        out[i] = scale if hash_of(i, low, high) >= drop else np.float32(0)


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def attention(
    start: int,
    stop: int,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    heads: int,
    seed: np.uint64,
    drop: np.uint32,
    scale: np.float32,
    out: np.ndarray,
    log_sum: np.ndarray,
) -> None:
    """``dropout(softmax(q kᵀ / √d)) v`` for samples start to stop.

    Parameters
    ----------
    start, stop : int
        Samples that are written.
    q, k, v : ndarray (B, n_queries | n_keys, heads * d) of float32
    heads : int
    seed : uint64
        Seed of the dropout mask, which has a row of n_queries for each sample, head and key.
    drop : uint32
        See `kernels.drop_below`; 0 for no dropout.
    scale : float32
        ``1 / (1 - p)``.
    out, log_sum : ndarray (B, n_queries, heads * d), (B, heads, n_queries)
        Written; `log_sum` is the logarithm of the softmax's denominator.
    """
    n, m = k.shape[1], q.shape[1]
    d = q.shape[2] // heads
    qt, ot = np.empty((d, m), np.float32), np.empty((d, m), np.float32)
    vt, key = np.empty((d, n), np.float32), np.empty((n, d), np.float32)
    p = np.empty((n, m), np.float32)
    largest, total = np.empty(m, np.float32), np.empty(m, np.float32)
    kept = np.empty(m, np.float32)
    for sample in range(start, stop):
        for head in range(heads):
            part = slice(head * d, head * d + d)
            _turned(q[sample, :, part], np.float32(1 / np.sqrt(d)), qt)
            _turned(v[sample, :, part], np.float32(1), vt)
            key[:] = k[sample, :, part]
            largest[:] = -np.inf
            for j in range(n):
                row = p[j]
                _combine(key[j], qt, row)
                for i in range(m):
                    largest[i] = max(largest[i], row[i])
            total[:] = 0
            for j in range(n):
                row = p[j]
                for i in range(m):
                    row[i] = _exp(row[i] - largest[i])
                    total[i] += row[i]
                if drop:
                    _factors(seed, (sample * heads + head) * n + j, drop, scale, kept)
                    for i in range(m):
                        row[i] *= kept[i]
            for c in range(d):
                _combine(vt[c], p, ot[c])
            for i in range(m):
                log_sum[sample, head, i] = largest[i] + np.log(total[i])
                for c in range(d):
                    out[sample, i, head * d + c] = ot[c, i] / total[i]


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def attention_backward(
    start: int,
    stop: int,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    heads: int,
    seed: np.uint64,
    drop: np.uint32,
    scale: np.float32,
    out: np.ndarray,
    log_sum: np.ndarray,
    grad: np.ndarray,
    grad_q: np.ndarray,
    grad_k: np.ndarray,
    grad_v: np.ndarray,
) -> None:
    """Gradients of `attention` with respect to q, k and v, from that of its result.

    Arguments are those of `attention`, and:

    Parameters
    ----------
    grad : ndarray (B, n_queries, heads * d) of float32
        Gradient of the result.
    grad_q, grad_k, grad_v : ndarray of float32
        Shapes of q, k and v; written.
    """
    n, m = k.shape[1], q.shape[1]
    d = q.shape[2] // heads
    root = np.float32(1 / np.sqrt(d))
    qt, gt = np.empty((d, m), np.float32), np.empty((d, m), np.float32)
    dqt, kt = np.empty((d, m), np.float32), np.empty((d, n), np.float32)
    key, value = np.empty((n, d), np.float32), np.empty((n, d), np.float32)
    ds, p = np.empty((n, m), np.float32), np.empty(m, np.float32)
    dropped, inner = np.empty(m, np.float32), np.empty(m, np.float32)
    kept = np.ones(m, np.float32)
    for sample in range(start, stop):
        for head in range(heads):
            part = slice(head * d, head * d + d)
            _turned(q[sample, :, part], root, qt)
            _turned(grad[sample, :, part], np.float32(1), gt)
            _turned(k[sample, :, part], root, kt)
            key[:] = k[sample, :, part]
            value[:] = v[sample, :, part]
            for i in range(m):  # correction term of the softmax: sum over keys of p dp = g . out
                inner[i] = 0
                for c in range(d):
                    inner[i] += gt[c, i] * out[sample, i, head * d + c]
            logs = log_sum[sample, head]
            for j in range(n):
                row = ds[j]
                _combine(key[j], qt, p)
                for i in range(m):
                    p[i] = _exp(min(p[i] - logs[i], np.float32(0)))
                _combine(value[j], gt, row)  # with the probabilities after dropout
                if drop:
                    _factors(seed, (sample * heads + head) * n + j, drop, scale, kept)
                for i in range(m):
                    dropped[i] = p[i] * kept[i]
                    row[i] = p[i] * (row[i] * kept[i] - inner[i])
                _dots(dropped, gt, grad_v[sample, j, part])
                _dots(row, qt, grad_k[sample, j, part])
            for c in range(d):
                _combine(kt[c], ds, dqt[c])
            for i in range(m):
                for c in range(d):
                    grad_q[sample, i, head * d + c] = dqt[c, i]
