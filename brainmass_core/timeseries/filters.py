"""Temporal filters of parcel series; each is a linear map of the series of one run."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from brainmass_core.preprocess.functional.confounds import cosines

BUTTERWORTH_ORDER = 5  # nilearn's


def ideal_bandpass(
    x: np.ndarray, t_r: float, low_hz: float | None, high_hz: float | None
) -> np.ndarray:
    """Ideal band-pass filter as in C-PAC: keep only the frequencies of a band.

    The mean is removed, the series is padded with zeros to the next power of two, and the bins
    from ceil(low·N·t_r) to floor(high·N·t_r) of its Fourier transform are kept.

    Parameters
    ----------
    x : ndarray (n_timepoints, n_rois)
    t_r : float
        In s.
    low_hz, high_hz : float or None
        Limits in Hz, None for no limit. The mean is removed in any case.

    Returns
    -------
    ndarray (n_timepoints, n_rois)

    Raises
    ------
    ValueError
        If the run has no frequency in the band.
    """
    x = np.asarray(x, dtype=np.float64)
    n = len(x)
    keep = _kept_bins(n, t_r, low_hz, high_hz)
    spectrum = np.fft.rfft(x - x.mean(axis=0), _padded(n), axis=0)
    return np.fft.irfft(spectrum * keep[:, None], _padded(n), axis=0)[:n]


def _padded(n_timepoints: int) -> int:
    return 1 << (n_timepoints - 1).bit_length()


def _kept_bins(n: int, t_r: float, low_hz: float | None, high_hz: float | None) -> np.ndarray:
    """Whether bins (N / 2 + 1,) of the padded transform are in the band."""
    size = _padded(n)
    bins = np.arange(size // 2 + 1)
    keep = np.ones(len(bins), dtype=bool)
    # the addend compensates rounding: 0.1 Hz * 2 s * 125 is bin 25, not 24.999...
    if low_hz is not None:
        keep &= bins >= np.ceil(low_hz * size * t_r - 1e-9)
    if high_hz is not None:
        keep &= bins <= np.floor(high_hz * size * t_r + 1e-9)
    if not keep.any():
        raise ValueError(_no_frequency(n, t_r, low_hz, high_hz))
    return keep


def _no_frequency(n: int, t_r: float, low_hz: float | None, high_hz: float | None) -> str:
    return (
        f"no frequency of a run of {n} volumes at t_r {t_r:g} s lies between {low_hz} and "
        f"{high_hz} Hz (it reaches {0.5 / t_r:g} Hz); change timeseries.low_hz and high_hz"
    )


def butterworth(
    x: np.ndarray, t_r: float, low_hz: float | None, high_hz: float | None
) -> np.ndarray:
    """Butterworth filter of order 5, forwards and backwards, as `nilearn.signal.butterworth`.

    Parameters
    ----------
    x : ndarray (n_timepoints, n_rois)
    t_r : float
        In s.
    low_hz, high_hz : float or None
        Frequencies with a gain of 1/sqrt(2) in each pass, Hz. An upper limit above the Nyquist
        frequency is ignored.

    Returns
    -------
    ndarray (n_timepoints, n_rois)

    Raises
    ------
    ValueError
        If the run has no frequency in the band, or is too short for the filter's padding.
    """
    x = np.asarray(x, dtype=np.float64)
    nyquist = 0.5 / t_r
    if low_hz is not None and low_hz >= nyquist:
        raise ValueError(_no_frequency(len(x), t_r, low_hz, high_hz))
    high_hz = None if high_hz is None or high_hz >= nyquist else high_hz
    limits = [f for f in (low_hz, high_hz) if f is not None]
    if not limits:
        return x.copy()
    kind = "band" if len(limits) == 2 else "high" if low_hz is not None else "low"
    edges = limits if len(limits) == 2 else limits[0]
    from scipy.signal import butter, sosfiltfilt

    sections = butter(BUTTERWORTH_ORDER, edges, kind, output="sos", fs=1.0 / t_r)
    try:
        return sosfiltfilt(sections, x, axis=0)
    except ValueError as error:
        raise ValueError(
            f"a run of {len(x)} volumes is too short for the Butterworth filter ({error}); use "
            "timeseries.filter: ideal"
        ) from None


def slow_cosines(n_timepoints: int, t_r: float, low_hz: float) -> np.ndarray:
    """Slow cosines below a frequency, as fMRIPrep and nilearn use them for a high-pass filter.

    Parameters
    ----------
    n_timepoints : int
    t_r : float
        In s.
    low_hz : float
        Cosines with a period of 1 / `low_hz` or more are returned.

    Returns
    -------
    ndarray (n_timepoints, n)
        Orthonormal columns, without the constant.
    """
    return cosines(n_timepoints, t_r, 1.0 / low_hz)


def terms_outside(
    kind: str, n: int, t_r: float, low_hz: float | None, high_hz: float | None
) -> np.ndarray:
    """Regressors that span what a filter removes.

    Parameters
    ----------
    kind : {"ideal", "cosine"}
        `ideal`: sines and cosines of the run's Fourier frequencies outside the band.
    n : int
        Number of timepoints.
    t_r : float
        In s.
    low_hz, high_hz : float or None
        Hz, None for no limit. `cosine` ignores the upper limit.

    Returns
    -------
    ndarray (n, n_terms)
        Not normalised for `ideal`; n_terms may be 0.

    Raises
    ------
    ValueError
        If the run has no frequency in the band.
    """
    if kind == "cosine":
        return slow_cosines(n, t_r, low_hz) if low_hz is not None else np.empty((n, 0))
    cycles = np.arange(n // 2 + 1)  # per run
    f = cycles / (n * t_r)
    # the margins compensate rounding: a frequency equal to a limit is inside
    outside = np.zeros(len(f), dtype=bool)
    if low_hz is not None:
        outside |= f < low_hz * (1 - 1e-9)
    if high_hz is not None:
        outside |= f > high_hz * (1 + 1e-9)
    if outside.all():
        raise ValueError(_no_frequency(n, t_r, low_hz, high_hz))
    # no sine for the constant and the Nyquist frequency: it would only be rounding errors
    wave = (cycles > 0) & (2 * cycles < n)
    angle = 2 * np.pi * np.arange(n)[:, None] / n
    return np.column_stack(
        [np.cos(angle * cycles[outside]), np.sin(angle * cycles[outside & wave])]
    )


# scans of a data set share length and t_r, so the matrix is usually computed once
@lru_cache(maxsize=4)
def filter_matrix(
    kind: str, n: int, t_r: float, low_hz: float | None, high_hz: float | None
) -> np.ndarray:
    """A filter as a matrix that multiplies a series from the left.

    Parameters
    ----------
    kind : {"ideal", "butterworth", "cosine"}
    n : int
        Number of timepoints.
    t_r : float
        In s.
    low_hz, high_hz : float or None
        Hz.

    Returns
    -------
    ndarray (n, n)
        Read-only, because it is shared between scans of the same length and t_r.

    Raises
    ------
    ValueError
        If the run has no frequency in the band, or is too short.
    """
    if kind == "cosine":
        slow = terms_outside(kind, n, t_r, low_hz, high_hz)
        matrix = np.eye(n) - slow @ slow.T
    else:
        apply = ideal_bandpass if kind == "ideal" else butterworth
        matrix = apply(np.eye(n), t_r, low_hz, high_hz)
    matrix.setflags(write=False)
    return matrix


def filter_text(kind: str, low_hz: float | None, high_hz: float | None) -> str:
    """Description of a filter, such as ``ideal 0.01-0.1 Hz``; ``none`` without limits."""
    if kind == "cosine":
        high_hz = None
    if low_hz is None and high_hz is None:
        return "none"
    if high_hz is None:
        return f"{kind} above {low_hz:g} Hz"
    if low_hz is None:
        return f"{kind} below {high_hz:g} Hz"
    return f"{kind} {low_hz:g}-{high_hz:g} Hz"
