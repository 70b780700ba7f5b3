"""Nuisance regression and band-pass on parcel series.

Averaging and regression commute, so a model on the parcels equals one on the voxels.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.polynomial.legendre import legvander

from brainmass_core.config.timeseries import Timeseries

MOTION = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
# squares of millimetre motion and offsets of thousands meet in one design, so rank needs a margin
RANK_TOLERANCE = 1e-9


class ConfoundsError(ValueError):
    """A confounds table that lacks what the model needs."""


class NoFreedomError(ValueError):
    """A model that leaves nothing of the data."""


def ideal_bandpass(
    x: np.ndarray, t_r: float, low_hz: float | None, high_hz: float | None
) -> np.ndarray:
    """Keep the frequencies of a band and nothing else, the way C-PAC does.

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
    """Which bins (N / 2 + 1,) of the padded transform lie in the band."""
    size = _padded(n)
    bins = np.arange(size // 2 + 1)
    keep = np.ones(len(bins), dtype=bool)
    # the addend undoes binary fractions: 0.1 Hz * 2 s * 125 is bin 25, not 24.999...
    if low_hz is not None:
        keep &= bins >= np.ceil(low_hz * size * t_r - 1e-9)
    if high_hz is not None:
        keep &= bins <= np.floor(high_hz * size * t_r + 1e-9)
    if not keep.any():
        raise ValueError(
            f"no frequency of a run of {n} volumes at t_r {t_r:g} s lies between {low_hz} and "
            f"{high_hz} Hz (it reaches {0.5 / t_r:g} Hz); change timeseries.low_hz and high_hz"
        )
    return keep


def design_matrix(confounds: pd.DataFrame, settings: Timeseries) -> pd.DataFrame:
    """Nuisance regressors of one run.

    Motion terms are computed from the six parameters, so that any pipeline's table will do: with
    R the parameters at time t, `24_lag` is R(t), R(t-1) and their squares (Friston 1996,
    doi:10.1002/mrm.1910350312), `24_derivative` has R(t) - R(t-1) in place of R(t-1).

    Parameters
    ----------
    confounds : DataFrame (n_timepoints rows)
        Columns named as fMRIPrep does: ``trans_x`` ... ``rot_z``, ``csf``, ``white_matter``,
        ``global_signal``, ``a_comp_cor_00`` ...

    Returns
    -------
    DataFrame (n_timepoints rows)
        With the polynomials ``polynomial_0`` (the constant) and up.

    Raises
    ------
    ConfoundsError
        Naming the columns that are missing or that hold missing values.
    """
    names = [f"a_comp_cor_{i:02d}" for i in range(settings.n_compcor)]
    names += ["csf"] * settings.csf + ["white_matter"] * settings.white_matter
    names += ["global_signal"] * settings.global_signal
    needed = names + (MOTION if settings.motion != "none" else [])
    values = _columns(confounds, needed)
    design = values[names].copy()
    if settings.motion != "none":
        design = pd.concat([_motion_terms(values[MOTION], settings.motion), design], axis=1)
    drift = legvander(np.linspace(-1, 1, len(confounds)), settings.polynomial_order)
    for order, column in enumerate(drift.T):
        design[f"polynomial_{order}"] = column
    return design


def _columns(confounds: pd.DataFrame, needed: list[str]) -> pd.DataFrame:
    missing = [n for n in needed if n not in confounds]
    if missing:
        raise ConfoundsError(
            f"the confounds table lacks the columns {missing}; turn these regressors off in "
            "`timeseries`, or write the table anew with them"
        )
    values = confounds[needed].astype(float)
    bad = [n for n in needed if not np.isfinite(values[n]).all()]
    if bad:
        raise ConfoundsError(
            f"the confounds {bad} hold missing values; expected a number for every volume"
        )
    return values


def _motion_terms(motion: pd.DataFrame, kind: str) -> pd.DataFrame:
    if kind == "6":
        return motion
    if kind == "24_lag":
        second = motion.shift(1, fill_value=0.0).add_suffix("_lag1")
    else:
        second = motion.diff().fillna(0.0).add_suffix("_derivative1")
    terms = pd.concat([motion, second], axis=1)
    return pd.concat([terms, (terms**2).add_suffix("_power2")], axis=1)


def clean(
    x: np.ndarray,
    t_r: float,
    design: np.ndarray | None = None,
    low_hz: float | None = None,
    high_hz: float | None = None,
    order: str = "regress_then_filter",
) -> tuple[np.ndarray, float]:
    """Remove nuisance regressors and what lies outside a frequency band.

    Parameters
    ----------
    x : ndarray (n_timepoints, n_rois)
    t_r : float
        In s.
    design : ndarray (n_timepoints, n_regressors), optional
        With the constant. Default: the constant alone.
    low_hz, high_hz : float or None
        Band in Hz; both None: no filter.
    order : {"regress_then_filter", "joint"}
        `regress_then_filter`: regression, then `ideal_bandpass`, as in C-PAC; filtering brings
        some of the confounds back. `joint`: one projection on what is orthogonal both to the
        design and to all sines and cosines outside the band; nothing comes back, but more of the
        data is spent.

    Returns
    -------
    cleaned : ndarray (n_timepoints, n_rois)
    residual_dof : float
        Trace of the linear map from `x` to `cleaned`: the
        number of dimensions of the data that are left.

    Raises
    ------
    NoFreedomError
        If fewer than two dimensions are left.
    ValueError
        If the run has no frequency in the band.
    """
    x = np.asarray(x, dtype=np.float64)
    n = len(x)
    design = np.ones((n, 1)) if design is None else np.asarray(design, dtype=np.float64)
    band = low_hz is not None or high_hz is not None
    if band and order == "joint":
        design = np.column_stack([design, _sines_outside(n, t_r, low_hz, high_hz)])
    basis = _orthonormal(design)
    residual = x - basis @ (basis.T @ x)
    dof = float(n - basis.shape[1])
    if band and order == "regress_then_filter":
        residual = ideal_bandpass(residual, t_r, low_hz, high_hz)
        dof = _filtered_dof(basis, t_r, low_hz, high_hz)
    if dof < 2:
        raise NoFreedomError(
            f"{basis.shape[1]} regressors leave {dof:.0f} of {n} volumes' degrees of freedom; "
            "use fewer regressors, a wider band or longer runs"
        )
    return residual, dof


def _orthonormal(design: np.ndarray) -> np.ndarray:
    """Orthonormal basis (n_timepoints, rank) of the columns, whatever their scale."""
    norms = np.linalg.norm(design, axis=0)
    left, singular, _ = np.linalg.svd(design[:, norms > 0] / norms[norms > 0], full_matrices=False)
    return left[:, singular > RANK_TOLERANCE * singular[:1].sum()]


def _filtered_dof(
    basis: np.ndarray, t_r: float, low_hz: float | None, high_hz: float | None
) -> float:
    """Trace of filter times residual projection."""
    n = len(basis)
    keep = _kept_bins(n, t_r, low_hz, high_hz)
    keep[0] = False  # `ideal_bandpass` removes the mean
    twice = np.full(len(keep), 2)  # a bin stands for a positive and a negative frequency
    twice[-1] = 1
    share = np.sum(twice[keep]) / _padded(n)
    return float(n * share - np.sum(basis * _mask_spectrum(basis, keep)))


def _mask_spectrum(x: np.ndarray, keep: np.ndarray) -> np.ndarray:
    n = len(x)
    return np.fft.irfft(np.fft.rfft(x, _padded(n), axis=0) * keep[:, None], _padded(n), axis=0)[:n]


def _sines_outside(n: int, t_r: float, low_hz: float | None, high_hz: float | None) -> np.ndarray:
    """Sines and cosines (n, n_terms) of all Fourier frequencies of the run outside the band."""
    f = np.fft.rfftfreq(n, t_r)
    outside = (f < (low_hz or 0.0)) | (f > (np.inf if high_hz is None else high_hz))
    if outside.all():
        raise ValueError(
            f"no frequency of a run of {n} volumes at t_r {t_r:g} s lies between {low_hz} and "
            f"{high_hz} Hz; change timeseries.low_hz and high_hz"
        )
    phase = 2 * np.pi * np.outer(np.arange(n) * t_r, f[outside])
    return np.column_stack([np.cos(phase), np.sin(phase)])
