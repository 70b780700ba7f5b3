"""The pre-trained model, and the series of its training participants and of unseen ones."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from brainmass_core.config import Config
from brainmass_core.encoders.interface import implementation_of
from brainmass_core.finetune.cohort.leaks import refuse_shown, scans_shown
from brainmass_core.models.series import SeriesModel
from brainmass_core.pipeline.failed_fraction import refused_of
from brainmass_core.pipeline.hashing import stable_hash
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.data.recordings import Feed, feed_of
from brainmass_core.pretrain.data.usable_series import check_window
from brainmass_core.scans import read_scans
from brainmass_core.series_model.fitting import Windows
from brainmass_core.tables import read_table
from brainmass_core.timeseries.identity import with_marks
from brainmass_core.timeseries.table import bold_by_scan, refuse_partial

log = logging.getLogger(__name__)


class UnseenError(ValueError):
    """There are too few participants for an analysis."""


@dataclass(frozen=True)
class Trained:
    """A pre-trained model with its input transform."""

    model: SeriesModel
    feed: Feed

    @property
    def coordinates(self) -> Tensor:
        """Coordinates (n_rois, 3) of the parcels, MNI, in mm."""
        return torch.from_numpy(self.feed.coordinates)

    @property
    def t_r(self) -> float | None:
        """Repetition time of its series in seconds; None if unknown."""
        return self.feed.settings.t_r

    @property
    def n_rois(self) -> int:
        """Parcels."""
        return len(self.feed.coordinates)


@dataclass(frozen=True)
class Recordings:
    """One scaled recording of each participant.

    Attributes
    ----------
    scans : DataFrame (n_participants rows)
        scan_id, dataset, participant (``dataset/participant_id``), as in the scans tables.
    series : list of Tensor (n_rois, n_timepoints)
    """

    scans: pd.DataFrame
    series: list[Tensor]

    def cut(self, length: int, most: int) -> Windows:
        """At most `n` consecutive windows of each recording, from its start."""
        parts, who = [], []
        for participant, one in zip(self.scans["participant"], self.series, strict=True):
            n = min(most, one.shape[1] // length)
            parts += [one[:, i * length : (i + 1) * length] for i in range(n)]
            who += [participant] * n
        return Windows(torch.stack(parts), np.array(who))

    def of(self, dataset: str) -> Recordings:
        """The recordings of one data set."""
        rows = np.flatnonzero(self.scans["dataset"] == dataset)
        return Recordings(self.scans.iloc[rows], [self.series[i] for i in rows])

    @property
    def datasets(self) -> list[str]:
        """Data sets of the recordings."""
        return sorted(set(self.scans["dataset"]))


def load_trained(config: Config) -> Trained:
    """Load the model that the configuration pre-trains.

    Raises
    ------
    ModelError
        If a file or the scaling of its series is missing.
    """
    feed = feed_of(config)
    return Trained(implementation_of(config.pretrain.encoder).pretrained(config), feed)


def unseen(config: Config, trained: Trained, length: int) -> Recordings:
    """Recordings of participants that pre-training did not use, long enough for a window.

    Raises
    ------
    UnseenError
        If there are none.
    NoDatasetError
        If too many scans failed in every data set.
    LeakError
        If pre-training used a scan of one of them.
    """
    names = [n for n, d in config.datasets.items() if d.role != "pretrain"]
    refused = refused_of(config, "series_model", names, "series_model")
    scans = _scans(config, [name for name in names if name not in refused])
    scans = scans[scans["split"] == "test"]
    refuse_shown(with_marks(config, scans), scans_shown(config))
    found = _recordings(config, trained, scans, length)
    if not found.series:
        raise UnseenError(
            f"found {len(scans)} scans of participants kept for evaluation, but none with "
            f"{length} timepoints that the model can use, expected one or more: see "
            "datasets.*.evaluation_fraction, add an external data set, or use shorter windows"
        )
    return found


def seen(config: Config, trained: Trained, length: int) -> Recordings:
    """Recordings of participants of the pre-training, for fitting baselines.

    Raises
    ------
    UnseenError
        If there are fewer than two participants.
    """
    names = config.pretrain_datasets()
    scans = _scans(config, names)
    found = _recordings(
        config, trained, scans[scans["scan_id"].isin(scans_shown(config)["scan_id"])], length
    )
    if len(found.series) < 2:
        raise UnseenError(
            f"found {len(found.series)} participants of the pre-training with {length} "
            "timepoints, expected two or more to fit baselines: use shorter windows"
        )
    return found


def _scans(config: Config, names: list[str]) -> pd.DataFrame:
    scans = read_scans(Paths(config.results), names).to_pandas()
    return scans.assign(participant=scans["dataset"] + "/" + scans["participant_id"])


def _recordings(config: Config, trained: Trained, scans: pd.DataFrame, length: int) -> Recordings:
    """The first eligible scan of each participant, for a limited number of participants."""
    usable = _usable(config, trained, scans, length)
    first = usable.sort_values("scan_id").drop_duplicates("participant")
    order = [stable_hash(str(config.seed), p) for p in first["participant"]]
    chosen = first.assign(order=order).sort_values(["order", "participant"])
    chosen = chosen.groupby("dataset").head(config.series_model.max_participants)
    chosen = chosen.drop(columns="order").sort_values("participant", ignore_index=True)
    series = _read(config, trained, chosen)
    return Recordings(chosen, [series[s] for s in chosen["scan_id"]])


def _usable(config: Config, trained: Trained, scans: pd.DataFrame, length: int) -> pd.DataFrame:
    """Scans long enough for a window; the others are counted and logged."""
    # the model's repetition time, from its training scans if none is configured
    policy = trained.feed.settings.model_copy(update={"window": length})
    wanted = set(scans["scan_id"])
    rows, refused = [], []
    for file in _files(config, scans):
        columns = ["scan_id", "status", "n_timepoints", "t_r"]
        for row in read_table(file, "timeseries", columns).to_pylist():
            if row["status"] != "ok":
                continue
            try:
                check_window(policy, row["n_timepoints"], row["t_r"])
            except ValueError as error:
                if row["scan_id"] in wanted:
                    refused.append(f"{row['scan_id']}: {error}")
                continue
            rows.append({"scan_id": row["scan_id"], "found_t_r": row["t_r"]})
    if refused:
        shown = "; ".join(refused[:10])
        log.warning("%d of %d scans are excluded: %s", len(refused), len(scans), shown)
    table = pd.DataFrame(rows, columns=["scan_id", "found_t_r"])
    return scans.merge(table, on="scan_id", how="inner")


def _read(config: Config, trained: Trained, scans: pd.DataFrame) -> dict[str, Tensor]:
    """Scaled series (n_rois, n_timepoints) by scan; parcels without data are 0."""
    t_r = dict(zip(scans["scan_id"], scans["found_t_r"], strict=True))
    found = {}
    for file in _files(config, scans):
        bold = bold_by_scan(read_table(file, "timeseries", ["scan_id", "status", "bold"]))
        for scan_id in sorted(set(bold) & set(t_r)):
            refuse_partial(bold[scan_id], f"{file}: {scan_id}")
            x = trained.feed.scaled(np.array(bold[scan_id], np.float32), t_r[scan_id])
            found[scan_id] = torch.from_numpy(np.ascontiguousarray(x.T))
    return found


def _files(config: Config, scans: pd.DataFrame) -> list[Path]:
    """Time-series tables that contain the scans."""
    pairs = sorted(set(zip(scans["dataset"], scans["batch"], strict=True)))
    return [Paths(config.results).batch("timeseries", d, int(b)) for d, b in pairs]
