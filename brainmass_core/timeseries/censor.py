"""Find volumes with too much motion, and interpolate over them."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from brainmass_core.config.timeseries import Censor
from brainmass_core.timeseries.design import ConfoundsError
from brainmass_core.timeseries.motion_limits import COLUMN, column_of, displacement

log = logging.getLogger(__name__)


def censor_mask(
    displacement: np.ndarray,
    std_dvars: np.ndarray | None,
    settings: Censor,
) -> np.ndarray:
    """Volumes to censor.

    A volume above a threshold is censored with `n_before` and `n_after` of its neighbours; then
    remaining segments of fewer than `min_contiguous` volumes are censored too.

    Parameters
    ----------
    displacement : ndarray (n_volumes,)
        Framewise displacement in mm. NaN, as the first volume has, is below the threshold.
    std_dvars : ndarray (n_volumes,) or None
        Standardised DVARS; needed if `std_dvars_threshold` is set.

    Returns
    -------
    ndarray (n_volumes,) of bool
    """
    above = np.asarray(displacement, dtype=float) > settings.fd_threshold
    if settings.std_dvars_threshold is not None and std_dvars is not None:
        above |= np.asarray(std_dvars, dtype=float) > settings.std_dvars_threshold
    censored = above.copy()
    for shift in range(1, settings.n_before + 1):
        censored[:-shift] |= above[shift:]
    for shift in range(1, settings.n_after + 1):
        censored[shift:] |= above[:-shift]
    if censored.any():
        from scipy.ndimage import label

        stretch, n = label(~censored)
        short = np.bincount(stretch, minlength=n + 1) < settings.min_contiguous
        short[0] = True  # segment 0 are the censored volumes
        censored = short[stretch]
    return censored


def censored_volumes(confounds: pd.DataFrame, settings: Censor) -> np.ndarray | None:
    """Volumes to censor, from a confounds table.

    Power's displacement is computed from the six motion parameters if it has no column.

    Parameters
    ----------
    confounds : DataFrame (n_volumes rows)
        Columns as in fMRIPrep.

    Returns
    -------
    ndarray (n_volumes,) of bool, or None
        None if columns for the criterion are missing and `settings.method` is ``none``.

    Raises
    ------
    ConfoundsError
        If the columns that the criterion needs are missing and volumes are to be censored.
    """
    fd = displacement(confounds, settings.fd_kind)
    missing = [COLUMN[settings.fd_kind]] if fd is None else []
    dvars = None
    if settings.std_dvars_threshold is not None:
        dvars = column_of(confounds, "std_dvars")
        if dvars is None or not np.isfinite(dvars).any():
            missing.append("std_dvars")
    if fd is not None and not missing:
        return censor_mask(fd.mm, dvars, settings)
    if settings.method != "none":
        raise ConfoundsError(
            f"the confounds table lacks the columns {missing}, which timeseries.censor needs to "
            "find volumes with motion; set timeseries.censor.method to none, choose another "
            "fd_kind, or write the table again with them"
        )
    log.warning(
        "the confounds table lacks the columns %s: volumes with motion are not counted", missing
    )
    return None


def fill_matrix(kept: np.ndarray) -> np.ndarray:
    """Matrix that interpolates a complete run from the remaining volumes.

    A cubic spline as in nilearn; before the first and after the last remaining volume, where a
    spline would diverge, the nearest value is used.

    Parameters
    ----------
    kept : ndarray (n_volumes,) of bool

    Returns
    -------
    ndarray (n_volumes, n_kept)
    """
    at = np.flatnonzero(kept)
    fill = np.zeros((len(kept), len(at)))
    fill[at, np.arange(len(at))] = 1.0
    gaps = np.flatnonzero(~kept)
    if gaps.size and len(at) > 1:
        from scipy.interpolate import CubicSpline

        inside = np.clip(gaps, at[0], at[-1])
        fill[gaps] = CubicSpline(at, np.eye(len(at)))(inside)
    return fill


def censor_text(settings: Censor) -> str:
    """A criterion in words, such as ``remove: power FD > 0.5 mm, 0 before, 2 after``."""
    criterion = f"{settings.fd_kind} FD > {settings.fd_threshold:g} mm"
    if settings.std_dvars_threshold is not None:
        criterion += f" or std DVARS > {settings.std_dvars_threshold:g}"
    text = f"{settings.method}: {criterion}, {settings.n_before} before, {settings.n_after} after"
    if settings.min_contiguous > 1:
        text += f", stretches of {settings.min_contiguous}"
    return text
