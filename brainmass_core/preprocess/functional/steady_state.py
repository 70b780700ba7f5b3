"""Volumes at the start of a run that were acquired before the magnetisation was in steady state."""

from __future__ import annotations

import logging

import numpy as np

log = logging.getLogger(__name__)

N_JUDGED = 50  # volumes at the start, among which the first ones stand out or not
LONGEST = 20.0  # s; longer than the magnetisation of fluid needs, the slowest
MOST_VOLUMES = 10  # the same, where t_r is not known or long


def global_signal(data: np.ndarray, n_volumes: int = N_JUDGED) -> np.ndarray:
    """Mean (n_volumes,) over all voxels of the first volumes of a run (x, y, z, n)."""
    first = data[..., :n_volumes]
    return np.array([first[..., t].mean(dtype=np.float64) for t in range(first.shape[3])])


def non_steady_volumes(signal: np.ndarray, t_r: float | None = None, what: str = "run") -> int:
    """Number of volumes at the start that stand out from the first fifty.

    A volume stands out if its modified z-score, based on the median absolute deviation, is above
    3.5 (Iglewicz & Hoaglin 1993), as in nipype's ``NonSteadyStateDetector``.

    Parameters
    ----------
    signal : ndarray (n_volumes,)
        Global signal from the start of the run, finite.
    t_r : float, optional
        Repetition time in s.
    what : str
        Of which run, for the warning.

    Returns
    -------
    int
        0, with a warning, where the signal stands out for longer than the magnetisation can need:
        that is something else, and nothing is dropped on account of it.
    """
    from nipype.algorithms.confounds import is_outlier  # a second to import

    signal = np.asarray(signal, dtype=np.float64)[:N_JUDGED]
    if np.median(np.abs(signal - np.median(signal))) == 0:  # nothing to compare with
        return 0
    found = int(is_outlier(signal))
    limit = MOST_VOLUMES if t_r is None else max(MOST_VOLUMES, round(LONGEST / t_r))
    if found > limit:
        log.warning(
            "%s: the mean intensity of the first %d volumes stands out, too long for the "
            "magnetisation to settle (at most %d): none is dropped; look at the run",
            what,
            found,
            limit,
        )
        return 0
    return found
