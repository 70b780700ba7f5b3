"""Inputs of a quality page: the scan's rows in the tables of earlier stages, and its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from brainmass_core.atlas.parcels import parcels, same_network
from brainmass_core.config import Config
from brainmass_core.connectivity import ESTIMATORS, vectorise
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pipeline.stages import batch_stages
from brainmass_core.quality.measures import Reference, references
from brainmass_core.scans.units import joins, read_units
from brainmass_core.tables import read_table
from brainmass_core.timeseries.table import bold_by_scan

# without timings and memory, which differ between runs and would invalidate finished work
VOLATILE = {"seconds", "peak_rss", "seconds_per_step", "peak_rss_per_step"}
FATE = ["scan_id", "status", "reason", "step", "remedy", "log"]
COPIED = (
    *("max_fd", "mean_rmsd", "std_dvars", "tsnr", "global_correlation", "mask_dice"),
    *("template_correlation", "coregistration_cost", "coregistration_sharpness"),
)


@dataclass(frozen=True)
class QualityInput:
    """Input of a worker: one scan.

    Attributes
    ----------
    scan : dict
        Its row of the scans table.
    config : Config
    results : Path
        Results folder, absolute.
    fate : dict
        ``stage`` at which the scan failed or was excluded (empty if it has FC), ``status``,
        ``reason``, ``step``, ``remedy``, ``log``.
    preprocessed, series : dict
        Its rows of these tables, without timings and series; empty if there are none.
    files : dict
        Name of each output of `preprocess` to its absolute path.
    bold : ndarray (n_timepoints, n_rois) or None
        Clean parcel series.
    fc : ndarray (n_edges,) or None
    labels : DataFrame (n_rois rows) or None
        name, network, x, y, z.
    row : dict
        Its row of `tables.QUALITY`, as far as it is known before the page is made.
    others : dict
        Reference values of the other scans of the batch, by measure.
    """

    scan: dict[str, Any]
    config: Config
    results: Path
    fate: dict[str, Any]
    preprocessed: dict[str, Any]
    series: dict[str, Any]
    files: dict[str, str]
    bold: np.ndarray | None
    fc: np.ndarray | None
    labels: pd.DataFrame | None
    row: dict[str, Any]
    others: dict[str, Reference]


def list_items(config: Config, dataset: str, batch: int) -> dict[str, QualityInput]:
    """All scans of a batch, whatever their outcome, by scan_id.

    Raises
    ------
    TableError
        If a table of an earlier stage cannot be read.
    """
    paths = Paths(config.results.absolute())
    scans = {
        r["scan_id"]: r
        for r in read_table(paths.scans(dataset), "scans").to_pylist()
        if r["batch"] == batch
    }
    judged = [s.name for s in batch_stages(config, dataset) if s.selects]
    units = read_units(config, dataset).runs if joins(config) else {}
    fates = _fates(paths, dataset, batch, judged, scans, units)
    prepared = _rows(paths, "preprocess", dataset, batch) if "preprocess" in judged else {}
    table = read_table(paths.batch("timeseries", dataset, batch), "timeseries")
    bold = bold_by_scan(table)
    series = {r["scan_id"]: r for r in table.drop_columns(["bold"]).to_pylist()}
    if joins(config):  # a page shows a single run with its own FC
        fc = _fc_of_runs(bold, config.connectivity.estimator)
    else:
        fc = _fc(read_table(paths.batch("connectivity", dataset, batch), "connectivity"))
    labels = _labels(config, table)
    rows = {
        s: measured(scan, fates[s], prepared.get(s, {}), series.get(s, {}), fc.get(s), labels)
        for s, scan in scans.items()
    }
    others = references(r for r in rows.values())
    return {
        s: QualityInput(
            scan=scan,
            config=config,
            results=paths.results,
            fate=fates[s],
            preprocessed=prepared.get(s, {}),
            series=series.get(s, {}),
            files=_files(paths.results, scan, prepared.get(s, {})),
            bold=bold.get(s),
            fc=fc.get(s),
            labels=labels,
            row=rows[s],
            others=others,
        )
        for s, scan in scans.items()
    }


def measured(
    scan: dict[str, Any],
    fate: dict[str, Any],
    prepared: dict[str, Any],
    series: dict[str, Any],
    fc: np.ndarray | None,
    labels: pd.DataFrame | None,
) -> dict[str, Any]:
    """The measures of a scan for `tables.QUALITY`; None if unknown.

    Parameters
    ----------
    scan, fate, prepared, series : dict
        Rows of the scan in the tables; empty if it has none.
    fc : ndarray (n_edges,), optional
    labels : DataFrame (n_rois rows), optional
        Labels of the atlas.
    """
    row = {name: prepared.get(name) for name in COPIED}
    told = (prepared.get("mean_fd"), series.get("mean_fd"), scan["mean_fd"])
    row["mean_fd"] = next((v for v in told if v is not None), None)
    row["censored_fraction"] = _censored(prepared, series, scan)
    row["n_timepoints"] = series.get("n_timepoints")
    row["residual_dof"] = series.get("residual_dof")
    row["n_empty_rois"] = series.get("n_empty_rois")
    coverage = series.get("coverage")
    row["min_coverage"] = None if coverage is None else float(np.min(coverage))
    row |= {"mean_abs_fc": None, "network_contrast": None}
    if fc is not None:
        row["mean_abs_fc"] = float(np.mean(np.abs(fc)))
        same = None if labels is None else same_network(labels["network"])
        if same is not None:
            row["network_contrast"] = float(fc[same].mean() - fc[~same].mean())
    told_fate = {k: fate[k] for k in ("status", "reason", "remedy", "stage", "step")}
    return {"scan_id": scan["scan_id"], **told_fate, **row}


def _censored(
    prepared: dict[str, Any], series: dict[str, Any], scan: dict[str, Any]
) -> float | None:
    """Fraction of volumes above the motion threshold."""
    count, total = prepared.get("n_volumes_censored"), prepared.get("n_volumes")
    if count is None:
        count, total = series.get("n_censored"), scan["n_volumes"]
    return count / total if count is not None and total else None


def _fates(
    paths: Paths,
    dataset: str,
    batch: int,
    stages: list[str],
    scans: dict[str, dict],
    units: Mapping[str, list[str]],
) -> dict[str, dict[str, Any]]:
    """Outcome of each scan, or of its joined runs, from the first stage that lost it."""
    fine = {"stage": "", "status": "ok", "reason": "", "step": "", "remedy": "", "log": ""}
    fates = {s: dict(fine) for s in scans}
    for scan_id, scan in scans.items():
        if scan["excluded_reason"] is not None:
            told = {"stage": "scans", "status": "excluded", "reason": scan["excluded_reason"]}
            fates[scan_id] |= told
    for stage in reversed(stages):
        table = read_table(paths.manifest(stage, dataset, batch), "manifest", FATE)
        for entry in table.to_pylist():
            name = entry.pop("scan_id")
            single = stage != "connectivity" or not units
            for scan_id in [name] if single else units.get(name, []):
                if entry["status"] != "ok" and scan_id in scans:
                    fates[scan_id] |= entry | {"stage": stage}
    return fates


def _fc_of_runs(bold: Mapping[str, np.ndarray], estimator: str) -> dict[str, np.ndarray]:
    found = {}
    for scan_id, series in bold.items():
        x = np.where(np.isfinite(series).all(axis=0), series, 0.0)
        found[scan_id] = vectorise(ESTIMATORS[estimator](x)).astype(np.float32)
    return found


def _rows(paths: Paths, stage: str, dataset: str, batch: int) -> dict[str, dict[str, Any]]:
    table = read_table(paths.batch(stage, dataset, batch), stage)
    table = table.drop_columns([c for c in table.column_names if c in VOLATILE])
    return {r["scan_id"]: r for r in table.to_pylist()}


def _fc(table: pa.Table) -> dict[str, np.ndarray]:
    if not len(table):
        return {}
    flat = table["fc"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors = flat.reshape(len(table), -1)
    return dict(zip(table["scan_id"].to_pylist(), vectors, strict=True))


def _labels(config: Config, series: pa.Table) -> pd.DataFrame | None:
    names = series["atlas"].drop_null().unique().to_pylist()
    if not names or not len(series):
        return None
    n_rois = series.schema.field("coverage").type.list_size
    return parcels(config, sorted(names)[0], n_rois)


def _files(results: Path, scan: dict[str, Any], prepared: dict[str, Any]) -> dict[str, str]:
    files = {k: str(results / v) for k, v in prepared.get("outputs") or []}
    if scan["confounds_path"] is not None:  # of kind `derivatives`
        files.setdefault("confounds", scan["confounds_path"])
    return files
