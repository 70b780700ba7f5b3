"""A cohort with a difference planted in five known regions of forty."""

import numpy as np
import synthetic_study

N_ROIS = 40
PLANTED = (3, 11, 17, 26, 38)


def planted_series(rng, patient: bool, effect: float) -> np.ndarray:
    """(n_timepoints, n_rois): four networks; in patients five regions share a signal more."""
    n = synthetic_study.N_TIMEPOINTS
    slow = rng.standard_normal((n, 4))
    series = slow[:, np.arange(N_ROIS) % 4] + 1.2 * rng.standard_normal((n, N_ROIS))
    if patient:
        series[:, PLANTED] += effect * rng.standard_normal((n, 1))
    return series.astype(np.float32)
