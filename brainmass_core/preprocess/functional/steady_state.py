"""Volumes at the start of a run that were acquired before the magnetisation was in steady state.

Of raw BIDS they are counted here and cut by `functional.bold.load_bold`. Of derivatives they are
counted by `timeseries.motion_limits`, from the table of confounds, and cut in `timeseries.extract`.
"""

from __future__ import annotations

import logging

import numpy as np

log = logging.getLogger(__name__)

N_JUDGED = 50  # volumes at the start, among which outliers are searched for
LONGEST = 20.0  # s; longer than the magnetisation of CSF needs, which is the slowest
MOST_VOLUMES = 10  # limit if t_r is unknown or long


def global_signal(data: np.ndarray, n_volumes: int = N_JUDGED) -> np.ndarray:
    """Mean (n_volumes,) over all voxels of the first volumes of a run (x, y, z, n).

    Parameters
    ----------
    data : ndarray (x, y, z, n)

    Returns
    -------
    ndarray (n_volumes,)
        Shorter if the run is.
    """
    first = data[..., :n_volumes]
    return np.array([first[..., t].mean(dtype=np.float64) for t in range(first.shape[3])])


def non_steady_volumes(signal: np.ndarray, t_r: float | None = None, what: str = "run") -> int:
    """Number of outlying volumes at the start, relative to the first fifty.

    A volume is an outlier if its modified z-score, based on the median absolute deviation, is above
    3.5 (Iglewicz & Hoaglin 1993), as in nipype's ``NonSteadyStateDetector``.

    Parameters
    ----------
    signal : ndarray (n_volumes,)
        Global signal from the start of the run, finite.
    t_r : float, optional
        Repetition time in s.
    what : str
        Name of the run, for the warning.

    Returns
    -------
    int
        0, with a warning, if more volumes are outliers than the approach to the steady state can
        explain: then no volume is dropped.
    """
    from nipype.algorithms.confounds import is_outlier  # imported late, because it takes a second

    signal = np.asarray(signal, dtype=np.float64)[:N_JUDGED]
    if np.median(np.abs(signal - np.median(signal))) == 0:  # no variation to compare with
        return 0
    found = int(is_outlier(signal))
    limit = MOST_VOLUMES if t_r is None else max(MOST_VOLUMES, round(LONGEST / t_r))
    if found > limit:
        log.warning(
            "%s: the mean intensity of the first %d volumes is unusual, for longer than the "
            "approach to the steady state takes (at most %d volumes): none is dropped; check the "
            "run",
            what,
            found,
            limit,
        )
        return 0
    return found
