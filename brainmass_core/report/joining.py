"""Outcomes of single runs and of joined runs."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from brainmass_core.config import Config
from brainmass_core.pipeline.paths import Paths
from brainmass_core.scans import read_scans
from brainmass_core.scans.units import OF_UNIT, SINGLE, joins, units_of


def run_fates(config: Config, datasets: Iterable[str], entries: pd.DataFrame) -> pd.DataFrame:
    """Every listed run with the first stage that lost it before runs were joined.

    Parameters
    ----------
    entries : DataFrame
        `cohort.read_entries` of these data sets.

    Returns
    -------
    DataFrame
        scan_id, dataset, participant_id, unit, used, stage and reason; empty if runs are not
        joined.
    """
    if not joins(config):
        return pd.DataFrame()
    columns = [*OF_UNIT, "excluded_reason"]
    runs = read_scans(Paths(config.results), datasets).select(columns).to_pandas()
    lost = entries[(entries["status"] != "ok") & entries["stage"].isin(SINGLE)]
    lost = lost.drop_duplicates("scan_id").set_index("scan_id")
    refused = runs["excluded_reason"].notna()
    stage = runs["scan_id"].map(lost["stage"]).where(~refused, "scans")
    reason = runs["scan_id"].map(lost["reason"]).where(~refused, runs["excluded_reason"])
    unit = units_of(runs, config.connectivity.unit)
    return runs.assign(unit=unit, stage=stage, reason=reason, used=stage.isna())


def told_of_joining(config: Config) -> str:
    """One sentence for the tables of stages; empty if runs are not joined."""
    unit = config.connectivity.unit
    if unit == "run":
        return ""
    return (
        f"Runs of one {'participant' if unit == 'participant' else 'session'} and task are joined "
        f"(connectivity.unit: {unit}): up to timeseries a row counts runs, from connectivity on "
        "joined runs."
    )
