"""Summary of a data set: exclusions, outliers and group differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from brainmass_core.config import Config
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pipeline.stages import stages_of
from brainmass_core.quality.groups import Difference, compare
from brainmass_core.quality.measures import MEASURES, Measure, Reference, light, references
from brainmass_core.tables import read_table

STAGES = (*stages_of(selecting=True), "quality")
WHO = ["scan_id", "participant_id", "site", "age", "sex"]
MAX_LEVELS = 40  # maximum number of groups in a column
ALPHA = 0.05


def read_cohort(config: Config, dataset: str) -> pd.DataFrame:
    """One row per scan: its row of the quality table, participant, and grouping columns.

    Returns
    -------
    DataFrame
        Columns of `tables.QUALITY`, ``participant_id``, ``site``, ``age``, ``sex``, and one
        column per grouping in `group_columns`, with its name.
    """
    paths = Paths(config.results)
    parts = [
        read_table(paths.batch("quality", dataset, b), "quality").to_pandas()
        for b in range(config.datasets[dataset].batches)
    ]
    scans = read_table(paths.scans(dataset), "scans").to_pandas()
    cohort = pd.concat([p for p in parts if len(p)] or parts[:1], ignore_index=True)
    # if a page failed there is no outcome, but the scan is still listed
    cohort["stage"] = cohort["stage"].fillna("quality")
    people = scans[WHO].assign(**_group_values(config, dataset, scans))
    return cohort.merge(people, on="scan_id", how="left").sort_values("scan_id", ignore_index=True)


def group_columns(config: Config, dataset: str) -> list[str]:
    """Grouping columns: the configured one, or else the tasks' labels; site and sex."""
    named = config.quality.group_column
    tasks = [n for n, t in config.tasks.items() if dataset in t.datasets]
    return [*([named] if named else [f"task {n}" for n in tasks]), "site", "sex"]


def _group_values(config: Config, dataset: str, scans: pd.DataFrame) -> dict[str, pd.Series]:
    named = config.quality.group_column
    if named:
        column = f"pheno_{named}"
        return {named: scans[column] if column in scans else pd.Series(None, scans.index)}
    found = {}
    for name, task in config.tasks.items():
        if dataset in task.datasets and f"pheno_{task.label}" in scans:
            classes = {_key(v): c for c, values in task.classes.items() for v in values}
            labels = scans[f"pheno_{task.label}"].map(_key, na_action="ignore")
            found[f"task {name}"] = labels.map(classes)
    return found


def _key(value: Any) -> str:
    """A label as text: 2, 2.0 and "2" are the same."""
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else text


def flow(cohort: pd.DataFrame) -> list[dict[str, Any]]:
    """Number of scans that entered each stage = ok + failed + excluded.

    Parameters
    ----------
    cohort : DataFrame (n_scans rows)
        Result of `read_cohort`.

    Returns
    -------
    list of dict
        Stage, In, Ok, Failed and Excluded, one per stage.
    """
    rows = []
    entered = len(cohort)
    for stage in STAGES:
        here = cohort[(cohort["stage"] == stage) & (cohort["status"] != "ok")]
        failed = int((here["status"] == "failed").sum())
        excluded = int((here["status"] == "excluded").sum())
        ok = entered - failed - excluded
        rows.append(
            {"Stage": stage, "In": entered, "Ok": ok, "Failed": failed, "Excluded": excluded}
        )
        entered = ok
    return rows


def exclusions(cohort: pd.DataFrame) -> pd.DataFrame:
    """All failed and excluded scans, with stage, reason and remedy.

    Parameters
    ----------
    cohort : DataFrame (n_scans rows)
        Result of `read_cohort`.

    Returns
    -------
    DataFrame
        scan_id, participant_id, stage, step, status, reason, remedy and page, one row per scan.
    """
    lost = cohort[cohort["status"] != "ok"]
    columns = ["scan_id", "participant_id", "stage", "step", "status", "reason", "remedy", "page"]
    return lost[columns].fillna("")


