"""Functional connectivity (FC): the stage.

`estimators` computes matrices from series; `vectors` converts them to vectors and back.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from brainmass_core.atlas import resolve_atlas
from brainmass_core.config import Config
from brainmass_core.connectivity.estimators import (
    ESTIMATORS,
    functional_connectivity,
    ledoit_wolf,
    pearson,
)
from brainmass_core.connectivity.vectors import n_rois_of, unvectorise, vectorise
from brainmass_core.pipeline.batch import run_batch
from brainmass_core.pipeline.kept import Job
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.pipeline.paths import Paths
from brainmass_core.scans.units import joins, read_units
from brainmass_core.tables import connectivity_schema, from_rows, read_table
from brainmass_core.timeseries.joining import READ, Joined, joined_runs
from brainmass_core.timeseries.table import bold_by_scan, refuse_partial
from brainmass_core.timeseries.write_derivatives import Names, names_of, write_dataset, write_matrix

__all__ = [
    "ESTIMATORS",
    "functional_connectivity",
    "ledoit_wolf",
    "n_rois_of",
    "pearson",
    "run",
    "unvectorise",
    "vectorise",
]

log = logging.getLogger(__name__)

# columns of the time-series table for the sidecars
ABOUT = [
    *("scan_id", "atlas", "space", "denoise", "order", "filter", "censor"),
    *("n_timepoints", "residual_dof"),
]
MEASURES = {  # BIDS label and name
    "pearson": ("pearsoncorrelation", "Pearson correlation"),
    "ledoit_wolf": ("ledoitwolfcorrelation", "Correlation from the Ledoit-Wolf covariance"),
}


@dataclass(frozen=True)
class ConnectivityInput:
    """Input of a worker: one scan, or joined runs.

    Attributes
    ----------
    row : dict
        Columns `ABOUT` of the time-series table; for joined runs the combination by `_about`.
    bold : ndarray (n_timepoints, n_rois) or Joined
        NaN in parcels that are not covered.
    names : list of Names
        Names of its files and of those of its series; empty if none are written.
    parcels : list of str
    global_signal : bool or None
        Whether the global signal was a regressor; None if unknown.
    """

    row: dict[str, Any]
    bold: np.ndarray | Joined
    names: list[Names]
    parcels: list[str]
    global_signal: bool | None


def run(config: Config, dataset: str, batch: int, threads: int = 1) -> None:
    """Write the FC of the scans, or joined runs, of one batch that have a time series.

    Raises
    ------
    TableError
        If the time-series table, or the scans table of joined runs, cannot be read.
    BatchError
        If the disk is full or workers cannot be started.
    """
    paths = Paths(config.results)
    columns = [*ABOUT, "status", "bold", *(READ if joins(config) else [])]
    table = read_table(
        paths.batch("timeseries", dataset, batch),
        "timeseries",
        columns=list(dict.fromkeys(columns)),
    )
    root = paths.derivatives(dataset, "connectivity")
    parcels: list[str] = []
    if config.timeseries.writes_derivatives:
        atlas = resolve_atlas(config)
        parcels = atlas.labels["name"].astype(str).tolist()
        default = None if joins(config) else {"unit"}
        settings = config.connectivity.model_dump(mode="json", exclude=default)
        source = paths.derivatives(dataset, "timeseries")
        write_dataset(root, "functional connectivity", dataset, source, atlas, settings)

    def item(row: dict[str, Any], bold: np.ndarray | Joined) -> ConnectivityInput:
        runs = bold.scan_ids if isinstance(bold, Joined) else [row["scan_id"]]
        place = (row["space"], row["atlas"])
        called = [names_of(root, dataset, s, *place) for s in [row["scan_id"], *runs] if parcels]
        names = [n for n in called if n is not None]
        images = config.datasets[dataset].kind != "timeseries"
        return ConnectivityInput(
            row, bold, names, parcels, config.timeseries.global_signal if images else None
        )

    if joins(config):
        empty = config.timeseries.max_empty_rois
        units = joined_runs(table, read_units(config, dataset), empty, ABOUT)
        items = {unit: item(_about(runs), runs) for unit, runs in units.items()}
        _say_mixed(units, dataset)
    else:
        rows = {row["scan_id"]: row for row in table.select(ABOUT).to_pylist()}
        items = {s: item(rows[s], bold) for s, bold in bold_by_scan(table).items()}
    n_rois = table.schema.field("bold").type.value_type.list_size
    schema = connectivity_schema(n_rois, joins(config))
    job = Job(config, "connectivity", dataset, batch, schema, threads)
    process = partial(_process, estimator=config.connectivity.estimator)
    entries = run_batch(job, items, process)
    log.info("connectivity %s/%s: %d scans", dataset, batch, len(entries))


def _about(unit: Joined) -> dict[str, Any]:
    """Columns `ABOUT` of joined runs: numbers are added, different texts are listed."""
    row: dict[str, Any] = {"scan_id": unit.scan_id, "residual_dof": unit.residual_dof}
    row["n_timepoints"] = sum(run["n_timepoints"] for run in unit.runs)
    for name in set(ABOUT) - set(row):
        row[name] = "; ".join(dict.fromkeys(str(run[name]) for run in unit.runs))
    return row


def _say_mixed(units: dict[str, Joined], dataset: str) -> None:
    mixed = sorted(unit for unit, runs in units.items() if runs.mixed_t_r)
    if mixed:
        log.warning(
            "%s: %d of %d joined series are of runs with different repetition times (t_rs of the "
            "table), of which those with shorter ones have more weight: %s",
            *(dataset, len(mixed), len(units), ", ".join(mixed[:5])),
        )


def _process(item: ConnectivityInput, estimator: str) -> pa.Table:
    """The row of one scan; uncovered parcels are treated as constant."""
    unit = item.bold if isinstance(item.bold, Joined) else None
    bold = item.bold.series() if isinstance(item.bold, Joined) else item.bold
    covered = np.isfinite(bold).all(axis=0)
    try:
        refuse_partial(bold, item.row["scan_id"])
        fc = ESTIMATORS[estimator](np.where(covered, bold, 0.0))
    except ValueError as error:
        raise ScanFailed(str(error), "connectivity") from None
    if item.names:
        _write_relmat(item, np.where(covered & covered[:, None], fc, np.nan), estimator)
    row = {
        "scan_id": item.row["scan_id"],
        "estimator": estimator,
        "n_timepoints": len(bold),
        "fc": vectorise(fc).astype(np.float32).tolist(),
    }
    if unit is not None:
        row |= {
            "joined": unit.scan_ids,
            "n_listed": unit.n_listed,
            "t_rs": unit.t_rs,
            "residual_dof": unit.residual_dof,
        }
    return from_rows([row], connectivity_schema(bold.shape[1], unit is not None))


def _write_relmat(item: ConnectivityInput, fc: np.ndarray, estimator: str) -> None:
    """Write FC as a matrix with its sidecar, following the draft of BEP017."""
    row, dof = item.row, item.row["residual_dof"]
    about = {
        "Estimator": estimator,
        "Denoise": row["denoise"],
        "GlobalSignalRegression": item.global_signal,
        "FilterOrder": row["order"],
        "Filter": row["filter"],
        "Censoring": row["censor"],
        "NumberOfVolumes": row["n_timepoints"],
        "EffectiveDegreesOfFreedom": None if dof is None else round(dof, 3),
    }
    if isinstance(item.bold, Joined):
        about["JoinedRuns"] = item.bold.scan_ids
    write_matrix(item.names, item.parcels, fc, MEASURES[estimator], about)
