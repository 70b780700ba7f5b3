"""Confounds of a run, with fMRIPrep's column names, and `_lag1` for C-PAC's lag terms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from brainmass_core.tables import atomic_path

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
N_COMPONENTS = 10
STD_DVARS_OUTLIER = 1.5  # fMRIPrep's default
HIGH_PASS = 128.0  # s, longest period that fMRIPrep's cosines remove
BLOCK = 2**21  # values per block, in float64
ROBUST_SD = 1.349  # interquartile range of a normal distribution of standard deviation 1


def dvars(
    series: np.ndarray, intensity_normalization: float = 1000.0
) -> tuple[np.ndarray, np.ndarray]:
    """DVARS and standardised DVARS (Power 2012; Nichols 2013).

    Parameters
    ----------
    series : ndarray (n_volumes, n_voxels)
        Realigned, inside the brain.
    intensity_normalization : float
        The median is scaled to this value; 0 does not scale.

    Returns
    -------
    dvars : ndarray (n_volumes,)
        Root mean square of the change from the previous volume; NaN for the first.
    std_dvars : ndarray (n_volumes,)
        Relative to the expected value for temporally correlated noise of the same amplitude.
    """
    n = len(series)
    spread = np.concatenate([np.empty(0), *(_interquartile(x) for _, x in blocks(series))])
    spread /= ROBUST_SD
    varies = spread > 0
    if not varies.any():
        return np.full(n, np.nan), np.full(n, np.nan)
    squares, expected = np.zeros(n - 1), 0.0
    for place, block in blocks(series):
        x, own = block[:, varies[place]], spread[place][varies[place]]
        squares += (np.diff(x, axis=0) ** 2).sum(axis=1)
        x = x - x.mean(axis=0)
        lag = (x[1:] * x[:-1]).sum(axis=0) / (x**2).sum(axis=0)
        expected += float((np.sqrt(2 * (1 - lag)) * own).sum())
    change = np.concatenate([[np.nan], np.sqrt(squares / varies.sum())])
    standardised = change / (expected / varies.sum())
    if intensity_normalization:
        values = series[:, varies].ravel(order="K")  # the only copy, partially sorted in place
        change *= intensity_normalization / np.median(values, overwrite_input=True)
    return change, standardised


def blocks(series: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Iterate over blocks of columns of series (n_volumes, n_voxels), as float64 with their slice.

    A complete run in float64 would need too much memory.

    Parameters
    ----------
    series : ndarray (n_volumes, n_voxels)

    Yields
    ------
    place : slice
        Columns of the block.
    block : ndarray (n_volumes, n_columns) of float64
    """
    step = max(1, BLOCK // max(len(series), 1))
    for start in range(0, series.shape[1], step):
        place = slice(start, start + step)
        yield place, np.asarray(series[:, place], dtype=np.float64)


def _interquartile(x: np.ndarray) -> np.ndarray:
    low, high = np.percentile(x, [25, 75], axis=0, method="lower")
    return high - low


def compcor(series: np.ndarray, n_components: int = N_COMPONENTS) -> np.ndarray:
    """Principal components of noise voxels (Behzadi 2007, anatomical), linear trend removed.

    Parameters
    ----------
    series : ndarray (n_volumes, n_voxels)
        Inside white matter and CSF.

    Returns
    -------
    ndarray (n_volumes, min(n_components, what the data allow))
        Unit length, sorted by variance; the entry with the largest absolute value is positive.
    """
    n_volumes = len(series)
    spread = np.concatenate([np.empty(0), *(detrended(x).std(axis=0) for _, x in blocks(series))])
    varies = spread > 1e-9 * max(1.0, spread.max(initial=0))
    n_components = min(n_components, int(varies.sum()), max(0, n_volumes - 2))
    if n_components == 0:
        return np.empty((n_volumes, 0))
    products = np.zeros((n_volumes, n_volumes))  # the smaller of the two Gram matrices
    for place, block in blocks(series):
        x = detrended(block[:, varies[place]]) / spread[place][varies[place]]
        products += x @ x.T
    values, vectors = np.linalg.eigh(products)
    components = vectors[:, np.argsort(values)[::-1][:n_components]]
    largest = np.abs(components).argmax(axis=0)
    return components * np.sign(components[largest, np.arange(n_components)])


def detrended(series: np.ndarray) -> np.ndarray:
    """Series (n_volumes, n_signals) without mean and linear trend.

    Parameters
    ----------
    series : ndarray (n_volumes, n_signals)

    Returns
    -------
    ndarray (n_volumes, n_signals)
    """
    time = np.linspace(-1, 1, len(series))
    design = np.stack([np.ones_like(time), time], axis=1)
    return series - design @ (np.linalg.pinv(design) @ series)


def cosines(n_volumes: int, t_r: float, period: float = HIGH_PASS) -> np.ndarray:
    """Slow cosines of periods from twice the duration of the run down to `period`, of unit norm.

    Parameters
    ----------
    t_r, period : float
        s.

    Returns
    -------
    ndarray (n_volumes, n)
        A discrete cosine basis without its constant.
    """
    n = int(np.floor(2 * n_volumes * t_r / period))
    times = np.arange(n_volumes) + 0.5
    waves = [np.cos(np.pi * k * times / n_volumes) for k in range(1, n + 1)]
    return np.sqrt(2 / n_volumes) * np.array(waves).reshape(n, n_volumes).T


def expanded(columns: pd.DataFrame, lag: bool = False) -> pd.DataFrame:
    """Add derivatives, squares and optionally lags to columns.

    Parameters
    ----------
    columns : DataFrame (n_volumes, n)
    lag : bool
        Also ``_lag1`` and ``_lag1_power2``: with squares, Friston's 24 as in C-PAC.

    Returns
    -------
    DataFrame
        The first row of derivatives and lags is NaN.
    """
    parts = {}
    for name, column in columns.items():
        change = column.diff()
        parts[name] = column
        parts[f"{name}_derivative1"] = change
        parts[f"{name}_power2"] = column**2
        parts[f"{name}_derivative1_power2"] = change**2
        if lag:
            parts[f"{name}_lag1"] = column.shift(1)
            parts[f"{name}_lag1_power2"] = column.shift(1) ** 2
    return pd.DataFrame(parts)


def confounds_table(
    parameters: np.ndarray,
    displacement: dict[str, np.ndarray],
    change: tuple[np.ndarray, np.ndarray],
    signals: dict[str, np.ndarray],
    components: np.ndarray,
    t_r: float,
    fd_threshold: float,
) -> pd.DataFrame:
    """All confounds of a run.

    Parameters
    ----------
    parameters : ndarray (n_volumes, 6)
        mm and rad, see `motion.motion_parameters`.
    displacement : dict
        ``framewise_displacement`` and ``rmsd`` (n_volumes,), mm.
    change : tuple of ndarray (n_volumes,)
        DVARS and standardised DVARS.
    signals : dict
        ``csf``, ``white_matter``, ``global_signal`` (n_volumes,).
    components : ndarray (n_volumes, n_components)
        aCompCor.
    t_r : float
        Repetition time in s.
    fd_threshold : float
        mm; volumes above it, or with std_dvars above 1.5, get a column ``motion_outlier_XX``.

    Returns
    -------
    DataFrame (n_volumes rows)
    """
    fd = displacement["framewise_displacement"]
    outliers = np.flatnonzero((fd > fd_threshold) | (change[1] > STD_DVARS_OUTLIER))
    spikes = np.eye(len(parameters))[:, outliers]
    slow = cosines(len(parameters), t_r)
    parts = [
        expanded(pd.DataFrame(parameters, columns=list(MOTION)), lag=True),
        expanded(pd.DataFrame(signals)),
        pd.DataFrame({**displacement, "dvars": change[0], "std_dvars": change[1]}),
        _numbered(components, "a_comp_cor_"),
        _numbered(slow, "cosine"),
        _numbered(spikes, "motion_outlier"),
    ]
    return pd.concat(parts, axis=1)


def _numbered(columns: np.ndarray, name: str) -> pd.DataFrame:
    names = [f"{name}{i:02d}" for i in range(columns.shape[1])]
    return pd.DataFrame(columns, columns=names)


def save_confounds(path: Path, confounds: pd.DataFrame) -> None:
    """Write the table as in fMRIPrep: tab-separated, with ``n/a`` for missing values.

    Parameters
    ----------
    confounds : DataFrame (n_volumes rows)
    """
    with atomic_path(path) as temporary:
        confounds.to_csv(temporary, sep="\t", index=False, na_rep="n/a", float_format="%.9g")
