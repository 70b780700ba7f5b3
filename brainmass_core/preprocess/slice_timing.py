"""Slice timing: every slice as if it had been acquired at the same moment of the volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.fft import irfft, rfft, rfftfreq


def correct_slice_timing(
    data: np.ndarray,
    slice_times: Sequence[float] | np.ndarray,
    t_r: float,
    reference_time: float | None = None,
    axis: int = 2,
) -> np.ndarray:
    """Shift each slice's series in time by a linear phase (Fourier interpolation).

    Parameters
    ----------
    data : ndarray (x, y, z, n_volumes)
        Finite values; not changed.
    slice_times : sequence of float (n_slices,)
        Acquisition time of each slice in s from the start of its volume.
    t_r : float
        Repetition time in s.
    reference_time : float, optional
        Moment of the volume in s to which all slices are brought; default their mean.
    axis : {0, 1, 2}
        Axis of the slices.

    Returns
    -------
    ndarray (x, y, z, n_volumes) of float32
        Values at ``t * t_r + reference_time``.

    Raises
    ------
    ValueError
        If the number of times is not the number of slices, or a time lies outside the volume.
    """
    times = np.asarray(slice_times, dtype=np.float64)
    if times.shape != (data.shape[axis],):
        raise ValueError(f"found {times.size} slice times, expected {data.shape[axis]} slices")
    if not (np.isfinite(times).all() and times.min() >= 0 and times.max() <= t_r + 1e-3):
        raise ValueError(f"slice times {times.min()} to {times.max()} s lie outside t_r {t_r} s")
    reference = times.mean() if reference_time is None else reference_time
    corrected = np.array(data, dtype=np.float32)
    slices = np.moveaxis(corrected, axis, 0)  # a view: filling it fills `corrected`
    for i, time in enumerate(times):
        if time != reference:
            slices[i] = shift_series(slices[i], (reference - time) / t_r)
    return corrected


def shift_series(series: np.ndarray, shift: float) -> np.ndarray:
    """Values of evenly sampled series `shift` samples later.

    Parameters
    ----------
    series : ndarray (..., n_samples)
    shift : float
        In samples; positive looks into the future.

    Returns
    -------
    ndarray (..., n_samples)
    """
    line = _line(series)
    rest = series - line
    # zero at both ends, so that its odd continuation is periodic without jump or corner
    odd = np.concatenate([rest, -rest[..., -2:0:-1]], axis=-1)
    length = odd.shape[-1]
    phase = np.exp(2j * np.pi * rfftfreq(length) * shift)
    phase[-1] = phase[-1].real  # the Nyquist frequency of a real series has no phase
    shifted = irfft(rfft(odd) * phase.astype(np.complex64), length)[..., : series.shape[-1]]
    slope = (series[..., -1:] - series[..., :1]) / (series.shape[-1] - 1)
    return shifted + line + slope * shift


def _line(series: np.ndarray) -> np.ndarray:
    """The straight line from the first to the last sample of each series."""
    ramp = np.linspace(0, 1, series.shape[-1], dtype=series.dtype)
    return series[..., :1] + (series[..., -1:] - series[..., :1]) * ramp
