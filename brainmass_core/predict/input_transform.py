"""Input transform of a model on time series, as stored in its contract."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from brainmass_core.config.base import Strict
from brainmass_core.config.sections import BrainLM as Settings
from brainmass_core.pretrain.data.recordings import Feed
from brainmass_core.pretrain.data.usable_series import check_window
from brainmass_core.timeseries.robust_scaling import VERSION, RobustScaling


class Scaling(Strict):
    """Statistics of each parcel over the pre-training scans; see `robust_scaling`."""

    version: int
    median: list[float]
    iqr: list[float]
    n_recordings: int
    sha256: str

    def robust(self) -> RobustScaling:
        """The scaling as an object that can be applied."""
        return RobustScaling(tuple(self.median), tuple(self.iqr), self.n_recordings)


class Series(Strict):
    """Transformation of a recording to the model's input.

    Attributes
    ----------
    window : int
        Timepoints.
    t_r : float or None
        Repetition time of the model (s); None if unknown.
    other_t_r
        Handling of recordings with another repetition time.
    coordinates : list of (x, y, z)
        Coordinates of the parcels, MNI, in mm.
    encoder : dict or None
        Architecture of the encoder, see `Contract.architecture`. None: the estimator uses the
        scaled series, or contains an encoder that was trained with it.
    """

    window: int = Field(ge=2)
    t_r: float | None
    other_t_r: Literal["reject", "resample"]
    scaling: Scaling
    coordinates: list[tuple[float, float, float]]
    encoder: dict[str, Any] | None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        scaling = self.scaling
        lengths = {len(scaling.median), len(scaling.iqr), len(self.coordinates)}
        if len(lengths) > 1:
            raise ValueError(f"medians, IQRs and coordinates are of {sorted(lengths)} parcels")
        if (scaling.version, scaling.sha256) != (VERSION, scaling.robust().digest):
            raise ValueError(
                f"a scaling of version {scaling.version} without the stored sha256, expected "
                f"version {VERSION}, unchanged"
            )
        return self

    @classmethod
    def of(cls, feed: Feed, encoder: dict[str, Any] | None) -> Self:
        """Make from a study."""
        s, scaling = feed.settings, feed.scaling
        return cls(
            window=s.window,
            t_r=s.t_r,
            other_t_r=s.other_t_r,
            scaling=Scaling(
                version=VERSION,
                median=list(scaling.median),
                iqr=list(scaling.iqr),
                n_recordings=scaling.n_recordings,
                sha256=scaling.digest,
            ),
            coordinates=[(x, y, z) for x, y, z in feed.coordinates.tolist()],
            encoder=encoder,
        )

    def feed(self, atlas: str) -> Feed:
        """The input transform as in training."""
        coordinates = np.array(self.coordinates, np.float32)
        return Feed(self._settings(), self.scaling.robust(), coordinates, atlas)

    def incompatibility(self, n_timepoints: int, t_r: float | None) -> str | None:
        """Why a recording has no window; None if it has one."""
        try:
            check_window(self._settings(), n_timepoints, t_r)
        except ValueError as error:
            return f"{error}; give it by --t-r" if t_r is None and self.t_r else str(error)
        return None

    def _settings(self) -> Settings:
        return Settings(window=self.window, t_r=self.t_r, other_t_r=self.other_t_r)
