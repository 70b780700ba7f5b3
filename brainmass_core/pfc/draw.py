"""Draw the timepoints of views, with a separate random stream for each view.

Creating a generator object per scan would take longer than the draw. Random numbers are SplitMix64
(Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195), seeded for each scan and view by a hash;
distinct timepoints are the first elements of a Fisher-Yates shuffle.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from numba.extending import register_jitable

if TYPE_CHECKING:
    from brainmass_core.pfc import Dropping

STEP = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def seeds_of(*parts: Iterable[int] | np.ndarray) -> np.ndarray:
    """Mix non-negative numbers to seeds; arrays of one length, or of length one.

    Returns
    -------
    ndarray (n,), uint64
    """
    mixed = np.zeros(1, np.uint64)
    for part in parts:
        values = part if isinstance(part, np.ndarray) else np.array(list(part), np.uint64)
        mixed = _scrambled(_scrambled(mixed + STEP) ^ values.astype(np.uint64))
    return mixed


@numba.njit(cache=True, nogil=True)
def distinct(seed: int, n_views: int, k: int, choices: int) -> np.ndarray:
    """Draw distinct numbers below `choices` for each view, unordered.

    Parameters
    ----------
    seed : int
        Below 2**64.

    Returns
    -------
    ndarray (n_views, k), int64
        A view depends only on the seed and its number.
    """
    drawn = np.empty((n_views, k), np.int64)
    order = np.empty(choices, np.int64)
    for view in range(n_views):
        _deal(_state(np.uint64(seed), view), order, choices, k)
        drawn[view] = order[:k]
    return drawn


@numba.njit(cache=True, nogil=True)
def places(seed: int, n_views: int, choices: int) -> np.ndarray:
    """Draw a number below `choices` for each view.

    Parameters
    ----------
    seed : int
        Below 2**64.

    Returns
    -------
    ndarray (n_views,), int64
        A number depends only on the seed, the number of its view and `choices`.
    """
    drawn = np.empty(n_views, np.int64)
    for view in range(n_views):
        drawn[view] = _below(_state(np.uint64(seed), view), choices)
    return drawn


def kept_masks(
    dropping: Dropping, lengths: np.ndarray, seeds: np.ndarray, n_views: int
) -> np.ndarray:
    """Which timepoints each view of each scan keeps.

    Parameters
    ----------
    lengths : ndarray (n_scans,), int
        Timepoints of each scan.
    seeds : ndarray (n_scans,), uint64
        Seed of each scan's views, see `seeds_of`.

    Returns
    -------
    ndarray (n_scans, n_views, max(lengths)), bool
        False beyond a scan's own length.
    """
    n_kept = np.array([dropping.n_kept(int(n)) for n in lengths], np.int64)
    stays = np.zeros((len(lengths), n_views, max(lengths, default=0)), np.bool_)
    _draw_kept(lengths.astype(np.int64), n_kept, seeds, dropping.window is not None, stays)
    return stays


@register_jitable
def _scrambled(x: Any) -> Any:
    """The output function of SplitMix64, a bijection, for a number or an array."""
    x = (x ^ (x >> np.uint64(30))) * FIRST
    x = (x ^ (x >> np.uint64(27))) * SECOND
    return x ^ (x >> np.uint64(31))


@register_jitable
def _state(seed: np.uint64, view: int) -> np.uint64:
    """Initial state of the random stream of a view."""
    return _scrambled(seed + np.uint64(view) * STEP)


@register_jitable
def _deal(state: np.uint64, order: np.ndarray, n: int, k: int) -> None:
    """Shuffle the numbers 0 to n - 1 and put the first k of them in `order`."""
    for t in range(n):
        order[t] = t
    for place in range(k):
        state += STEP
        other = place + _below(state, n - place)
        order[place], order[other] = order[other], order[place]


@numba.njit(cache=True, nogil=True)
def _draw_kept(
    lengths: np.ndarray, n_kept: np.ndarray, seeds: np.ndarray, window: bool, stays: np.ndarray
) -> None:
    """Set the kept timepoints in `stays` (n_scans, n_views, n)."""
    order = np.empty(stays.shape[2], np.int64)
    for scan in range(len(lengths)):
        n, k = lengths[scan], n_kept[scan]
        for view in range(stays.shape[1]):
            state = _state(seeds[scan], view)
            if window:
                start = _below(state, n - k + 1)
                stays[scan, view, start : start + k] = True
                continue
            stays[scan, view, :n] = True
            _deal(state, order, n, n - k)
            for t in order[: n - k]:
                stays[scan, view, t] = False


@register_jitable
def _below(state: np.uint64, n: int) -> int:
    """A number below n from the upper 53 bits."""
    return int(float(_scrambled(state) >> np.uint64(11)) * 2.0**-53 * n)
