"""The stage: list the scans of a data set, join phenotypes, split, publish the table."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from brainmass_core.atlas import space_of_atlas
from brainmass_core.config import Config
from brainmass_core.config.phenotypes import groups_of, named_phenotypes, targets_of
from brainmass_core.pipeline.hashing import batch_of, stage_hash
from brainmass_core.pipeline.paths import Paths
from brainmass_core.reasons import reasons_of
from brainmass_core.scans.bids import list_bids
from brainmass_core.scans.derivatives import list_derivatives
from brainmass_core.scans.naming import one_row_each
from brainmass_core.scans.phenotype import join, read_phenotype
from brainmass_core.scans.split import split_of
from brainmass_core.scans.table import (
    ScansError,
    Unmatched,
    write_scans,
)
from brainmass_core.scans.timeseries import add_t_r, list_timeseries
from brainmass_core.tables import SCANS, config_hash_of, read_table

log = logging.getLogger(__name__)
MAX_LINES = 20  # of reasons; the table has the reason of each scan


def run(config: Config, dataset: str) -> None:
    """Write the scans table of one data set.

    Parameters
    ----------
    dataset : str
        Its name in ``config.datasets``.

    Raises
    ------
    ScansError
        If the data set cannot be listed: no run, a phenotype column or table that is missing or
        ambiguous.
    """
    scans, unmatched = list_scans(config, dataset)
    path = Paths(config.results).scans(dataset)
    write_scans(path, scans, unmatched, stage_hash(config, "scans", dataset))
    _say(dataset, scans, unmatched)


def list_again(config: Config, dataset: str) -> set[int] | None:
    """List a data set of which scans are excluded again; publish what has changed.

    For causes that are not visible in a file, such as a storage that was not available.

    Returns
    -------
    set of int or None
        Batches of the scans whose rows have changed; None if there is no table, if it is of an
        older configuration, which the next run replaces anyway, or if no scan is excluded.

    Raises
    ------
    ScansError
        As `run`.
    """
    path, made_by = Paths(config.results).scans(dataset), stage_hash(config, "scans", dataset)
    if not path.exists() or config_hash_of(path) != made_by:
        return None
    before = {r["scan_id"]: r for r in read_table(path, "scans").to_pylist()}
    if all(row["excluded_reason"] is None for row in before.values()):
        return None
    scans, unmatched = list_scans(config, dataset)
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / path.name
        write_scans(again, scans, unmatched, made_by)
        after = {r["scan_id"]: r for r in read_table(again, "scans").to_pylist()}
    changed = {s for s in before.keys() | after.keys() if before.get(s) != after.get(s)}
    if changed:
        write_scans(path, scans, unmatched, made_by)
    return {(after.get(s) or before[s])["batch"] for s in changed}


def list_scans(config: Config, name: str) -> tuple[pd.DataFrame, Unmatched]:
    """The scans of a data set as a DataFrame with the columns of `tables.SCANS` and ``pheno_*``.

    Raises
    ------
    ScansError
        As `run`.
    """
    dataset = config.datasets[name]
    if dataset.phenotype.scan_column and dataset.kind != "timeseries":
        raise ScansError(
            f"datasets.{name}.phenotype.scan_column is for kind timeseries; BIDS scans are joined "
            "by participant: remove it"
        )
    named = named_phenotypes(config, name)
    table = read_phenotype(name, dataset, named)
    rows = one_row_each(_list(config, name, table))
    columns = {c: [row.get(c) for row in rows] for c in (*SCANS.names, "label")}
    listed = pd.DataFrame(columns, dtype=object)
    scans, unmatched = join(
        *(listed, table, dataset, named),
        targets=targets_of(config, name),
        groups=groups_of(config, name),
    )
    if dataset.kind == "timeseries":
        scans = add_t_r(name, dataset, scans)
    scans["dataset"], scans["kind"], scans["role"] = name, dataset.kind, dataset.role
    scans["split"] = split_of(scans, dataset, config.seed, name)
    scans["batch"] = [batch_of(name, p, dataset.batches) for p in scans["participant_id"]]
    return scans.drop(columns="label"), unmatched


def _list(config: Config, name: str, table: pd.DataFrame | None) -> list[dict[str, Any]]:
    dataset = config.datasets[name]
    if dataset.kind == "bids":
        return list_bids(name, dataset, config.preprocess.slice_timing)
    if dataset.kind == "derivatives":
        return list_derivatives(name, dataset, space_of_atlas(config))
    return list_timeseries(name, dataset, table)


def _say(name: str, scans: pd.DataFrame, unmatched: Unmatched) -> None:
    excluded = scans[scans["excluded_reason"].notna()]
    people = scans.drop_duplicates("participant_id")["split"].value_counts().sort_index()
    log.info(
        "%s: %d scans of %d participants (%s), %d scans excluded",
        *(name, len(scans), scans["participant_id"].nunique()),
        *(", ".join(f"{k} {v}" for k, v in people.items()), len(excluded)),
    )
    for reason in reasons_of(excluded["excluded_reason"], MAX_LINES, excluded["scan_id"]):
        log.warning("%s: excluded: %s", name, reason.line())
    for ids, what in (
        (unmatched.table_only, "in the phenotype table only"),
        (unmatched.scans_only, "not in the phenotype table"),
    ):
        if ids:
            more = " ..." if len(ids) > 50 else ""
            log.warning("%s: %d %s: %s%s", name, len(ids), what, ", ".join(ids[:50]), more)
