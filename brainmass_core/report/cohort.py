"""Tables of scans per stage, and of excluded and failed scans."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import pandas as pd
import pyarrow as pa

from brainmass_core.config import Config
from brainmass_core.pipeline.accounting import account
from brainmass_core.pipeline.failed_fraction import COLUMNS, FailedFraction, failed_fractions
from brainmass_core.pipeline.paths import Paths
from brainmass_core.reasons import reasons_of
from brainmass_core.report.cells import Cell
from brainmass_core.report.flow import JOINED
from brainmass_core.scans import read_unmatched
from brainmass_core.scans.units import OF_UNIT, SINGLE, joins, units_of
from brainmass_core.tables import read_table

MAX_ROWS = 300  # in a table of single scans; the others are in the results
MAX_REASONS = 20  # per stage and outcome
MAX_NAMES = 50
ENTRY = ["stage", "dataset", "batch", "scan_id", "status", "reason", "step", "remedy"]
LOST = {
    "scan_id": "Scan",
    "participant_id": "Participant",
    "stage": "Stage",
    "step": "Step",
    "status": "Outcome",
    "reason": "Why",
    "remedy": "What to do",
}


def read_entries(config: Config, datasets: Iterable[str]) -> pd.DataFrame:
    """Manifest entries of the data sets and their current batches, without times and logs.

    Returns
    -------
    DataFrame
        Columns `ENTRY`, one row per entry.
    """
    root = Paths(config.results).results / "manifest"
    stages = sorted(p.name for p in root.iterdir()) if root.is_dir() else []
    paths = Paths(config.results)
    files = [
        paths.manifest(stage, name, batch)
        for stage in stages
        for name in datasets
        for batch in range(config.datasets[name].batches)
    ]
    parts = [read_table(f, "manifest", ENTRY).to_pandas() for f in files if f.exists()]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=ENTRY)


def stage_flow(
    config: Config, datasets: Iterable[str], entries: pd.DataFrame | None = None
) -> list[dict[str, Any]]:
    """Number of scans that entered each stage, by outcome.

    In each row ``In`` = ``Ok + Failed + Excluded + Missing``; ``Missing`` is 0 in a finished run.

    Parameters
    ----------
    entries : DataFrame, optional
        Result of `read_entries`, if it is already available.

    Returns
    -------
    list of dict
        One row per data set and stage.
    """
    datasets = list(datasets)
    entries = read_entries(config, datasets) if entries is None else entries
    rows = []
    for name in datasets:
        status: dict[str, dict[str, str]] = defaultdict(dict)
        for stage, here in entries[entries["dataset"] == name].groupby("stage"):
            status[str(stage)] = dict(zip(here["scan_id"], here["status"], strict=True))
        for stage, entered, found in account(config, name, status.__getitem__, waiting=False):
            if stage != "quality":  # its outcomes do not exclude scans
                n = Counter(found.values())
                rows.append(_flow(name, stage, len(entered), n["ok"], n["failed"], n["excluded"]))
    return _counted(rows) if joins(config) else rows


def refused(config: Config, entries: pd.DataFrame) -> list[FailedFraction]:
    """Data sets and stages in which more scans failed than `max_failed_fraction` allows.

    Parameters
    ----------
    entries : DataFrame
        Result of `read_entries`.
    """
    columns = {name: pa.array(entries[name].astype(str).tolist(), pa.string()) for name in COLUMNS}
    found = failed_fractions(pa.table(columns), config.max_failed_fraction)
    return [one for one in found if one.exceeded]


def in_red(flow: list[dict[str, Any]], found: list[FailedFraction]) -> list[dict[str, Any]]:
    """Rows of `stage_flow`, with the failed scans of these data sets and stages in red."""
    where = {(one.dataset, one.stage) for one in found}
    return [
        row | {"Failed": Cell(str(row["Failed"]), "", row["Failed"], alarm=True)}
        if (row["Data set"], row["Stage"]) in where
        else row
        for row in flow
    ]


def _counted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each row what it counts, if this is not always a scan."""
    return [r | {"Counted": "runs" if r["Stage"] in SINGLE else JOINED} for r in rows]


