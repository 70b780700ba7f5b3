"""Robust scaling of each parcel, fitted once to the participants of pre-training.

For the input of BrainLM the temporal mean of each parcel is subtracted, then ``(x - median) / IQR``
is applied, with the median and interquartile range of the parcel over all recordings of the fit.
The statistics are part of the model: other participants are scaled with them, never with their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

N_TIMEPOINTS = 200  # of each recording are used, so that long ones do not have more weight
VERSION = 1  # of the statistics as stored with a model


class ScalingError(ValueError):
    """Statistics cannot be fitted or used."""


@dataclass(frozen=True)
class RobustScaling:
    """Statistics of each parcel, in the unit of the series.

    Attributes
    ----------
    median, iqr : tuple of float, n_rois each
    n_recordings : int
        Number of recordings in the fit.
    """

    median: tuple[float, ...]
    iqr: tuple[float, ...]
    n_recordings: int

    @property
    def digest(self) -> str:
        """SHA-256 of the statistics."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()

    def apply(self, series: np.ndarray) -> np.ndarray:
        """Subtract the recording's own mean, then the fitted median, and divide by the fitted IQR.

        Parameters
        ----------
        series : ndarray (n_timepoints, n_rois)
            In the unit of the recordings of the fit.

        Returns
        -------
        ndarray (n_timepoints, n_rois), float32

        Raises
        ------
        ScalingError
            If its number of parcels differs.
        """
        if series.ndim != 2 or series.shape[1] != len(self.median):
            raise ScalingError(
                f"found series of shape {series.shape}, expected (timepoints, "
                f"{len(self.median)}): the scaling was fitted on that many parcels"
            )
        x = series - series.mean(axis=0, dtype=np.float64)
        return ((x - np.array(self.median)) / np.array(self.iqr)).astype(np.float32)


def fit(recordings: Iterable[np.ndarray], n_timepoints: int = N_TIMEPOINTS) -> RobustScaling:
    """Fit statistics to recordings of the pre-training split.

    Parameters
    ----------
    recordings : iterable of ndarray (n_timepoints, n_rois)
        Read once. Zeros, which mark missing values, are ignored.
    n_timepoints : int
        Number of timepoints used of each recording, from its start.

    Returns
    -------
    RobustScaling
        Median and IQR of each parcel over all used timepoints, each recording without its mean.

    Raises
    ------
    ScalingError
        If there are no recordings, their numbers of parcels differ, or a parcel does not vary.
    """
    parts: list[np.ndarray] = []
    for series in recordings:
        centred = series - series.mean(axis=0, dtype=np.float64)
        part = np.where(series == 0, np.nan, centred)[:n_timepoints]
        if parts and part.shape[1] != parts[0].shape[1]:
            raise ScalingError(
                f"found a recording of {part.shape[1]} parcels after one of {parts[0].shape[1]}"
            )
        parts.append(part.astype(np.float32))
    if not parts:
        raise ScalingError("found no recording to fit the scaling on")
    values = np.concatenate(parts)
    low, high = np.nanpercentile(values, (25, 75), axis=0)
    flat = np.flatnonzero(~(high > low))
    if len(flat):
        named = ", ".join(map(str, flat[:5]))
        raise ScalingError(f"{len(flat)} parcels do not vary, such as {named} (from 0)")
    from sklearn.preprocessing import RobustScaler

    scaler = RobustScaler().fit(values)
    median, iqr = (tuple(np.asarray(a, float).tolist()) for a in (scaler.center_, scaler.scale_))
    return RobustScaling(median, iqr, len(parts))
