"""Pseudo-FC (pFC): functional connectivity after randomly dropping timepoints, and the stage.

Two views of one scan differ only in the dropped timepoints; pre-training makes their embeddings
similar (Yang et al., IEEE TMI 2024, doi:10.1109/TMI.2024.3414476).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from brainmass_core.config import Config
from brainmass_core.connectivity import ESTIMATORS, vectorise
from brainmass_core.pfc.draw import distinct, places
from brainmass_core.pfc.kernel import correlations, z_scores
from brainmass_core.pfc.syrk import SSYRK
from brainmass_core.pipeline.batch import run_batch
from brainmass_core.pipeline.eligibility import may_be_pretrained_on
from brainmass_core.pipeline.hashing import stable_hash
from brainmass_core.pipeline.kept import Job
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.pipeline.paths import Paths
from brainmass_core.scans.units import joins, read_units
from brainmass_core.tables import pfc_schema, read_table
from brainmass_core.timeseries.joining import CONSTANT, Joined, joined_runs
from brainmass_core.timeseries.table import bold_by_scan

log = logging.getLogger(__name__)

SCANS_PER_ROW_GROUP = 64
MIN_KEPT = 3  # with two timepoints every correlation is +1 or -1


@dataclass(frozen=True)
class Dropping:
    """How the timepoints of a view are chosen; the last attribute that is set is used.

    Attributes
    ----------
    rate : float
        Fraction of the timepoints to drop, in [0, 1).
    count : int, optional
        Number of timepoints to drop.
    window : int, optional
        Number of consecutive timepoints to keep.
    """

    rate: float = 0.2
    count: int | None = None
    window: int | None = None

    def n_kept(self, n_timepoints: int) -> int:
        """Number of timepoints to keep; with `rate` ``n_timepoints - floor(rate *
        n_timepoints)``."""
        if self.window is not None:
            return min(self.window, n_timepoints)
        if self.count is not None:
            return n_timepoints - self.count
        # the small addend compensates rounding such as 0.29 * 100 = 28.999999999999996
        return n_timepoints - int(self.rate * n_timepoints + 1e-9)

    def dropped(self, n_timepoints: int, n_views: int, seed: int) -> np.ndarray:
        """Draw the timepoints that each view drops; the first views do not depend on `n_views`.

        Parameters
        ----------
        seed : int
            Seed of the scan, below 2**64; see `scan_seed`.

        Returns
        -------
        ndarray (n_views, n_dropped)
            Unordered.
        """
        n_dropped = n_timepoints - self.n_kept(n_timepoints)
        if self.window is None:
            return distinct(seed, n_views, n_dropped, n_timepoints)
        start = places(seed, n_views, n_dropped + 1)[:, None]
        others = np.arange(n_dropped)
        return np.where(others < start, others, others + self.window)

    def check(self, n_timepoints: int) -> None:
        """Refuse a series of which too few timepoints, or all, are kept.

        Raises
        ------
        ValueError
            Naming the setting.
        """
        stay, knob = self.n_kept(n_timepoints), f"drop_rate {self.rate:g}"
        if self.count is not None:
            knob = f"drop_count {self.count}"
        if self.window is not None:
            knob = f"window {self.window}"
            if stay == n_timepoints:
                raise ValueError(
                    f"found {n_timepoints} timepoints, expected more than pfc.{knob}: all views "
                    "would be identical; exclude the scan or shorten the window"
                )
        if stay < MIN_KEPT:
            raise ValueError(
                f"found {n_timepoints} timepoints, of which {max(stay, 0)} remain with "
                f"pfc.{knob}; expected at least {MIN_KEPT}: exclude the scan or lower it"
            )


def scan_seed(seed: int, scan_id: str) -> int:
    """Seed of a scan's views, independent of batch, worker and machine."""
    return stable_hash(str(seed), scan_id)


def kept_timepoints(dropped: np.ndarray, n_timepoints: int) -> np.ndarray:
    """Convert dropped timepoints of views to kept ones.

    Parameters
    ----------
    dropped : ndarray (n_views, n_dropped) of int
        Distinct timepoints below `n_timepoints`, in any order.
    n_timepoints : int

    Returns
    -------
    ndarray (n_views, n_timepoints - n_dropped) of int
        Ascending.
    """
    stays = np.ones((len(dropped), n_timepoints), dtype=bool)
    np.put_along_axis(stays, dropped, False, axis=1)
    return np.nonzero(stays)[1].reshape(len(dropped), -1)


