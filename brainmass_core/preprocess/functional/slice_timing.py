"""Slice timing correction: shift every slice to the same acquisition time.

The phase of each series is shifted in the Fourier domain, which is exact for signals below the
Nyquist frequency. Errors only occur at the ends of a run, where the series is extrapolated by
linear prediction before it is shifted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

N_KNOWN = 32  # samples used for the extrapolation of an end
N_AHEAD = 16  # number of extrapolated samples
BAND = 0.25  # cycles per sample, assumed bandwidth of the signal for the extrapolation
NOISE = 0.01  # variance of white noise relative to the signal's, for the extrapolation


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
        Acquisition time of each slice in s from the start of its volume; slices that were acquired
        simultaneously (multiband) have the same time.
    t_r : float
        Repetition time in s.
    reference_time : float, optional
        Target time within the volume in s; default: mean of the slice times.
    axis : {0, 1, 2}
        Axis of the slices.
    copy : bool
        False modifies `data` in place, slice by slice, without a second run in memory.

    Returns
    -------
    ndarray (x, y, z, n_volumes) of float32, or `data`
        Values at ``t * t_r + reference_time``.

    Raises
    ------
    ValueError
        If the number of times is not the number of slices, or a time is outside the volume.
    """
    times = check_times(slice_times, data.shape[axis], t_r)
    reference = times.mean() if reference_time is None else reference_time
    corrected = np.array(data, dtype=np.float32) if copy else data
    slices = np.moveaxis(corrected, axis, 0)  # a view of `corrected`
    n_volumes = data.shape[3]
    for i in np.flatnonzero(times != reference).tolist():
        series = slices[i].reshape(-1, n_volumes, order="F").T
        shifted = shift_series(series, (reference - times[i]) / t_r)
        slices[i] = shifted.T.reshape(slices[i].shape, order="F")
    return corrected


def check_times(slice_times: Sequence[float] | np.ndarray, n_slices: int, t_r: float) -> np.ndarray:
    """Check slice times.

    Parameters
    ----------
    slice_times : sequence of float (n_slices,)
        In s from the start of the volume.
    t_r : float
        In s.

    Returns
    -------
    ndarray (n_slices,), float64

    Raises
    ------
    ValueError
        If their number is not the number of slices, or one is outside the volume.
    """
    times = np.asarray(slice_times, dtype=np.float64)
    if times.shape != (n_slices,):
        raise ValueError(f"found {times.size} slice times, expected {n_slices} slices")
    if not (np.isfinite(times).all() and times.min() >= 0 and times.max() <= t_r + 1e-3):
        raise ValueError(f"slice times {times.min()} to {times.max()} s are outside t_r {t_r} s")
    return times


def timing_summary(slice_times: Sequence[float] | np.ndarray) -> str:
    """Description of slice times, such as ``0.02 to 1.93 s, 36 slices, multiband 3``.

    Parameters
    ----------
    slice_times : sequence of float (n_slices,)
        s.
    """
    times = np.asarray(slice_times, dtype=np.float64)
    _, together = np.unique(np.round(times, 4), return_counts=True)
    multiband = f", multiband {together.max()}" if together.max() > 1 else ""
    return f"{times.min():.2f} to {times.max():.2f} s, {len(times)} slices{multiband}"


def shift_series(series: np.ndarray, shift: float) -> np.ndarray:
    """Shift evenly sampled series by `shift` samples.

    Parameters
    ----------
    series : ndarray (n_samples, n_series)
    shift : float
        In samples; positive values give later samples.

    Returns
    -------
    ndarray (n_samples, n_series)
    """
    n = len(series)
    times = np.arange(n, dtype=series.dtype)[:, None]
    first = series[:1].copy()
    slope = (series[-1:] - first) / (n - 1)
    padded = np.zeros((next_fast_len(n + 2 * N_AHEAD, real=True), series.shape[1]), series.dtype)
    rest = padded[N_AHEAD : N_AHEAD + n]  # zero at both ends, after removing the line between them
    np.subtract(series, first, out=rest)
    rest -= slope * times
    predict = _continuation(min(N_KNOWN, n)).astype(series.dtype)
    padded[N_AHEAD + n : 2 * N_AHEAD + n] = predict @ rest[-predict.shape[1] :]
    padded[:N_AHEAD] = (predict @ rest[: predict.shape[1]][::-1])[::-1]
    spectrum = rfft(padded, axis=0, overwrite_x=True)
    phase = np.exp(2j * np.pi * rfftfreq(len(padded)) * shift)
    if len(padded) % 2 == 0:
        phase[-1] = phase[
            -1
        ].real  # the phase at the Nyquist frequency of a real series is undetermined
    spectrum *= phase.astype(spectrum.dtype)[:, None]
    shifted = irfft(spectrum, len(padded), axis=0, overwrite_x=True)[N_AHEAD : N_AHEAD + n]
    shifted += first + slope * (times + series.dtype.type(shift))
    return shifted


@lru_cache(maxsize=4)
def _continuation(n_known: int) -> np.ndarray:
    """Weights (N_AHEAD, n_known) that extrapolate a series, decaying to zero.

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
