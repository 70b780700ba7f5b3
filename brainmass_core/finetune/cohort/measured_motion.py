"""Mean framewise displacement of the scans of a task, as earlier stages have measured it."""

from __future__ import annotations

import logging

import pandas as pd
import pyarrow.parquet as pq

from brainmass_core.config import Config
from brainmass_core.config.tasks import Task
from brainmass_core.pipeline.paths import Paths
from brainmass_core.tables import read_table

log = logging.getLogger(__name__)
WANTED = ("scan_id", "mean_fd", "fd_kind", "n_timepoints")


def measured_motion(config: Config, name: str, task: Task, scans: pd.DataFrame) -> pd.DataFrame:
    """Mean framewise displacement (mm): from the series, else preprocessing, else the phenotypes.

    A warning is logged if a task mixes two definitions: Jenkinson's is about half of Power's.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        scan_id, mean_fd.

    Returns
    -------
    DataFrame (n_scans rows)
        mean_fd, and n_timepoints of the series.
    """
    found = scans["mean_fd"].astype("float64")
    kinds: set[str] = set()
    lengths = pd.Series(dtype="float64")
    for stage in ("preprocess", "timeseries"):
        measured = _measured(config, task, stage)
        kinds |= set(measured.get("fd_kind", pd.Series(dtype=object)).dropna())
        values = measured.dropna(subset="mean_fd").set_index("scan_id")["mean_fd"]
        found = scans["scan_id"].map(values).astype("float64").fillna(found)
        if stage == "timeseries" and "n_timepoints" in measured:
            lengths = measured.dropna(subset="n_timepoints").set_index("scan_id")["n_timepoints"]
    if len(kinds) > 1:
        log.warning(
            "task %s: mean framewise displacement is Power's for some scans and Jenkinson's, "
            "about half of it, for others (column fd_kind of the time series), so mean_fd also "
            "depends on the definition: give all data sets columns of one kind",
            name,
        )
    n_timepoints = scans["scan_id"].map(lengths).astype("float64")
    return pd.DataFrame({"mean_fd": found, "n_timepoints": n_timepoints})


def _measured(config: Config, task: Task, stage: str) -> pd.DataFrame:
    """Columns `WANTED` of a stage, as far as its tables have them."""
    paths, parts = Paths(config.results), [pd.DataFrame(columns=["scan_id", "mean_fd"])]
    for dataset in task.datasets:
        for batch in range(config.datasets[dataset].batches):
            path = paths.batch(stage, dataset, batch)
            if path.exists():
                names = set(pq.read_schema(path).names)  # older tables have no fd_kind
                columns = [c for c in WANTED if c in names]
                parts.append(read_table(path, stage, columns).to_pandas())
    return pd.concat([p for p in parts if len(p)] or parts[:1], ignore_index=True)
