"""Pseudo-FC (pFC): functional connectivity after randomly dropping timepoints, and the stage.

Two views of one scan differ only in which timepoints were dropped; pre-training pulls them
together (Yang et al., IEEE TMI 2024, doi:10.1109/TMI.2024.3414476).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from brainmass_core.batch import Job, run_batch
from brainmass_core.config import Config, stable_hash
from brainmass_core.connectivity import ESTIMATORS, vectorise
from brainmass_core.manifest import ScanFailed
from brainmass_core.paths import Paths
from brainmass_core.tables import pfc_schema, read_table
from brainmass_core.timeseries.table import bold_by_scan

log = logging.getLogger(__name__)

SCANS_PER_ROW_GROUP = 64
MIN_KEPT = 3  # with two timepoints left every correlation is +1 or -1


def n_kept(n_timepoints: int, drop_rate: float) -> int:
    """Timepoints that stay: ``n_timepoints - floor(drop_rate * n_timepoints)``."""
    # the small addend undoes binary fractions such as 0.29 * 100 = 28.999999999999996
    return n_timepoints - int(drop_rate * n_timepoints + 1e-9)


def draw_kept(n_timepoints: int, drop_rate: float, rng: np.random.Generator) -> np.ndarray:
    """Indices of the timepoints that stay, drawn uniformly without replacement, in order.

    Parameters
    ----------
    n_timepoints : int
    drop_rate : float
        Share of timepoints to drop, in [0, 1).
    rng : numpy.random.Generator

    Returns
    -------
    ndarray (n_kept,)
        Ascending.
    """
    return np.sort(rng.permutation(n_timepoints)[: n_kept(n_timepoints, drop_rate)])


def view_generators(seed: int, scan_id: str, n_views: int) -> list[np.random.Generator]:
    """One generator per view: the same whatever the batch, the worker or the machine."""
    key = stable_hash(scan_id)
    return [
        np.random.default_rng(np.random.SeedSequence([seed, key, view])) for view in range(n_views)
    ]


def pseudo_fc(
    bold: np.ndarray,
    rngs: Sequence[np.random.Generator],
    drop_rate: float = 0.2,
    estimator: str = "pearson",
) -> np.ndarray:
    """Pseudo-FC of one scan, one view per generator.

    Parameters
    ----------
    bold : ndarray (n_timepoints, n_rois)
        Parcel series. A ROI with a value that is not finite counts as empty.
    rngs : sequence of numpy.random.Generator
        One per view; see `view_generators`.
    drop_rate : float
        Share of timepoints dropped in each view.
    estimator : {"pearson", "ledoit_wolf"}

    Returns
    -------
    ndarray (n_views, n_edges), float32
        Upper triangles in row-major order. Edges of a constant or empty ROI are 0.

    Raises
    ------
    ValueError
        If fewer than three timepoints stay.
    """
    n_timepoints = len(bold)
    if n_kept(n_timepoints, drop_rate) < MIN_KEPT:
        raise ValueError(
            f"found {n_timepoints} timepoints, of which {n_kept(n_timepoints, drop_rate)} stay at "
            f"pfc.drop_rate {drop_rate}; expected at least {MIN_KEPT}: exclude the scan or lower "
            "the rate"
        )
    usable = np.isfinite(bold).all(axis=0)
    series = np.where(usable, bold, 0.0)
    kept = np.stack([draw_kept(n_timepoints, drop_rate, rng) for rng in rngs])
    fc = ESTIMATORS[estimator](series[kept])  # series[kept]: (n_views, n_kept, n_rois)
    return vectorise(fc).astype(np.float32)


def run(config: Config, dataset: str, batch: int, threads: int = 1) -> None:
    """Write the pFC shard of one batch.

    Only scans with a time series and of split ``pretrain`` or ``train`` enter: participants kept
    for evaluation never do.

    Raises
    ------
    TableError
        If the scans or time-series table cannot be read.
    BatchError
        If the disk is full or too many scans failed.
    """
    paths = Paths(config.results)
    scans = read_table(paths.scans(dataset), "scans", columns=["scan_id", "split"]).to_pydict()
    splits = dict(zip(scans["scan_id"], scans["split"], strict=True))
    series = read_table(paths.batch("timeseries", dataset, batch), "timeseries")
    n_rois = series.schema.field("coverage").type.list_size
    items = {
        scan_id: (scan_id, bold)
        for scan_id, bold in bold_by_scan(series).items()
        if splits.get(scan_id) in ("pretrain", "train")
    }
    views = config.pfc.n_views
    job = Job(
        config,
        *("pfc", dataset, batch, pfc_schema(n_rois), threads),
        # no compression: it saves 8-15 % and costs most of the reading speed
        options={
            "row_group_size": SCANS_PER_ROW_GROUP * views,
            "compression": "none",
            "use_dictionary": ["scan_id"],
            "write_statistics": False,
        },
    )
    process = partial(_process, seed=config.seed, pfc=config.pfc.model_dump(), n_rois=n_rois)
    entries = run_batch(job, items, process)
    log.info("pfc %s/%s: %d scans, %d views each", dataset, batch, len(entries), views)


def _process(item: tuple[str, np.ndarray], seed: int, pfc: dict[str, Any], n_rois: int) -> pa.Table:
    """The rows of one scan, all views contiguous."""
    scan_id, bold = item
    views = pfc["n_views"]
    try:
        fc = pseudo_fc(
            bold, view_generators(seed, scan_id, views), pfc["drop_rate"], pfc["estimator"]
        )
    except ValueError as error:
        raise ScanFailed(str(error), step="pseudo_fc") from None
    rows = {
        "scan_id": [scan_id] * views,
        "view": range(views),
        "n_kept": [n_kept(len(bold), pfc["drop_rate"])] * views,
        "seed": [seed] * views,
        "fc": [row.tobytes() for row in fc.astype("<f2")],
    }
    return pa.Table.from_pydict(rows, schema=pfc_schema(n_rois))