def task_flow(cohort: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of `stage_flow` for a task, one per data set.

    Parameters
    ----------
    cohort : DataFrame
        `tables.COHORT`.

    Returns
    -------
    list of dict
    """
    rows = []
    for name, scans in cohort.groupby("dataset"):
        entered = scans[scans["used"] | (scans["stage"] == "finetune")]
        used = int(entered["used"].sum())
        rows.append(_flow(str(name), "finetune", len(entered), used, 0, len(entered) - used))
    return _counted(rows) if "joined" in cohort else rows


def _flow(
    dataset: str, stage: str, entered: int, ok: int, failed: int, excluded: int
) -> dict[str, Any]:
    missing = entered - ok - failed - excluded
    return {
        "Data set": dataset,
        "Stage": stage,
        "In": entered,
        "Ok": ok,
        "Failed": failed,
        "Excluded": excluded,
        "Missing": missing,
    }


def exclusions(
    config: Config, datasets: Iterable[str], entries: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Every scan that failed or was excluded before the tasks: columns `LOST`.

    Parameters
    ----------
    entries : DataFrame, optional
        Result of `read_entries`, if it is already available.

    Returns
    -------
    DataFrame
        Columns `LOST`.
    """
    datasets, paths = list(datasets), Paths(config.results)
    columns = [*OF_UNIT, "excluded_reason"]
    tables = [read_table(paths.scans(name), "scans", columns).to_pandas() for name in datasets]
    scans = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    refused = scans[scans["excluded_reason"].notna()].rename(columns={"excluded_reason": "reason"})
    entries = read_entries(config, datasets) if entries is None else entries
    lost = entries[entries["status"] != "ok"].sort_values("scan_id")
    who = scans.drop_duplicates("scan_id").set_index("scan_id")["participant_id"]
    if joins(config):
        named = scans.assign(scan_id=units_of(scans, config.connectivity.unit))
        units = named.drop_duplicates("scan_id").set_index("scan_id")["participant_id"]
        who = pd.concat([who, units[~units.index.isin(who.index)]])
    lost = lost.assign(participant_id=lost["scan_id"].map(who))
    return pd.concat([_lost(refused, stage="scans", status="excluded"), _lost(lost)])


def task_exclusions(cohort: pd.DataFrame) -> pd.DataFrame:
    """Scans with FC that the task itself excluded: columns `LOST`.

    Parameters
    ----------
    cohort : DataFrame
        `tables.COHORT`.

    Returns
    -------
    DataFrame
        Columns `LOST`.
    """
    left = cohort[cohort["stage"] == "finetune"].sort_values("scan_id")
    columns = left[["scan_id", "participant_id", "stage", "reason"]]
    return _lost(columns, status="excluded")


def _lost(scans: pd.DataFrame, **given: str) -> pd.DataFrame:
    shown = scans.assign(**given).reindex(columns=list(LOST)).astype(object).fillna("")
    return shown.rename(columns=LOST)


def count_reasons(lost: pd.DataFrame) -> list[dict[str, Any]]:
    """Numbers of failed and excluded scans by stage, outcome and reason.

    Parameters
    ----------
    lost : DataFrame
        Columns `LOST`.

    Returns
    -------
    list of dict
    """
    rows = []
    for (stage, outcome), scans in lost.groupby(["Stage", "Outcome"], sort=False):
        for reason in reasons_of(scans["Why"], MAX_REASONS):
            rows.append({"Stage": stage, "Outcome": outcome, "Why": reason.text, "Scans": reason.n})
    return rows


def lost(scans: pd.DataFrame, files: list[str]) -> dict[str, Any]:
    """Failed and excluded scans on a page: all of them by reason, the first ones individually.

    Parameters
    ----------
    scans : DataFrame
        Columns `LOST`.
    files : list of str
        Files that list all of them.
    """
    return {
        "n": len(scans),
        "reasons": count_reasons(scans),
        "rows": scans.head(MAX_ROWS).to_dict("records"),
        "files": files,
    }


def unmatched_ids(config: Config, datasets: Iterable[str]) -> list[dict[str, Any]]:
    """Ids that are only in the phenotype table, or only among the scans."""
    rows = []
    for name in datasets:
        found = read_unmatched(Paths(config.results).scans(name))
        for ids, where in (
            (found.table_only, "phenotype table only"),
            (found.scans_only, "scans only"),
        ):
            if ids:
                more = f" and {len(ids) - MAX_NAMES} more" if len(ids) > MAX_NAMES else ""
                text = ", ".join(ids[:MAX_NAMES]) + more
                rows.append({"Data set": name, "Found in": where, "Number": len(ids), "Ids": text})
    return rows
