"""Nuisance regression, filter and censoring of parcel series, as one linear map.

Averaging and regression commute, so a model on the parcels equals one on the voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from brainmass_core.config.load import parse_section
from brainmass_core.config.timeseries import Timeseries
from brainmass_core.timeseries.censor import censored_volumes, fill_matrix
from brainmass_core.timeseries.design import design_matrix
from brainmass_core.timeseries.filters import filter_matrix, ideal_bandpass, terms_outside

__all__ = ["Cleaned", "NoFreedomError", "clean", "clean_series", "ideal_bandpass"]

# the scales of columns in a design differ by orders of magnitude, so the rank needs a tolerance
RANK_TOLERANCE = 1e-9


class NoFreedomError(ValueError):
    """A model leaves no degrees of freedom."""


@dataclass(frozen=True)
class Cleaned:
    """A cleaned run.

    Attributes
    ----------
    series : ndarray (n_kept, n_rois)
    residual_dof : float
        Trace of the linear map from the kept volumes to `series`: the number of remaining
        dimensions of the data.
    kept : ndarray (n_timepoints,) of bool
        Volumes in `series`.
    n_regressors : int
        Columns of the design, including those for censored volumes, without those of the filter.
    """

    series: np.ndarray
    residual_dof: float
    kept: np.ndarray
    n_regressors: int


@dataclass(frozen=True)
class _Map:
    """The linear map y = after (1 - Q Q') before x on the kept volumes; None means identity."""

    basis: np.ndarray
    before: np.ndarray | None = None
    after: np.ndarray | None = None

    def of(self, x: np.ndarray) -> np.ndarray:
        z = x if self.before is None else self.before @ x
        z = z - self.basis @ (self.basis.T @ z)
        return z if self.after is None else self.after @ z

    @property
    def trace(self) -> float:
        q = self.basis
        left = q if self.after is None else self.after @ q
        right = q if self.before is None else self.before.T @ q
        if self.before is None or self.after is None:
            one = self.before if self.after is None else self.after
            whole = len(q) if one is None else np.trace(one)
        else:
            whole = np.sum(self.after * self.before.T)
        return float(whole - np.sum(left * right))


def clean(
    x: np.ndarray,
    t_r: float,
    design: np.ndarray | None = None,
    low_hz: float | None = None,
    high_hz: float | None = None,
    order: str = "regress_then_filter",
    *,
    kind: str = "ideal",
    n_drift: int = 1,
    censored: np.ndarray | None = None,
    method: str = "none",
) -> Cleaned:
    """Remove nuisance regressors, frequencies outside a band, and volumes with motion.

    Parameters
    ----------
    x : ndarray (n_timepoints, n_rois)
    t_r : float
        In s.
    design : ndarray (n_timepoints, n_regressors), optional
        Its last columns are the polynomials. Default: only the constant.
    low_hz, high_hz : float or None
        Band in Hz; both None: no filter.
    order : {"regress_then_filter", "joint"}
        `regress_then_filter`: regression, then the filter, as in C-PAC; filtering reintroduces part
        of the confounds. `joint`: no reintroduction, but fewer degrees of freedom remain. With
        `ideal` and `cosine` it is one projection orthogonal to both the design and the frequencies
        outside the band; with `butterworth`, as in nilearn, the polynomials are removed, series and
        design are filtered in the same way, and then the regression follows.
    kind : {"ideal", "butterworth", "cosine"}
        The filter, see `brainmass_core.timeseries.filters`.
    n_drift : int
        Number of polynomial columns of the design, including the constant.
    censored : ndarray (n_timepoints,) of bool, optional
        Volumes with motion. Default: none.
    method : {"none", "spike_regression", "interpolate", "remove"}
        Handling of censored volumes. `interpolate`: series and design are interpolated by a spline
        before regression and filter; `remove`: the regression only uses the other volumes, and its
        residual is interpolated for the filter. Both remove them from the result. A joint
        Butterworth filter needs a complete run, so `remove` is the same as `interpolate` there.

    Returns
    -------
    Cleaned

    Raises
    ------
    NoFreedomError
        If fewer than two degrees of freedom remain.
    ValueError
        If the run has no frequency in the band.
    """
    x = np.asarray(x, dtype=np.float64)
    n = len(x)
    design = np.ones((n, 1)) if design is None else np.asarray(design, dtype=np.float64)
    bad = np.zeros(n, dtype=bool) if censored is None else np.asarray(censored, dtype=bool)
    if method == "spike_regression":
        design = np.column_stack([np.eye(n)[:, bad], design])
    kept = ~bad if method in ("interpolate", "remove") else np.ones(n, dtype=bool)
    if kept.sum() < 2:
        raise NoFreedomError(f"{int(bad.sum())} of {n} volumes are censored")
    if low_hz is None and high_hz is None:
        kind = "none"
    band = (kind, n, t_r, low_hz, high_hz)
    fill = None if kept.all() else fill_matrix(kept)
    if order == "joint" and kind == "butterworth":
        linear = _filtered_model(design, band, n_drift, kept, fill)
    else:
        linear = _projected_model(design, band, order, kept, fill if method != "remove" else None)
        if method == "remove" and fill is not None and linear.after is not None:
            linear = _Map(linear.basis, None, linear.after[kept] @ fill)
    dof = linear.trace
    if dof < 2:
        raise NoFreedomError(
            f"{linear.basis.shape[1]} regressors leave {dof:.0f} of {int(kept.sum())} volumes' "
            f"degrees of freedom (the run has {n} volumes); use fewer regressors, a wider band, "
            "milder censoring or longer runs"
        )
    return Cleaned(linear.of(x[kept]), dof, kept, design.shape[1])


def clean_series(
    series: np.ndarray, t_r: float, confounds: pd.DataFrame | None = None, **settings: Any
) -> np.ndarray:
    """Clean parcel series as the stage `timeseries` does.

    Parameters
    ----------
    series : ndarray (n_timepoints, n_rois)
        Finite.
    t_r : float
        Repetition time in s.
    confounds : DataFrame (n_timepoints rows), optional
        Columns named as in fMRIPrep. Default: no regression, only the filter.
    **settings
        Settings of section ``timeseries`` of the configuration, such as ``motion="6"``,
        ``high_hz=None`` or ``censor={"method": "remove"}``; the defaults follow C-PAC.

    Returns
    -------
    ndarray (n_kept, n_rois)
        Without the censored volumes if ``censor`` removes them.

    Raises
    ------
    ConfoundsError
        If a column is missing or has missing values.
    NoFreedomError
        If fewer than two degrees of freedom remain.
    ConfigError
        If a setting is not known or not allowed.
    ValueError
        If the series are not two-dimensional or not finite, or the confounds have another length.
    """
    series = np.asarray(series, dtype=np.float64)
    if series.ndim != 2 or not np.isfinite(series).all():
        raise ValueError(
            f"found series of shape {series.shape}, expected finite values (n_timepoints, n_rois)"
        )
    chosen, design, censored = parse_section("timeseries", settings), None, None
    if confounds is not None:
        if len(confounds) != len(series):
            raise ValueError(
                f"found {len(confounds)} rows of confounds and {len(series)} timepoints, expected "
                "as many"
            )
        design = design_matrix(confounds, chosen).to_numpy()
        censored = censored_volumes(confounds, chosen.censor)
    return modelled(series, t_r, design, censored, (chosen.low_hz, chosen.high_hz), chosen).series


def modelled(
    series: np.ndarray,
    t_r: float,
    design: np.ndarray | None,
    censored: np.ndarray | None,
    band: tuple[float | None, float | None],
    settings: Timeseries,
) -> Cleaned:
    """Apply `clean` with the settings of the configuration; without a model return the series.

    Parameters
    ----------
    series : ndarray (n_timepoints, n_rois)
    t_r : float
        In s.
    design : ndarray (n_timepoints, n_regressors) or None
        Result of `design_matrix`. None: only the filter is applied.
    censored : ndarray (n_timepoints,) of bool or None
        Volumes to censor; `settings.censor.method` says how.
    band : tuple
        Lower and upper limit in Hz, None for no limit.

    Returns
    -------
    Cleaned
        Its series is (n_kept, n_rois). Without a design and a band it is `series` itself with
        n_timepoints - 1 degrees of freedom.

    Raises
    ------
    NoFreedomError
        If fewer than two degrees of freedom remain.
    ValueError
        If the run has no frequency in the band, or is too short for the filter.
    """
    if design is None and band == (None, None):
        return Cleaned(series, len(series) - 1.0, np.ones(len(series), dtype=bool), 0)
    return clean(
        *(series, t_r, design, *band, settings.order),
        kind=settings.filter,
        n_drift=1 if design is None else settings.polynomial_order + 1,
        censored=censored,
        method=settings.censor.method,
    )


Band = tuple[str, int, float, float | None, float | None]


def _projected_model(
    design: np.ndarray, band: Band, order: str, kept: np.ndarray, fill: np.ndarray | None
) -> _Map:
    """Regression on the kept volumes or, with `fill`, on the interpolated run; then the filter.

    Without `fill`, the following filter is that of a complete run.
    """
    kind = band[0]
    design = design[kept]
    outside = np.empty((len(kept), 0))
    after = None
    if kind != "none" and order == "joint":
        outside = terms_outside(*band)
    elif kind != "none":
        after = filter_matrix(*band)
    if fill is None:
        return _Map(_orthonormal(np.column_stack([design, outside[kept]])), None, after)
    basis = _orthonormal(np.column_stack([fill @ design, outside]))
    return _Map(basis, fill, (np.eye(len(kept)) if after is None else after)[kept])


def _filtered_model(
    design: np.ndarray, band: Band, n_drift: int, kept: np.ndarray, fill: np.ndarray | None
) -> _Map:
    """Polynomials, then the filter on series and design, then regression on the kept volumes."""
    drift = _orthonormal(design[:, design.shape[1] - n_drift :])
    before = filter_matrix(*band)
    before = before - (before @ drift) @ drift.T
    if fill is not None:
        before = before[kept] @ fill
    confounds = design[kept, : design.shape[1] - n_drift]
    filtered = before @ confounds
    # a regressor that the filter removes leaves only rounding errors
    left = np.linalg.norm(filtered, axis=0) > RANK_TOLERANCE * np.linalg.norm(confounds, axis=0)
    filtered = filtered[:, left] - filtered[:, left].mean(axis=0)
    return _Map(_orthonormal(filtered), before)


def _orthonormal(design: np.ndarray) -> np.ndarray:
    """Orthonormal basis (n_timepoints, rank) of the columns, independent of their scale."""
    norms = np.linalg.norm(design, axis=0)
    left, singular, _ = np.linalg.svd(design[:, norms > 0] / norms[norms > 0], full_matrices=False)
    return left[:, singular > RANK_TOLERANCE * singular[:1].sum()]