def pseudo_fc(
    bold: np.ndarray,
    n_views: int,
    drop_rate: float | Dropping = 0.2,
    seed: int = 0,
    estimator: str = "pearson",
) -> np.ndarray:
    """Pseudo-FC of one scan.

    Parameters
    ----------
    bold : ndarray (n_timepoints, n_rois)
        Parcel series. A ROI with a value that is not finite counts as empty.
    n_views : int
    drop_rate : float or Dropping
        Fraction of timepoints dropped in each view, in [0, 1), or another rule.
    seed : int
        Below 2**64; see `scan_seed`.
    estimator : {"pearson", "ledoit_wolf"}

    Returns
    -------
    ndarray (n_views, n_edges), float32
        Upper triangles in row-major order. Edges of a constant or empty ROI are 0.

    Raises
    ------
    ValueError
        If fewer than three timepoints remain, or the window is as long as the series.
    """
    n_timepoints, n_rois = bold.shape
    dropping = drop_rate if isinstance(drop_rate, Dropping) else Dropping(drop_rate)
    dropping.check(n_timepoints)
    dropped = dropping.dropped(n_timepoints, n_views, seed)
    by_dropped = 2 * dropped.shape[1] <= n_timepoints
    rows = dropped if by_dropped else kept_timepoints(dropped, n_timepoints)
    z = z_scores(np.ascontiguousarray(bold), CONSTANT)
    views = np.empty((n_views, n_rois * (n_rois - 1) // 2), np.float32)
    lost = np.empty(n_views, dtype=bool)
    correlations(z, rows, by_dropped, estimator == "ledoit_wolf", views, lost, SSYRK)
    if lost.any():  # a ROI with almost no remaining variance, such as one whose spike was dropped
        series = np.where(np.isfinite(bold).all(axis=0), bold, 0.0)
        kept = kept_timepoints(dropped[lost], n_timepoints)
        views[lost] = vectorise(ESTIMATORS[estimator](series[kept]))
    return views


def run(config: Config, dataset: str, batch: int, threads: int = 1) -> None:
    """Write the pFC table of one batch, of scans or joined runs (`connectivity.unit`).

    Only scans with a time series and split ``pretrain`` or ``train`` are included, never
    participants kept for evaluation.

    Raises
    ------
    TableError
        If the scans or time-series table cannot be read.
    BatchError
        If the disk is full or workers cannot be started.
    """
    paths = Paths(config.results)
    scans = read_table(paths.scans(dataset), "scans", columns=["scan_id", "split"]).to_pydict()
    splits = dict(zip(scans["scan_id"], scans["split"], strict=True))
    series = read_table(paths.batch("timeseries", dataset, batch), "timeseries")
    n_rois = series.schema.field("coverage").type.list_size
    found: Mapping[str, np.ndarray | Joined] = bold_by_scan(series)
    if joins(config):
        units = read_units(config, dataset)
        found = joined_runs(series, units, config.timeseries.max_empty_rois)
        # all runs of a participant have the same split
        splits |= {unit: splits[runs[0]] for unit, runs in units.runs.items()}
    items = {
        scan_id: (scan_id, bold)
        for scan_id, bold in found.items()
        if may_be_pretrained_on(splits.get(scan_id))
    }
    views = config.pfc.n_views
    job = Job(
        config,
        *("pfc", dataset, batch, pfc_schema(n_rois), threads),
        # no compression: it would save 8-15 % and cost most of the reading speed
        options={
            "row_group_size": SCANS_PER_ROW_GROUP * views,
            "compression": "none",
            "use_dictionary": ["scan_id"],
            "write_statistics": False,
            "write_page_checksum": True,
        },
    )
    process = partial(_process, seed=config.seed, pfc=config.pfc.model_dump(), n_rois=n_rois)
    entries = run_batch(job, items, process)
    log.info("pfc %s/%s: %d scans, %d views each", dataset, batch, len(entries), views)


def _process(
    item: tuple[str, np.ndarray | Joined], seed: int, pfc: dict[str, Any], n_rois: int
) -> pa.Table:
    """The rows of one scan, or of joined runs, all views contiguous."""
    scan_id, given = item
    bold = given.series() if isinstance(given, Joined) else given
    views = pfc["n_views"]
    dropping = Dropping(pfc["drop_rate"], pfc["drop_count"], pfc["window"])
    try:
        fc = pseudo_fc(bold, views, dropping, scan_seed(seed, scan_id), pfc["estimator"])
    except ValueError as error:
        raise ScanFailed(str(error), step="pseudo_fc") from None
    rows = {
        "scan_id": [scan_id] * views,
        "view": range(views),
        "n_kept": [dropping.n_kept(len(bold))] * views,
        "seed": [seed] * views,
        "fc": [row.tobytes() for row in fc.astype("<f2")],
    }
    return pa.Table.from_pydict(rows, schema=pfc_schema(n_rois))
