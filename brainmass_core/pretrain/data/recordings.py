"""Prepare recordings as input of a model of series: resample, scale and cut into windows.

All settings except the window's length come from the ``config.json`` of the pre-trained model;
nothing is fitted to the task's scans. Scans without a window are excluded from all methods of the
task.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainmass_core.config import Config
from brainmass_core.config.sections import BrainLM
from brainmass_core.models.pretrained import SETTINGS, ModelError, read_settings
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.data.usable_series import check_window
from brainmass_core.pretrain.data.windows import prepared
from brainmass_core.tables import read_table
from brainmass_core.timeseries.robust_scaling import VERSION, RobustScaling
from brainmass_core.timeseries.table import bold_by_scan, refuse_partial


@dataclass(frozen=True)
class Feed:
    """Transformation of series to the input of a model.

    Attributes
    ----------
    settings : BrainLM
        Settings of the training, with the repetition time of the model.
    scaling : RobustScaling
        Scaling fitted to the pre-training scans.
    coordinates : ndarray (n_rois, 3), float32
        MNI, in mm.
    atlas : str
    """

    settings: BrainLM
    scaling: RobustScaling
    coordinates: np.ndarray
    atlas: str

    def scaled(self, series: np.ndarray, t_r: float | None) -> np.ndarray:
        """A recording (n_timepoints, n_rois) as (n_resampled, n_rois), float32; see `prepared`."""
        return prepared(series, t_r, self.settings.t_r, self.scaling)

    def windows(self, series: np.ndarray, t_r: float | None) -> np.ndarray:
        """Consecutive windows of one recording; the remainder at its end is not used.

        Parameters
        ----------
        series : ndarray (n_timepoints, n_rois)
            NaN in parcels without data.
        t_r : float or None
            Repetition time of the recording, s.

        Returns
        -------
        ndarray (n_windows, n_rois, window), float32
        """
        length = self.settings.window
        scaled = self.scaled(series, t_r)
        n = len(scaled) // length
        return scaled[: n * length].reshape(n, length, -1).transpose(0, 2, 1)


def feed_of(config: Config) -> Feed:
    """The input transform of the study's model of series.

    Raises
    ------
    ModelError
        If there is no model, or its scaling is not stored.
    """
    file = Paths(config.results).pretrain(config.pretrain.model) / SETTINGS
    try:
        about = read_settings(file.parent)
        stored = about["scaling"]
        scaling = RobustScaling(
            tuple(stored["median"]), tuple(stored["iqr"]), stored["n_recordings"]
        )
        same = (stored["version"], stored["sha256"]) == (VERSION, scaling.digest)
        settings = config.pretrain.windows.model_copy(update={"t_r": about["t_r"]})
        coordinates = np.array(about["coordinates"], np.float32)
        atlas = about["atlas"]
    except (KeyError, TypeError) as error:
        raise ModelError(
            f"{file}: does not say how series are scaled ({error!r}); remove the folder and run: "
            "snakemake --cores all pretrain"
        ) from None
    if not same:
        raise ModelError(
            f"{file}: found a scaling of version {stored['version']} that does not have the stored "
            f"SHA-256, expected version {VERSION}, unchanged; remove the folder and run: snakemake "
            "--cores all pretrain"
        )
    return Feed(settings, scaling, coordinates, atlas)


def unusable(config: Config, datasets: list[str]) -> dict[str, str]:
    """scan_id of the scans without a window, with reasons."""
    settings, reasons = feed_of(config).settings, {}
    for path in _tables(config, datasets):
        columns = ["scan_id", "status", "n_timepoints", "t_r"]
        for row in read_table(path, "timeseries", columns).to_pylist():
            if row["status"] != "ok":
                continue
            try:
                check_window(settings, row["n_timepoints"], row["t_r"])
            except ValueError as error:
                reasons[row["scan_id"]] = f"{config.pretrain.model} cannot use its series: {error}"
    return reasons


def recordings(
    config: Config, feed: Feed, datasets: list[str], wanted: set[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """scan_id and windows (n_windows, n_rois, window) of the wanted scans, batch by batch.

    Raises
    ------
    TableError
        If a parcel is missing at some timepoints only.
    """
    for path in _tables(config, datasets):
        table = read_table(path, "timeseries", ["scan_id", "status", "t_r", "bold"])
        t_r = dict(zip(table["scan_id"].to_pylist(), table["t_r"].to_pylist(), strict=True))
        for scan_id, series in bold_by_scan(table).items():
            if scan_id in wanted:
                refuse_partial(series, f"{path}: {scan_id}")
                yield scan_id, feed.windows(series, t_r[scan_id])


def _tables(config: Config, datasets: list[str]) -> list[Path]:
    paths = Paths(config.results)
    return [
        paths.batch("timeseries", name, batch)
        for name in datasets
        for batch in range(config.datasets[name].batches)
    ]
