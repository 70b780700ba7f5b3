"""Resample series to another repetition time."""

from __future__ import annotations

import numpy as np

TOLERANCE = 1e-3  # s: repetition times that differ by less are treated as equal
# of the low-pass before downsampling: order, and limit relative to the new Nyquist frequency
ORDER, MARGIN = (
    5,
    0.8,
)


def same_t_r(one: float, other: float) -> bool:
    """Whether two repetition times (s) are equal."""
    return abs(one - other) <= TOLERANCE + 1e-9


def n_resampled(n_timepoints: int, t_r: float, new_t_r: float) -> int:
    """Number of timepoints that `resampled` returns, within the duration of the recording."""
    if same_t_r(t_r, new_t_r):
        return n_timepoints
    return int((n_timepoints - 1) * t_r / new_t_r + 1e-6) + 1


def resampled(series: np.ndarray, t_r: float, new_t_r: float) -> np.ndarray:
    """Interpolate over time by a cubic spline, after a low-pass if `new_t_r` is longer.

    Parameters
    ----------
    series : ndarray (n_timepoints, n_rois)
        A parcel with a NaN or an infinity becomes NaN.
    t_r, new_t_r : float
        In seconds. If they are equal, the series is returned unchanged.

    Returns
    -------
    ndarray (n_resampled, n_rois), float32
        The first timepoint is that of `series`.
    """
    if same_t_r(t_r, new_t_r):
        return series.astype(np.float32, copy=False)
    from scipy.interpolate import CubicSpline
    from scipy.signal import butter, sosfiltfilt

    n = len(series)
    new = np.full((n_resampled(n, t_r, new_t_r), series.shape[1]), np.nan, np.float32)
    known = np.isfinite(series).all(axis=0)
    x = series[:, known].astype(np.float64)
    if new_t_r > t_r:
        low_pass = butter(ORDER, MARGIN * t_r / new_t_r, output="sos")
        x = sosfiltfilt(low_pass, x, axis=0, padlen=min(6 * ORDER, n - 1))
    spline = CubicSpline(np.arange(n) * t_r, x, axis=0)
    new[:, known] = spline(np.arange(len(new)) * new_t_r)
    return new
