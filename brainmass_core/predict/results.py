"""Read the scans of a results folder as input of a model, with their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from brainmass_core.config import Config
from brainmass_core.pipeline.manifest import read_manifests
from brainmass_core.pipeline.paths import Paths
from brainmass_core.predict.compatibility import PredictError, Provenance, incompatibility
from brainmass_core.predict.contract import Contract, Processing
from brainmass_core.predict.inputs import ABOUT, Found, fc_rows
from brainmass_core.predict.model import Model
from brainmass_core.scans import read_scans
from brainmass_core.scans.units import SINGLE, joins, units_of
from brainmass_core.tables import TableError, read_table
from brainmass_core.timeseries.table import bold_by_scan, refuse_partial

BESIDE = ("pfc", "quality")  # stages whose outcomes do not affect series or FC
MADE = ["scan_id", "status", "atlas", *Processing.model_fields, "t_r", "mean_fd", "n_timepoints"]


@dataclass(frozen=True)
class Measured:
    """Content of the tables about one scan.

    Attributes
    ----------
    where : str
        Location, for messages.
    made : dict
        Its row of the time-series table without the series; empty if there is none. For joined runs
        the row of one of them.
    estimator : str
        Of FC.
    values : ndarray (n_edges,) or (n_timepoints, n_rois)
        FC, or the series for models on series.
    unit : str
        Unit of FC, `connectivity.unit`.
    others : tuple of dict
        Rows of the time-series table of the other joined runs.
    """

    scan_id: str
    where: str
    made: dict[str, Any]
    estimator: str
    values: np.ndarray
    unit: str = "run"
    others: tuple[dict[str, Any], ...] = ()


def finished_datasets(config: Config) -> list[str]:
    """Data sets of a results folder that have a scans table."""
    paths = Paths(config.results)
    return [name for name in config.datasets if paths.scans(name).exists()]


def of_tables(measured: Measured) -> Provenance:
    """Provenance of a scan according to the tables of its results folder."""
    made = measured.made
    provenance = Provenance(
        where=measured.where,
        atlas=made.get("atlas"),
        estimator=measured.estimator,
        unit=measured.unit,
        done=Processing(**{key: made.get(key) for key in Processing.model_fields})
        if made
        else None,
        t_r=made.get("t_r"),
    )
    return sized(provenance, measured.values)


def sized(provenance: Provenance, values: np.ndarray) -> Provenance:
    """The same with the number of edges, or of timepoints and parcels."""
    if values.ndim == 1:
        return replace(provenance, n_edges=len(values))
    return replace(provenance, n_timepoints=values.shape[0], n_rois=values.shape[1])


def read_results(
    config: Config,
    model: Model,
    datasets: list[str],
    provenance_of: Callable[[Measured], Provenance] = of_tables,
    as_trained: bool = False,
) -> Found:
    """Every scan of some data sets, with its model input or its outcome.

    Parameters
    ----------
    provenance_of : callable
        Returns the provenance of a scan; a PredictError refuses the scan.
    as_trained : bool
        See `incompatibility`.
    """
    paths, found = Paths(config.results), Found()
    scans = read_scans(paths, datasets).to_pandas().sort_values("scan_id")
    beside = (*BESIDE, "connectivity") if model.contract.series else BESIDE
    if joins(config) and not model.contract.series:
        scans, lost = _units(config, paths, datasets, scans)
    else:
        lost = _fates(paths, datasets, beside) | _excluded(scans)
    about = {row["scan_id"]: {key: row[key] for key in ABOUT} for row in scans.to_dict("records")}
    table = "time-series" if model.contract.series else "connectivity"
    fates = dict.fromkeys(about, ("failed", f"no row in the {table} table")) | lost
    for dataset in datasets:
        for batch in range(config.datasets[dataset].batches):
            for measured in _measured(config, dataset, batch, model.contract):
                if measured.scan_id in lost or measured.scan_id not in about:
                    continue
                row = about.pop(measured.scan_id)
                if (moved := _mean_fd(measured)) is not None:
                    row["mean_fd"] = moved
                _judge(found, row, measured, model, provenance_of, as_trained)
    for scan_id, row in about.items():
        found.add(row, None, *fates[scan_id])
    return found


def _judge(
    found: Found,
    row: dict[str, Any],
    measured: Measured,
    model: Model,
    provenance_of: Callable[[Measured], Provenance],
    as_trained: bool,
) -> None:
    try:
        if model.contract.series:
            refuse_partial(measured.values, measured.where)
        provenance = provenance_of(measured)
        reason = incompatibility(model.contract, provenance, as_trained)
        for made in measured.others:
            run = provenance_of(replace(measured, made=made))
            reason = reason or incompatibility(model.contract, run, as_trained)
    except (PredictError, TableError) as error:
        reason = str(error)
    if reason is not None:
        found.add(row, None, "refused", reason)
        return
    values = np.asarray(measured.values, dtype=np.float32)
    seen = model.of_recording(values, provenance.t_r) if model.contract.series else values
    found.add(row, seen, "ok", "")


def _units(
    config: Config, paths: Paths, datasets: list[str], scans: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, tuple[str, str]]]:
    """One row per unit, that of its first remaining run; and lost units, with outcome and
    reason."""
    gone = _fates(paths, datasets, (*BESIDE, "connectivity")) | _excluded(scans)
    named = scans.assign(unit=units_of(scans, config.connectivity.unit))
    left = ~named["scan_id"].isin(gone)
    first = named.assign(left=left).sort_values(["left", "scan_id"], ascending=[False, True])
    first = first.drop_duplicates("unit")
    lost = {u: gone[s] for u, s in first.loc[~first["left"], ["unit", "scan_id"]].to_numpy()}
    lost |= _fates(paths, datasets, (*BESIDE, *SINGLE))
    return first.assign(scan_id=first["unit"]).sort_values("scan_id"), lost


def _mean_fd(measured: Measured) -> float | None:
    """Mean over all timepoints of the runs with a known value."""
    runs = [measured.made, *measured.others]
    known = [r for r in runs if r.get("mean_fd") is not None]
    if len(known) < 2:
        return known[0]["mean_fd"] if known else None
    weights = [r["n_timepoints"] for r in known]
    return float(np.average([r["mean_fd"] for r in known], weights=weights))


def _measured(config: Config, dataset: str, batch: int, contract: Contract) -> Iterator[Measured]:
    """Scans, or joined runs, of a batch that have input for the model."""
    paths, unit = Paths(config.results), config.connectivity.unit
    series = paths.batch("timeseries", dataset, batch)
    made: dict[str, dict[str, Any]] = {}
    where = f"{paths.results}: {{}}"
    if series.exists():
        table = read_table(series, "timeseries", MADE + ["bold"] * (contract.series is not None))
        made = {row["scan_id"]: row for row in table.select(MADE).to_pylist()}
        if contract.series:
            estimator = contract.connectivity.estimator  # not used by models on series
            for scan_id, bold in bold_by_scan(table).items():
                yield Measured(scan_id, where.format(scan_id), made[scan_id], estimator, bold)
    fc = paths.batch("connectivity", dataset, batch)
    if contract.series is None and fc.exists():
        columns = ["scan_id", "estimator", "fc", *(["joined"] if joins(config) else [])]
        table = read_table(fc, "connectivity", columns)
        runs = (
            table["joined"].to_pylist()
            if joins(config)
            else [[s] for s in table["scan_id"].to_pylist()]
        )
        for (scan_id, row), of in zip(fc_rows(table), runs, strict=True):
            about, *others = [made.get(run, {}) for run in of]
            values = (row["estimator"], row["fc"], unit, tuple(others))
            yield Measured(scan_id, where.format(scan_id), about, *values)


def _excluded(scans: pd.DataFrame) -> dict[str, tuple[str, str]]:
    reasons = scans.dropna(subset="excluded_reason").set_index("scan_id")["excluded_reason"]
    return {str(scan_id): ("excluded", reason) for scan_id, reason in reasons.items()}


def _fates(
    paths: Paths, datasets: list[str], beside: tuple[str, ...]
) -> dict[str, tuple[str, str]]:
    """Outcome and reason of the scans lost in stages other than `beside`."""
    entries = read_manifests(paths).to_pandas()
    entries = entries[entries["dataset"].isin(datasets) & (entries["status"] != "ok")]
    entries = entries[~entries["stage"].isin(beside)].drop_duplicates("scan_id")
    return {
        row.scan_id: (row.status, "; ".join(filter(None, (row.reason, row.remedy))))
        for row in entries.itertuples()
    }
