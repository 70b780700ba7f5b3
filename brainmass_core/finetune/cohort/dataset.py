"""The cohort of a task: scans that are used, their labels, and exclusions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from brainmass_core.config import Config
from brainmass_core.config.tasks import Task
from brainmass_core.connectivity import n_rois_of
from brainmass_core.finetune.cohort.attrition import say_who_takes_part
from brainmass_core.finetune.cohort.joining import joined_cohort
from brainmass_core.finetune.cohort.labels import (
    PHENO,
    TaskError,
    drop,
    fifths,
    judge_labels,
    judge_numbers,
    refuse_empty_class,
)
from brainmass_core.finetune.cohort.measured_motion import measured_motion
from brainmass_core.pipeline.failed_fraction import refused_of
from brainmass_core.pipeline.manifest import read_manifests
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.data.recordings import unusable
from brainmass_core.scans import read_scans
from brainmass_core.scans.units import SINGLE, joins, units_of
from brainmass_core.tables import read_table
from brainmass_core.timeseries.identity import with_marks

UNKNOWN = "unknown"


@dataclass(frozen=True)
class TaskData:
    """Data of a task, one row per scan, ordered by scan_id.

    Attributes
    ----------
    scans : DataFrame (n_scans rows)
        scan_id, dataset, participant_id, participant (unique over data sets), site, age, sex,
        mean_fd, split, class_name and y: the number of the class (1 for the second, positive one),
        or the target of a regression, which also has stratum, its fifth. Also the columns for
        finding leaks, see `timeseries.identity.with_marks`. If runs are joined, a row is a unit.
    fc : ndarray (n_scans, n_edges), float32
        FC of the full series, upper triangle in row-major order.
    cohort : DataFrame
        Every scan of the task's data sets with its outcome, see `tables.COHORT`.
    estimator : str
        FC estimator.
    target_confounds : tuple of str
        Confounds that are the target itself, such as age in a prediction of age.
    """

    scans: pd.DataFrame
    fc: np.ndarray
    cohort: pd.DataFrame
    estimator: str
    target_confounds: tuple[str, ...] = ()

    @property
    def n_rois(self) -> int:
        """Number of parcels."""
        return n_rois_of(self.fc.shape[1])


def assemble(config: Config, name: str, listed: bool = False) -> TaskData:
    """Join scans, labels and FC of a task and account for every scan.

    Parameters
    ----------
    listed : bool
        Whether reasons for exclusions are logged. Only the part of a task that writes the cohort
        table does this.

    Raises
    ------
    TaskError
        If the label column is missing or a class has no scan.
    NoDatasetError
        If too many scans failed in each of the task's data sets.
    """
    paths, task = Paths(config.results), config.tasks[name]
    joined = joins(config)
    again = f"remove {paths.results / 'connectivity'} and run: snakemake --cores all connectivity"
    refused = refused_of(config, "finetune", task.datasets, name if listed else "")
    cohort = _with_fates(config, name)
    why = cohort["dataset"].map({d: one.text for d, one in refused.items()})
    cohort = drop(cohort, why.notna(), "finetune", why)
    cohort = (judge_numbers if task.kind == "regression" else judge_labels)(cohort, task, name)
    ids, fc, estimator = _read_fc(config, task, set(cohort.loc[cohort["used"], "scan_id"]))
    reason = f"in neither the connectivity table nor a manifest; {again}"
    cohort = drop(cohort, ~cohort["scan_id"].isin(ids), "connectivity", reason)
    # for all methods, so that they are scored on the same scans
    if config.pretrain.encoder.sees_series and not joined:
        why = cohort["scan_id"].map(unusable(config, task.datasets))
        cohort = drop(cohort, why.notna(), "finetune", why)
    finite = np.isfinite(fc).all(axis=1)
    reason = f"FC with values that are not finite; {again}"
    cohort = drop(cohort, cohort["scan_id"].isin(ids[~finite]), "finetune", reason)
    ids, fc = ids[finite], fc[finite]
    scans = cohort[cohort["used"]].sort_values("scan_id", ignore_index=True)
    order = pd.Series(np.arange(len(ids)), index=ids).reindex(scans["scan_id"]).to_numpy()
    scans["participant"] = scans["dataset"] + "/" + scans["participant_id"]
    # joined units already have these columns
    scans = scans if joined else with_marks(config, scans)
    refuse_empty_class(cohort, task, name)
    if task.kind == "regression":
        scans["y"] = scans["y"].astype("float64")
        scans["stratum"] = fifths(scans)
    else:
        order_of = {class_name: i for i, class_name in enumerate(task.classes)}
        scans["y"] = scans["class_name"].map(order_of).astype(int)
    say_who_takes_part(cohort, task, name, paths.finetune(name) / "cohort.parquet", listed)
    target = tuple(config.target_confounds(name))
    return TaskData(scans, fc[order.astype(int)], cohort, estimator, target)


def place_of(scans: pd.DataFrame) -> pd.Series:
    """``dataset/site`` of each scan, because sites of two data sets may have the same name.

    Scans without a site form one site per data set.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        dataset and site.

    Returns
    -------
    Series (n_scans,) of str
    """
    return scans["dataset"] + "/" + scans["site"].astype(object).fillna(UNKNOWN)


def _with_fates(config: Config, name: str) -> pd.DataFrame:
    """Scans of the task's data sets; `used` is False for those lost in earlier stages.

    If runs are joined, a row is a unit, see `joined_cohort`.
    """
    paths, task = Paths(config.results), config.tasks[name]
    scans = read_scans(paths, task.datasets).to_pandas().sort_values("scan_id", ignore_index=True)
    found = measured_motion(config, name, task, scans)
    scans["mean_fd"] = found["mean_fd"]
    # before the column `task` is replaced
    scans["unit"] = units_of(scans, config.connectivity.unit)
    scans = scans.assign(task=name, used=True, stage=None, reason=None)
    scans[["stage", "reason"]] = scans[["stage", "reason"]].astype(object)
    scans = drop(scans, scans["excluded_reason"].notna(), "scans", scans["excluded_reason"])
    entries = read_manifests(paths).to_pandas()
    entries = entries[(entries["status"] != "ok") & (entries["stage"] != "pfc")]
    counts = {d: config.datasets[d].batches for d in task.datasets}
    # an empty column has no numeric type
    batches = entries["dataset"].map(counts).astype("float64")
    # ignore other data sets and batches of older configurations
    entries = entries[entries["batch"] < batches]
    if not joins(config):
        return _with_entries(scans, entries)
    runs = _with_entries(scans, entries[entries["stage"].isin(SINGLE)])
    runs = with_marks(config, runs.assign(n_timepoints=found["n_timepoints"]))
    units = joined_cohort(runs, PHENO + task.label)
    return _with_entries(units, entries[entries["stage"] == "connectivity"])


def _with_entries(scans: pd.DataFrame, entries: pd.DataFrame) -> pd.DataFrame:
    """Scans without those that a manifest lists as failed or excluded."""
    first = entries.drop_duplicates("scan_id").set_index("scan_id")
    stage = scans["scan_id"].map(first["stage"])
    return drop(scans, stage.notna(), stage, scans["scan_id"].map(first["reason"]))


def _read_fc(config: Config, task: Task, wanted: set[str]) -> tuple[np.ndarray, np.ndarray, str]:
    """Scan ids, FC (n_scans, n_edges) and estimator of the wanted scans, batch by batch."""
    paths = Paths(config.results)
    ids: list[str] = []
    parts: list[np.ndarray] = []
    estimators: set[str] = set()
    for dataset in task.datasets:
        for batch in range(config.datasets[dataset].batches):
            table = read_table(paths.batch("connectivity", dataset, batch), "connectivity")
            table = table.filter(pc.is_in(table["scan_id"], pa.array(sorted(wanted), pa.string())))
            ids += table["scan_id"].to_pylist()
            estimators |= set(table["estimator"].to_pylist())
            flat = table["fc"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            parts.append(flat.reshape(len(table), -1) if len(table) else flat.reshape(0, 0))
    parts = [p for p in parts if len(p)]
    widths = {p.shape[1] for p in parts}
    if len(widths) > 1 or len(estimators) > 1:
        raise TaskError(
            f"data sets {', '.join(task.datasets)}: found FC of {sorted(widths)} edges, "
            f"estimators {sorted(estimators)}, expected one of each; run: snakemake --cores all "
            "connectivity; if the data have different parcels, use a separate task for each kind"
        )
    fc = np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
    return np.array(ids, dtype=object), fc, next(iter(estimators), "")
