"""Despiking: reduce single values far from the smooth time course of their voxel.

Similar to AFNI's 3dDespike: a smooth curve is fitted robustly to each voxel's series, residuals are
measured in robust standard deviations, and values beyond a first threshold are compressed to remain
below a second one.
"""

from __future__ import annotations

import numpy as np

CUT = (2.5, 4.0)  # robust standard deviations: start of compression, and its limit
PERIOD = 30  # volumes for each sine and cosine of the curve, as in 3dDespike
START = 4.0  # robust standard deviations at which the series is clipped before the first fit
WINSOR = 1.5  # robust standard deviations of the residual, in the robust fit (Huber)
ITERATIONS = 5  # of the robust fit
MAD_TO_SD = 1.4826  # of a normal distribution
IN_HEAD = 0.1  # of the 98th percentile of the mean volume: darker voxels are air


def despike(data: np.ndarray, copy: bool = True) -> tuple[np.ndarray, float]:
    """Despike a run, voxel by voxel.

    Parameters
    ----------
    data : ndarray (x, y, z, n_volumes)
        Finite values.
    copy : bool
        False changes `data` itself, slice by slice.

    Returns
    -------
    data : ndarray (x, y, z, n_volumes) of float32, or `data`
    share : float
        Fraction of the values inside the head that were changed.
    """
    out = np.array(data, dtype=np.float32) if copy else data
    n_volumes = data.shape[3]
    inside = _head(out)
    changed = 0
    for z in range(out.shape[2]):
        chosen = inside[:, :, z]
        if chosen.any():
            block = out[:, :, z][chosen]
            block, spikes = despike_series(block.T)
            out[:, :, z][chosen] = block.T
            changed += spikes
    return out, changed / max(int(inside.sum()) * n_volumes, 1)


def _head(data: np.ndarray) -> np.ndarray:
    """Mask of voxels (x, y, z) that are not air."""
    mean = np.zeros(data.shape[:3])
    for t in range(data.shape[3]):  # volume by volume, to avoid a copy of the run
        mean += data[..., t]
    return mean > IN_HEAD * np.percentile(mean, 98)


def despike_series(series: np.ndarray) -> tuple[np.ndarray, int]:
    """Despike series.

    With s the distance from the smooth curve in robust standard deviations, and the cuts c1, c2
    (`CUT`), values of s above c1 become ``c1 + (c2 - c1) * tanh((s - c1) / (c2 - c1))``.

    Parameters
    ----------
    series : ndarray (n_volumes, n_series)

    Returns
    -------
    series : ndarray (n_volumes, n_series) of float32
    n_changed : int
        Number of changed values.
    """
    basis = smooth_basis(len(series)).astype(np.float32)
    level = series.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = np.asarray(series, dtype=np.float32) - level
    curve, spread = robust_fit(centred, basis)
    low, high = CUT
    rest = centred - curve
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.abs(rest) / spread
    spikes = size > low  # false for constant series
    squashed = low + (high - low) * np.tanh((size[spikes] - low) / (high - low))
    scale = np.broadcast_to(spread, size.shape)[spikes]
    out = np.array(series, dtype=np.float32)
    before = out[spikes]
    out[spikes] = (curve + level)[spikes] + np.sign(rest[spikes]) * squashed * scale
    return out, int((out[spikes] != before).sum())


def smooth_basis(n_volumes: int) -> np.ndarray:
    """Orthonormal quadratic polynomial, sines and cosines (n_volumes, n) for the smooth curve.

    Returns
    -------
    ndarray (n_volumes, n)
    """
    time = np.linspace(-1, 1, n_volumes)
    angle = np.pi * (time + 1) * np.arange(1, n_volumes // PERIOD + 1)[:, None]
    columns = [time**0, time, time**2, *np.sin(angle), *np.cos(angle)]
    return np.linalg.qr(np.stack(columns, axis=1))[0]


def robust_fit(series: np.ndarray, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Robust fit: residuals are winsorised and fitted again (Huber 1981).

    Parameters
    ----------
    series : ndarray (n_volumes, n_series) of float32
    basis : ndarray (n_volumes, n) of float32
        Orthonormal columns.

    Returns
    -------
    curve : ndarray (n_volumes, n_series)
    spread : ndarray (n_series,)
        Robust standard deviation of the residuals.
    """
    middle = np.median(series, axis=0)
    spread = START * MAD_TO_SD * np.median(np.abs(series - middle), axis=0)
    # clip spikes before the first fit, which would follow them at the ends of a run
    curve = basis @ (basis.T @ np.clip(series, middle - spread, middle + spread))
    for i in range(ITERATIONS):
        rest = series - curve
        if i in (0, 1, ITERATIONS - 1):  # sorting is the expensive part
            spread = MAD_TO_SD * np.median(np.abs(rest), axis=0)
        curve += basis @ (basis.T @ np.clip(rest, -WINSOR * spread, WINSOR * spread))
    return curve, MAD_TO_SD * np.median(np.abs(series - curve), axis=0)
