"""Temporal corrections before spatial interpolation: despiking and slice timing.

`preprocess` and `timeseries` both call `temporal`, so that they use the same data.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.functional.bold import Bold
from brainmass_core.preprocess.functional.despike import despike
from brainmass_core.preprocess.functional.slice_timing import (
    check_times,
    correct_slice_timing,
    timing_summary,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timed:
    """A run after its temporal corrections.

    Attributes
    ----------
    bold : Bold
    slice_timing : str
        Description of the slice timing correction.
    despiked_fraction : float or None
        Fraction of the values in the head that despiking changed; None if it is off.
    """

    bold: Bold
    slice_timing: str
    despiked_fraction: float | None


def temporal(
    bold: Bold,
    path: str | Path,
    settings: Preprocess,
    t_r: float,
    slice_times: Sequence[float] | None,
    slice_axis: int | None = 2,
) -> Timed:
    """Despike a run, then correct slice timing; `bold.data` is modified in place.

    Parameters
    ----------
    path : path
        Of the run, for messages.
    t_r : float
        Repetition time in s.
    slice_times : sequence of float (n_slices,), optional
        Time of each slice in s, see `scans.image.slice_timing`; None: no correction.
    slice_axis : {0, 1, 2}, optional
        Voxel axis of the slices; None is the third.

    Raises
    ------
    ScanFailed
        If the times do not match the image, or an external program fails.
    """
    changed = None
    if settings.despike:
        changed = _despike(bold, settings.engines.despike, t_r)
    axis = 2 if slice_axis is None else slice_axis
    text = _slice_timing(bold, path, settings, t_r, slice_times, axis)
    return Timed(bold, text, changed)


def _despike(bold: Bold, name: str, t_r: float) -> float:
    if name == "embedded":
        return despike(bold.data, copy=False)[1]
    from brainmass_core.preprocess.engines import engine

    made = engine("despike", name)(bold.data, bold.affine, t_r)
    n_changed = 0
    for t in range(bold.data.shape[3]):  # volume by volume, without a third run in memory
        n_changed += int((bold.data[..., t] != made[..., t]).sum())
        bold.data[..., t] = made[..., t]
    return n_changed / bold.data.size


def _slice_timing(
    bold: Bold,
    path: str | Path,
    settings: Preprocess,
    t_r: float,
    slice_times: Sequence[float] | None,
    axis: int,
) -> str:
    """Correct `bold.data`; returns a description."""
    if not settings.slice_timing:
        return "off"
    if slice_times is None:
        log.warning("%s: no SliceTiming in the sidecar: slice timing is not corrected", path)
        return "no SliceTiming in the sidecar"
    name = settings.engines.slice_timing
    try:
        times = check_times(slice_times, bold.data.shape[axis], t_r)
        if np.ptp(times) == 0:
            return f"all {len(times)} slices at once: nothing to correct"
        if name == "embedded":
            correct_slice_timing(bold.data, times, t_r, axis=axis, copy=False)
        else:
            from brainmass_core.preprocess.engines import engine

            bold.data[...] = engine("slice_timing", name)(bold.data, bold.affine, times, t_r, axis)
    except ScanFailed:
        raise
    except ValueError as error:
        raise ScanFailed(
            f"{path}: SliceTiming does not fit the image: {error}",
            "slice_timing",
            "correct the sidecar, or set preprocess.slice_timing to false",
        ) from None
    by = "" if name == "embedded" else f"by {name}, "
    return f"corrected ({by}{timing_summary(times)})"
