"""Slice timing: every slice as if it had been acquired at the same moment of the volume.

The phase of each series is shifted in the Fourier domain, which is exact for signals below the
Nyquist frequency. Errors arise at the ends of a run only; there the series is continued by linear
prediction before it is shifted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

N_KNOWN = 32  # samples from which an end is continued
N_AHEAD = 16  # samples by which it is continued
BAND = 0.25  # cycles per sample up to which a signal is expected, for the continuation
NOISE = 0.01  # variance of white noise relative to the signal's, for the continuation


def correct_slice_timing(
    data: np.ndarray,
    slice_times: Sequence[float] | np.ndarray,
    t_r: float,
    reference_time: float | None = None,
    axis: int = 2,
    copy: bool = True,
) -> np.ndarray:
    """Shift each slice's series in time by a linear phase (Fourier interpolation).

    Parameters
    ----------
    data : ndarray (x, y, z, n_volumes)
        Finite values.
    slice_times : sequence of float (n_slices,)
        Acquisition time of each slice in s from the start of its volume; slices that were
        acquired together (multiband) have the same.
    t_r : float
        Repetition time in s.
    reference_time : float, optional
        Moment of the volume in s to which all slices are brought; default their mean.
    axis : {0, 1, 2}
        Axis of the slices.
    copy : bool
        False changes `data` itself, slice by slice, so that no second run is held in memory.

    Returns
    -------
    ndarray (x, y, z, n_volumes) of float32, or `data`
        Values at ``t * t_r + reference_time``.

    Raises
    ------
    ValueError
        If the number of times is not the number of slices, or a time lies outside the volume.
    """
    times = check_times(slice_times, data.shape[axis], t_r)
    reference = times.mean() if reference_time is None else reference_time
    corrected = np.array(data, dtype=np.float32) if copy else data
    slices = np.moveaxis(corrected, axis, 0)  # a view: filling it fills `corrected`
    n_volumes = data.shape[3]
    for i in np.flatnonzero(times != reference).tolist():
        series = slices[i].reshape(-1, n_volumes, order="F").T
        shifted = shift_series(series, (reference - times[i]) / t_r)
        slices[i] = shifted.T.reshape(slices[i].shape, order="F")
    return corrected


def check_times(slice_times: Sequence[float] | np.ndarray, n_slices: int, t_r: float) -> np.ndarray:
    """The times (n_slices,) as float64.

    Raises
    ------
    ValueError
        If their number is not the number of slices, or one lies outside the volume.
    """
    times = np.asarray(slice_times, dtype=np.float64)
    if times.shape != (n_slices,):
        raise ValueError(f"found {times.size} slice times, expected {n_slices} slices")
    if not (np.isfinite(times).all() and times.min() >= 0 and times.max() <= t_r + 1e-3):
        raise ValueError(f"slice times {times.min()} to {times.max()} s lie outside t_r {t_r} s")
    return times


def timing_summary(slice_times: Sequence[float] | np.ndarray) -> str:
    """Times in words, such as ``0.02 to 1.93 s, 36 slices, multiband 3``."""
    times = np.asarray(slice_times, dtype=np.float64)
    _, together = np.unique(np.round(times, 4), return_counts=True)
    multiband = f", multiband {together.max()}" if together.max() > 1 else ""
    return f"{times.min():.2f} to {times.max():.2f} s, {len(times)} slices{multiband}"


def shift_series(series: np.ndarray, shift: float) -> np.ndarray:
    """Values of evenly sampled series `shift` samples later.

    Parameters
    ----------
    series : ndarray (n_samples, n_series)
    shift : float
        In samples; positive looks into the future.

    Returns
    -------
    ndarray (n_samples, n_series)
    """
    n = len(series)
    times = np.arange(n, dtype=series.dtype)[:, None]
    first = series[:1].copy()
    slope = (series[-1:] - first) / (n - 1)
    padded = np.zeros((next_fast_len(n + 2 * N_AHEAD, real=True), series.shape[1]), series.dtype)
    rest = padded[N_AHEAD : N_AHEAD + n]  # zero at both ends: the line between them is taken out
    np.subtract(series, first, out=rest)
    rest -= slope * times
    predict = _continuation(min(N_KNOWN, n)).astype(series.dtype)
    padded[N_AHEAD + n : 2 * N_AHEAD + n] = predict @ rest[-predict.shape[1] :]
    padded[:N_AHEAD] = (predict @ rest[: predict.shape[1]][::-1])[::-1]
    spectrum = rfft(padded, axis=0, overwrite_x=True)
    phase = np.exp(2j * np.pi * rfftfreq(len(padded)) * shift)
    if len(padded) % 2 == 0:
        phase[-1] = phase[-1].real  # the Nyquist frequency of a real series has no phase
    spectrum *= phase.astype(spectrum.dtype)[:, None]
    shifted = irfft(spectrum, len(padded), axis=0, overwrite_x=True)[N_AHEAD : N_AHEAD + n]
    shifted += first + slope * (times + series.dtype.type(shift))
    return shifted


@lru_cache(maxsize=4)
def _continuation(n_known: int) -> np.ndarray:
    """Weights (N_AHEAD, n_known) that continue a series, fading to zero.

    The best linear prediction of a process with a flat spectrum up to `BAND`, an unknown level and
    a little white noise (Wiener).
    """
    past = np.arange(1.0 - n_known, 1.0)
    ahead = np.arange(1.0, N_AHEAD + 1)

    def covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sinc(2 * BAND * (a[:, None] - b)) + 1

    own = covariance(past, past) + NOISE * np.eye(n_known)
    fade = 0.5 + 0.5 * np.cos(np.pi * ahead / (N_AHEAD + 1))
    return fade[:, None] * np.linalg.solve(own, covariance(past, ahead)).T
