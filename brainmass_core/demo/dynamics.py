"""Activity of the synthetic brains: networks that fluctuate together, and a group difference."""

from __future__ import annotations

import numpy as np

NETWORKS = ("Vis", "SomMot", "DorsAttn", "SalVentAttn", "Limbic", "Cont", "Default")
# correlation between the networks' common signals; signs as usually reported at rest
BETWEEN = {
    ("Vis", "SomMot"): 0.30,
    ("Vis", "DorsAttn"): 0.30,
    ("SomMot", "DorsAttn"): 0.25,
    ("SomMot", "SalVentAttn"): 0.30,
    ("DorsAttn", "SalVentAttn"): 0.20,
    ("DorsAttn", "Cont"): 0.25,
    ("SalVentAttn", "Default"): -0.25,
    ("Limbic", "Default"): 0.30,
    ("Cont", "Default"): 0.20,
}
# the simulated effect: default mode and dorsal attention are anticorrelated in controls only
DEFAULT_DORSATTN = {"control": -0.45, "patient": 0.35}
DT = 0.25  # s; the signals end at 0.15 Hz, so linear interpolation between such samples suffices


def network_correlation(group: str) -> np.ndarray:
    """Correlation of the seven networks' common signals.

    Parameters
    ----------
    group : {"control", "patient"}

    Returns
    -------
    ndarray (7, 7)
        Positive definite, in the order of `NETWORKS`.
    """
    pairs = {**BETWEEN, ("DorsAttn", "Default"): DEFAULT_DORSATTN[group]}
    matrix = np.eye(len(NETWORKS))
    for (a, b), value in pairs.items():
        i, j = NETWORKS.index(a), NETWORKS.index(b)
        matrix[i, j] = matrix[j, i] = value
    return matrix


def parcel_signals(
    rng: np.random.Generator, networks: list[str], group: str, duration: float
) -> np.ndarray:
    """Parcel activity in continuous time, sampled every `DT` seconds from 0.

    Each parcel is the common signal of its network plus its own; all share a haemodynamic-like
    spectrum.

    Parameters
    ----------
    networks : list of str
        Network of each parcel.
    duration : float
        In seconds.

    Returns
    -------
    ndarray (n_samples, n_rois)
        Mean 0 and standard deviation 1 in every parcel.
    """
    n_samples = int(np.ceil(duration / DT)) + 2
    root = np.linalg.cholesky(network_correlation(group))
    common = low_frequency(rng, n_samples, len(NETWORKS)) @ root.T
    own = low_frequency(rng, n_samples, len(networks))
    member = np.array([NETWORKS.index(n) for n in networks])
    loading = rng.uniform(0.65, 0.85, len(networks))
    signals = loading * common[:, member] + np.sqrt(1 - loading**2) * own
    signals -= signals.mean(axis=0)
    return signals / signals.std(axis=0)


def low_frequency(rng: np.random.Generator, n_samples: int, n_signals: int) -> np.ndarray:
    """Gaussian signals whose power decreases from 0.01 Hz and is 0 at 0.15 Hz.

    Returns
    -------
    ndarray (n_samples, n_signals)
        Sampled every `DT` seconds, expected variance 1.
    """
    n = 2 * n_samples  # twice as long, so that the ends are not correlated
    f = np.fft.rfftfreq(n, DT)
    gain = (f > 0.01) / (1 + (f / 0.05) ** 2) * np.exp(-((f / 0.1) ** 4))
    spectrum = np.fft.rfft(rng.standard_normal((n, n_signals)), axis=0)
    signals = np.fft.irfft(spectrum * gain[:, None], n, axis=0)[:n_samples]
    return signals / np.sqrt(2 * np.sum(gain**2) / n)


def at_times(signals: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Interpolate signals at any times.

    Parameters
    ----------
    signals : ndarray (n_samples, n_signals)
        Sampled every `DT` seconds from 0.
    times : ndarray (...)
        In seconds.

    Returns
    -------
    ndarray (..., n_signals)
    """
    position = np.clip(np.asarray(times) / DT, 0, len(signals) - 1.001)
    before = np.floor(position).astype(int)
    weight = (position - before)[..., None]
    return (1 - weight) * signals[before] + weight * signals[before + 1]