def head(table: pd.DataFrame, n: int) -> list[dict[str, Any]]:
    """The first `n` rows, as mappings.

    Parameters
    ----------
    table : DataFrame
        Any columns.

    Returns
    -------
    list of dict
        Column to value, at most `n` rows.
    """
    names = [str(c) for c in table]
    rows = table.head(n).itertuples(index=False, name=None)
    return [dict(zip(names, row, strict=True)) for row in rows]


def judged(cohort: pd.DataFrame, config: Config) -> tuple[dict[str, Reference], pd.DataFrame]:
    """Reference values of the data set, and outlying scans.

    Parameters
    ----------
    cohort : DataFrame (n_scans rows)
        Result of `read_cohort`.

    Returns
    -------
    references : dict
        Measure to median and robust standard deviation over all scans that have it.
    outliers : DataFrame
        scan_id, page, measure, value, z, light; the most extreme first.
    """
    keys = [m.key for m in MEASURES]
    values = cohort[keys].itertuples(index=False, name=None)
    found = references(dict(zip(keys, row, strict=True)) for row in values)
    rows = []
    for measure in MEASURES:
        reference = found.get(measure.key)
        for scan_id, status, page, value in cohort[
            ["scan_id", "status", "page", measure.key]
        ].itertuples(index=False, name=None):
            how = light(measure, value, config, reference)
            if how in ("bad", "odd"):
                z = reference.z(value) if reference else np.nan
                rows.append((scan_id, status, page, measure.key, value, z, how))
    columns = ["scan_id", "status", "page", "measure", "value", "z", "light"]
    outliers = pd.DataFrame(rows, columns=columns)
    size = outliers["z"].abs().fillna(np.inf)
    order = pd.DataFrame({"size": -size, "scan": outliers["scan_id"], "m": outliers["measure"]})
    return found, outliers.loc[order.sort_values(["size", "scan", "m"]).index]


def per_person(cohort: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Means of the measures over each participant's scans, because runs are not independent.

    Parameters
    ----------
    cohort : DataFrame (n_scans rows)
        Result of `read_cohort`.
    names : list of str
        Columns whose first value is kept.

    Returns
    -------
    DataFrame (n_participants rows)
    """
    keys = [m.key for m in MEASURES]
    grouped = cohort.groupby("participant_id", sort=True)
    means = grouped[keys].mean()
    return means.join(grouped[[n for n in names if n in cohort]].first())


def differences(cohort: pd.DataFrame, names: list[str]) -> list[dict[str, Any]]:
    """Compare every measure between the groups of every column, with q over all comparisons.

    Parameters
    ----------
    cohort : DataFrame (n_scans rows)
        Result of `read_cohort`.
    names : list of str
        Columns that define groups.

    Returns
    -------
    list of dict
        ``measure`` (Measure), ``column``, ``found`` (Difference), ``q``.
    """
    people = per_person(cohort, names)
    rows: list[dict[str, Any]] = []
    for name in names:
        if name not in people or not 2 <= people[name].nunique() <= MAX_LEVELS:
            continue
        for measure in MEASURES:
            found = compare(people[measure.key], people[name])
            if found:
                rows.append({"measure": measure, "column": name, "found": found})
    if rows:
        q = stats.false_discovery_control([r["found"].p for r in rows])
        rows = [r | {"q": float(v)} for r, v in zip(rows, q, strict=True)]
    return rows


def difference_text(measure: Measure, found: Difference, limit: int = 6) -> str:
    """Medians and sizes of groups, the largest groups first."""
    groups = sorted(found.medians.items(), key=lambda g: (-g[1][1], g[0]))
    shown = [f"{g}: {measure.text(m)} (n {n})" for g, (m, n) in groups[:limit]]
    more = f"; and {len(groups) - limit} more" if len(groups) > limit else ""
    return "; ".join(shown) + more
