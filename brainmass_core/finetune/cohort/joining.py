"""Combine the runs of a task's data sets to units, which are the rows of joined FC."""

from __future__ import annotations

import logging

import pandas as pd

from brainmass_core.scans.units import SINGLE

log = logging.getLogger(__name__)
MARKS = ("file", "source_checksum", "series_fingerprint")  # one value per run
TOLD = ("site", "age", "sex")


def joined_cohort(runs: pd.DataFrame, label: str) -> pd.DataFrame:
    """One row per unit, with the combined columns of its runs and its outcome.

    Parameters
    ----------
    runs : DataFrame
        One row per run: columns of the scans table, phenotypes, mean_fd, n_timepoints and the marks
        of `timeseries.identity.with_marks`; `used`, `stage` and `reason`, its outcome up to the
        time series; `unit`, see `scans.units.units_of`.
    label : str
        Column that the task predicts.

    Returns
    -------
    DataFrame
        scan_id is the unit. Phenotypes are those of the first remaining run that has them; mean_fd
        is the mean over all timepoints; the marks are lists; `joined` lists the remaining runs, of
        `n_listed`. A unit whose runs differ in the label is not used.
    """
    far = runs["stage"].map({name: i for i, name in enumerate(SINGLE)}).fillna(len(SINGLE))
    runs = runs.assign(_far=far)
    runs = runs.sort_values(["used", "_far", "scan_id"], ascending=[False, False, True])
    left = runs[runs["used"]].sort_values("scan_id")
    cohort = runs.drop_duplicates("unit").set_index("unit")
    by_unit = left.groupby("unit")
    cohort["joined"] = by_unit["scan_id"].agg(list)
    for name in MARKS:
        cohort[name] = by_unit[name].agg(list)
    told = [c for c in map(str, left) if c in TOLD or c.startswith("pheno_")]
    first = by_unit[told].first()
    cohort.loc[first.index, told] = first
    cohort["n_listed"] = runs.groupby("unit").size()
    cohort["mean_fd"] = _mean_fd(left).reindex(cohort.index)
    cohort = _lost_units(cohort)
    if label in left:
        cohort = _refuse_two_labels(cohort, by_unit[label].unique())
    _say_differences(by_unit)
    cohort = cohort.drop(columns=["_far", "scan_id"]).sort_index()
    return cohort.rename_axis("scan_id").reset_index()


def _mean_fd(left: pd.DataFrame) -> pd.Series:
    """Mean displacement of each unit over its timepoints, over the runs with a known value."""
    known = left.dropna(subset=["mean_fd", "n_timepoints"])
    total = (known["mean_fd"] * known["n_timepoints"]).groupby(known["unit"]).sum()
    return total / known.groupby("unit")["n_timepoints"].sum()


def _lost_units(cohort: pd.DataFrame) -> pd.DataFrame:
    several = ~cohort["used"] & (cohort["n_listed"] > 1)
    told = "none of its " + cohort["n_listed"].astype(str) + " runs is left; one of them: "
    reason = cohort["reason"].where(~several, told + cohort["reason"].astype(str))
    return cohort.assign(reason=reason)


def _refuse_two_labels(cohort: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    known = values.map(lambda found: sorted(str(v) for v in found if not pd.isna(v)))
    several = known[known.map(len) > 1]
    where = cohort.index.isin(several.index)
    cohort.loc[where, "stage"] = "finetune"
    cohort.loc[where, "used"] = False
    cohort.loc[where, "reason"] = [
        f"its runs have different labels: {', '.join(several[unit])}; join them by session"
        for unit in cohort.index[where]
    ]
    return cohort


def _say_differences(by_unit: pd.api.typing.DataFrameGroupBy) -> None:
    for name in TOLD:
        n = int((by_unit[name].nunique() > 1).sum())
        if n:
            log.warning(
                "%d joined series have runs that differ in %s; the value of the first run is used",
                *(n, name),
            )
