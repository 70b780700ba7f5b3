"""Functional connectivity (FC): estimators and vectors as pure functions, and the stage.

An FC vector is the upper triangle without the diagonal, in row-major order.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from brainmass_core.atlas import resolve_atlas
from brainmass_core.config import Config
from brainmass_core.pipeline.batch import run_batch
from brainmass_core.pipeline.kept import Job
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.pipeline.paths import Paths
from brainmass_core.scans.units import joins, read_units
from brainmass_core.tables import connectivity_schema, from_rows, read_table
from brainmass_core.timeseries.joining import CONSTANT, READ, Joined, joined_runs, standardise
from brainmass_core.timeseries.table import bold_by_scan, refuse_partial
from brainmass_core.timeseries.write_derivatives import Names, names_of, write_dataset, write_matrix

__all__ = ["CONSTANT", "ESTIMATORS", "pearson", "run", "standardise", "vectorise"]

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


def pearson(x: np.ndarray) -> np.ndarray:
    """Pearson correlation between all ROIs.

    Parameters
    ----------
    x : ndarray (..., n_timepoints, n_rois)

    Returns
    -------
    ndarray (..., n_rois, n_rois)
        In [-1, 1], symmetric, diagonal 1. A constant ROI correlates 0 with every other.

    Raises
    ------
    ValueError
        If `x` has fewer than two timepoints or a value that is not finite.
    """
    z = standardise(_checked(x))
    r = np.clip(np.swapaxes(z, -1, -2) @ z / z.shape[-2], -1.0, 1.0)
    return _with_unit_diagonal(r)


def ledoit_wolf(x: np.ndarray) -> np.ndarray:
    """Correlation from the Ledoit-Wolf covariance of the z-scored series.

    This is what nilearn's ``ConnectivityMeasure(kind="correlation")`` gives by default. With z the
    z-scores, S = z'z/n, p ROIs, n timepoints, m = tr(S)/p, the shrinkage is s = min(b, d)/d with
    d = ||S||²/p - m² and b = (mean over time of ||z_t||⁴ - ||S||²)/(n p) (Ledoit & Wolf 2004,
    doi:10.1016/S0047-259X(03)00096-4).

    Parameters
    ----------
    x : ndarray (..., n_timepoints, n_rois)

    Returns
    -------
    ndarray (..., n_rois, n_rois)
        Symmetric, diagonal 1. A constant ROI correlates 0 with every other.

    Raises
    ------
    ValueError
        If `x` has fewer than two timepoints or a value that is not finite.
    """
    z = standardise(_checked(x))
    n, p = z.shape[-2:]
    s = np.swapaxes(z, -1, -2) @ z / n
    norm = np.sum(s**2, axis=(-2, -1))
    mean = np.trace(s, axis1=-2, axis2=-1) / p
    delta = norm / p - mean**2
    beta = (np.mean(np.sum(z**2, axis=-1) ** 2, axis=-1) - norm) / (n * p)
    beta = np.clip(beta, 0.0, np.maximum(delta, 0.0))
    shrinkage = np.where(delta > 0, beta / np.where(delta > 0, delta, 1.0), 0.0)
    # all non-constant ROIs have the same shrunk variance, so one factor converts S to correlations
    variance = (1 - shrinkage) + shrinkage * mean
    scale = np.where(variance > 0, (1 - shrinkage) / np.where(variance > 0, variance, 1.0), 0.0)
    return _with_unit_diagonal(np.clip(scale[..., None, None] * s, -1.0, 1.0))


ESTIMATORS = {"pearson": pearson, "ledoit_wolf": ledoit_wolf}


def functional_connectivity(
    series: np.ndarray, estimator: Literal["pearson", "ledoit_wolf"] = "pearson"
) -> np.ndarray:
    """Functional connectivity of parcel series.

    Parameters
    ----------
    series : ndarray (..., n_timepoints, n_rois)
    estimator : {"pearson", "ledoit_wolf"}
        See the functions of these names.

    Returns
    -------
    ndarray (..., n_rois, n_rois)
        In [-1, 1], symmetric, diagonal 1. A constant ROI correlates 0 with every other.

    Raises
    ------
    ValueError
        If there is no such estimator, or `series` has fewer than two timepoints or a value that is
        not finite.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"found estimator {estimator!r}, expected one of {sorted(ESTIMATORS)}")
    return ESTIMATORS[estimator](series)


def vectorise(fc: np.ndarray) -> np.ndarray:
    """The upper triangle of symmetric matrices, row-major, without the diagonal.

    Parameters
    ----------
    fc : ndarray (..., n_rois, n_rois)

    Returns
    -------
    ndarray (..., n_rois * (n_rois - 1) / 2)
        With the dtype of `fc`.
    """
    fc = np.asarray(fc)
    if fc.ndim < 2 or fc.shape[-1] != fc.shape[-2]:
        raise ValueError(f"found an array of shape {fc.shape}, expected (..., n_rois, n_rois)")
    rows, columns = np.triu_indices(fc.shape[-1], k=1)
    return fc[..., rows, columns]


def unvectorise(vector: np.ndarray, diagonal: float = 1.0) -> np.ndarray:
    """Inverse of `vectorise`.

    Parameters
    ----------
    vector : ndarray (..., n_edges)
    diagonal : float
        Value on the diagonal.

    Returns
    -------
    ndarray (..., n_rois, n_rois)
        Symmetric, with the dtype of `vector`.

    Raises
    ------
    ValueError
        If no number of ROIs has this number of edges.
    """
    vector = np.asarray(vector)
    n_rois = n_rois_of(vector.shape[-1])
    rows, columns = np.triu_indices(n_rois, k=1)
    fc = np.full((*vector.shape[:-1], n_rois, n_rois), diagonal, dtype=vector.dtype)
    fc[..., rows, columns] = vector
    fc[..., columns, rows] = vector
    return fc


def n_rois_of(n_edges: int) -> int:
    """Number of ROIs whose upper triangle has `n_edges` entries.

    Raises
    ------
    ValueError
        If there is no such number.
    """
    n_rois = round((1 + np.sqrt(1 + 8 * n_edges)) / 2)
    if n_rois * (n_rois - 1) // 2 != n_edges or n_edges == 0:
        raise ValueError(
            f"found {n_edges} edges, which is not an upper triangle: expected n (n - 1) / 2, such "
            "as 4950 for 100 ROIs"
        )
    return n_rois


def _checked(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim < 2 or x.shape[-2] < 2:
        raise ValueError(
            f"found a series of shape {x.shape}, expected (..., n_timepoints >= 2, n_rois)"
        )
    if not np.isfinite(x).all():
        bad = np.flatnonzero(~np.isfinite(x).all(axis=tuple(range(x.ndim - 1))))
        raise ValueError(f"found values that are not finite in ROIs {bad.tolist()} (from 0)")
    return x


def _with_unit_diagonal(r: np.ndarray) -> np.ndarray:
    index = np.arange(r.shape[-1])
    r[..., index, index] = 1.0
    return r


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
