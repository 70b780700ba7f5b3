"""Loops over tokens without a fused operation in torch, compiled by numba, for the CPU.

Dropout stores no mask: a hash of (seed, row, column) decides whether an element is kept, and is
computed again in the backward pass; it does not depend on the number of threads. A row's 64-bit key
comes from splitmix64 (Steele et al. 2014, doi:10.1145/2714064.2660195) and is mixed into the column
by the multiplications and shifts of lowbias32 (Wellons, github.com/skeeto/hash-prospector).

All kernels process a given range of rows or samples, release the GIL and write to given arrays:
`over_rows` divides the range between threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import torch

FAST = {"contract", "reassoc", "nsz", "arcp"}  # without "nnan": NaN must be preserved
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
SPANS = 16  # maximum number of threads
_pool: list[ThreadPoolExecutor] = []


def over_rows(kernel: Callable[..., None], n: int, *arguments: Any) -> None:
    """Call ``kernel(start, stop, *arguments)`` for the spans of ``range(n)`` on torch's threads."""
    over_spans(lambda _, start, stop: kernel(start, stop, *arguments), n)


def over_spans(work: Callable[[int, int, int], None], n: int) -> None:
    """Call ``work(i, start, stop)`` for `SPANS` spans of ``range(n)``, on the threads of torch.

    Matrix products inside use one thread each: threads that synchronise after every product wait
    for each other, especially on a busy machine. The spans, and so the order of all sums, do not
    depend on the number of threads. numba's threads are not used, because they do not survive a
    fork.
    """
    spans = [(i, n * i // SPANS, n * (i + 1) // SPANS) for i in range(SPANS)]
    spans = [span for span in spans if span[1] < span[2]]
    threads = min(torch.get_num_threads(), len(spans))

    inference = torch.is_inference_mode_enabled()  # thread-local, so pass it to the workers

    def run() -> None:
        with torch.inference_mode(inference):
            while spans:
                try:
                    span = spans.pop()
                except IndexError:  # another thread took the last span
                    return
                work(*span)

    if threads <= 1:
        return run()
    if not _pool:
        # products on two threads give other bits, and the number of threads is set per thread
        _pool.append(ThreadPoolExecutor(SPANS, "brainmass", lambda: torch.set_num_threads(1)))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        others = [_pool[0].submit(run) for _ in range(threads - 1)]
        run()
        for other in others:
            other.result()
    finally:
        torch.set_num_threads(before)


os.register_at_fork(after_in_child=_pool.clear)


def drop_below(p: float) -> np.uint32:
    """Hash below which an element is dropped, for probability `p` in [0, 1)."""
    return np.uint32(round(p * 2**32))


@numba.njit(inline="always")
def row_key(seed: np.uint64, row: int) -> np.uint64:
    """splitmix64: 64 random bits of a row."""
    x = np.uint64(seed) + np.uint64(row + 1) * GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@numba.njit(inline="always")
def hash_of(column: int, low: np.uint32, high: np.uint32) -> np.uint32:
    """32 random bits of an element; `low` and `high` are the halves of its row's key."""
    # truncate every product to 32 bits, or the compiler would use half as many lanes
    x = np.uint32(np.uint32(column) ^ low)
    x = np.uint32(x ^ np.uint32(x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ high)
    x = np.uint32(x ^ np.uint32(x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ np.uint32(x >> np.uint32(16)))


@numba.njit(cache=True, nogil=True)
def keep(start: int, stop: int, seed: np.uint64, drop: np.uint32, out: np.ndarray) -> None:
    """Boolean dropout mask of rows (n, k), the same as in all kernels here.

    Parameters
    ----------
    start, stop : int
        Rows that are written.
    seed : uint64
    drop : uint32
        See `drop_below`.
    out : ndarray (n, k) of bool
        True where a value is kept.
    """
    for row in range(start, stop):
        key = row_key(seed, row)
        low, high = np.uint32(key), np.uint32(key >> np.uint64(32))
        for c in range(out.shape[1]):
            out[row, c] = hash_of(c, low, high) >= drop


@numba.njit(cache=True, nogil=True)
def relu_dropout(bits: np.ndarray, first: int, seed: np.uint64, drop: np.uint32) -> None:
    """Set negative and dropped values to 0, in place; the caller applies the factor 1 / (1 - p).

    Parameters
    ----------
    bits : ndarray (n, k) of int32 or int16
        float32 or bfloat16 numbers, viewed as integers. NaN is preserved.
    first : int
        Index of ``bits[0]`` among all rows.
    """
    kind = bits.dtype.type  # integers of the same width throughout, or fewer lanes are used
    zero = kind(0)
    below = kind(-8388608) if bits.itemsize == 4 else kind(-128)  # minus infinity; above are NaNs
    for row in range(len(bits)):
        key = row_key(seed, first + row)
        low, high = np.uint32(key), np.uint32(key >> np.uint64(32))
        line = bits[row]
        if drop == 0:
            for c in range(len(line)):
                line[c] = zero if line[c] <= below else line[c]
            continue
        for c in range(len(line)):
            gone = (line[c] <= below) | (hash_of(c, low, high) < drop)
            line[c] = zero if gone else line[c]


@numba.njit(cache=True, nogil=True)
def mask(grad: np.ndarray, hidden: np.ndarray) -> None:
    """Zero a gradient (n, k) in place where the hidden value is 0; both as integers.

    Parameters
    ----------
    grad : ndarray (n, k)
        Overwritten.
    hidden : ndarray (n, k)
        Of the same dtype.
    """
    zero = grad.dtype.type(0)
    for row in range(len(grad)):
        g, h = grad[row], hidden[row]
        for c in range(len(g)):
            g[c] = zero if h[c] == zero else g[c]


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def drop_add_norm(
    start: int,
    stop: int,
    x: np.ndarray,
    branch: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    eps: float,
    seed: np.uint64,
    drop: np.uint32,
    scale: np.float32,
    normal: np.ndarray,
    inverse: np.ndarray,
    out: np.ndarray,
) -> None:
    """LayerNorm of ``x + dropout(branch)``; also the values before weight and bias.

    Parameters
    ----------
    start, stop : int
        Rows that are written.
    x, branch : ndarray (n, d) of float32
    weight, bias : ndarray (d,) of float32
        Of the layer norm.
    eps : float
        Added to the variance.
    seed : uint64
    drop : uint32
        See `drop_below`.
    scale : float32
        ``1 / (1 - p)``.
    normal, inverse, out : ndarray (n, d), (n,), (n, d)
        Written: normalised rows, 1 / their standard deviation, the result.
    """
    d = x.shape[1]
    for row in range(start, stop):
        key = row_key(seed, row)
        low, high = np.uint32(key), np.uint32(key >> np.uint64(32))
        a, b, z, y = x[row], branch[row], normal[row], out[row]
        total = np.float32(0)
        for c in range(d):
            kept = scale if hash_of(c, low, high) >= drop else np.float32(0)
            z[c] = a[c] + kept * b[c]
            total += z[c]
        mean = np.float32(total / d)
        power = np.float32(0)
        for c in range(d):
            z[c] -= mean
            power += z[c] * z[c]
        factor = np.float32(1 / np.sqrt(power / d + eps))
        inverse[row] = factor
        for c in range(d):
            z[c] *= factor
            y[c] = z[c] * weight[c] + bias[c]


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def drop_add_norm_backward(
    start: int,
    stop: int,
    grad: np.ndarray,
    weight: np.ndarray,
    normal: np.ndarray,
    inverse: np.ndarray,
    seed: np.uint64,
    drop: np.uint32,
    scale: np.float32,
    grad_x: np.ndarray,
    grad_branch: np.ndarray,
) -> None:
    """Gradients (n, d) of `drop_add_norm` with respect to x and branch.

    Parameters
    ----------
    start, stop : int
        Rows that are written.
    grad : ndarray (n, d)
        Gradient of the result.
    weight : ndarray (d,)
        Of the layer norm.
    normal : ndarray (n, d)
        Normalised values of the forward pass.
    inverse : ndarray (n,)
        Inverse standard deviations of the forward pass.
    seed, drop, scale
        As in the forward pass.
    grad_x, grad_branch : ndarray (n, d)
        Written.
    """
    d = grad.shape[1]
    for row in range(start, stop):
        key = row_key(seed, row)
        low, high = np.uint32(key), np.uint32(key >> np.uint64(32))
        g, z, dx, db = grad[row], normal[row], grad_x[row], grad_branch[row]
        mean, along = np.float32(0), np.float32(0)
        for c in range(d):
            value = g[c] * weight[c]
            mean += value
            along += value * z[c]
        mean, along = np.float32(mean / d), np.float32(along / d)
        for c in range(d):
            value = (g[c] * weight[c] - mean - z[c] * along) * inverse[row]
            dx[c] = value
            db[c] = value * (scale if hash_of(c, low, high) >= drop else np.float32(0))
