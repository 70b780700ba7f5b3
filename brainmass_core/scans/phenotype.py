"""Phenotype tables: read as text, join by participant, session or scan, never by guess."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from brainmass_core.config import Dataset
from brainmass_core.config.base import near_miss
from brainmass_core.readers import FileError, read_delimited
from brainmass_core.readers.groups import refuse_codes_among_names
from brainmass_core.readers.missing import (
    AGE,
    MOTION,
    POSITIVE,
    Kind,
    checked_numbers,
    mask_missing,
    numbers,
    refuse_codes,
)
from brainmass_core.scans.rows import canonical, matched_rows, session_of
from brainmass_core.scans.table import PHENO, ScansError, Unmatched

log = logging.getLogger(__name__)
SESSIONS = ("session_id", "session")  # BIDS and what is near it


def phenotype_path(dataset: Dataset) -> Path | None:
    """The configured table, else participants.tsv of the folder, else None."""
    if dataset.phenotype.path:
        return dataset.phenotype.path
    default = dataset.path / "participants.tsv"
    return default if default.exists() or default.is_symlink() else None


def read_phenotype(name: str, dataset: Dataset, named: Sequence[str] = ()) -> pd.DataFrame | None:
    """Read the table and check that every declared column is there.

    Parameters
    ----------
    named : sequence of str
        Further columns to keep where the table has them, such as labels of tasks. All others are
        omitted, so that columns that are not configured do not enter the results.

    Returns
    -------
    DataFrame of str or None
        Values as written, None where missing; rows without an id are omitted. The index is the
        line of the file. None if the data set has no table.

    Raises
    ------
    ScansError
        If the table cannot be read, a declared column is missing, or columns are declared but
        there is no table.
    """
    path = phenotype_path(dataset)
    declared = _declared(dataset)
    if path is None:
        columns = {f: c for f, c in declared.items() if f != "phenotype.id_column"}
        if columns:
            raise ScansError(
                f"datasets.{name}: {', '.join(columns)} are set, but there is no phenotype table: "
                f"{dataset.path}/participants.tsv does not exist; set phenotype.path"
            )
        return None
    try:
        table = read_delimited(path)
    except FileError as error:
        raise ScansError(str(error)) from None
    _check_declared(name, path, declared, table)
    _say_missing(name, path, [c for c in named if c not in declared.values()], table)
    kept = [c for c in table.columns if c in {*declared.values(), *named, *SESSIONS}]
    table = table[kept].copy()
    ids = {dataset.phenotype.id_column, dataset.phenotype.scan_column, *SESSIONS}
    mask_missing(table, dataset.missing_values, [c for c in ids if c is not None])
    with_id = table[dataset.phenotype.id_column].notna()
    if not with_id.all():
        log.warning("%s: %d rows without an id are ignored", path, (~with_id).sum())
    return _of_session(dataset, table[with_id], path)


def _declared(dataset: Dataset) -> dict[str, str]:
    settings = dataset.phenotype
    fields = [f for f in type(settings).model_fields if f.endswith("_column")]
    columns = {f"phenotype.{f}": getattr(settings, f) for f in fields}
    columns["stratify_by"] = dataset.stratify_by
    return {field: column for field, column in columns.items() if column is not None}


def _check_declared(name: str, path: Path, declared: dict[str, str], table: pd.DataFrame) -> None:
    wrong = [
        f"  datasets.{name}.{field}: no column {column!r} in {path}"
        f"{near_miss(column, list(table.columns))}"
        for field, column in declared.items()
        if column not in table.columns
    ]
    if wrong:
        raise ScansError(f"{path}: {len(wrong)} declared columns are missing\n" + "\n".join(wrong))


def _say_missing(name: str, path: Path, named: list[str], table: pd.DataFrame) -> None:
    """A task may join data sets of which one lacks a column, so that this is no error here."""
    for column in named:
        if column not in table.columns:
            log.warning(
                "%s: no column %r in %s, which a task names%s",
                *(name, column, path, near_miss(column, list(table.columns))),
            )


def _session_column(dataset: Dataset, table: pd.DataFrame) -> str | None:
    """The column by which rows are joined to sessions; None if a row is a participant or scan."""
    settings = dataset.phenotype
    if settings.scan_column or settings.session_column:
        return settings.session_column
    ids = table[settings.id_column].map(canonical)
    if not ids.duplicated().any() and settings.session is None:
        return None
    return next((c for c in SESSIONS if c in table.columns), None)


def _of_session(dataset: Dataset, table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The rows of the one configured session, all rows if there is none."""
    wanted = dataset.phenotype.session
    if wanted is None:
        return table
    column = _session_column(dataset, table)
    if column is None:
        raise ScansError(
            f"{path}: phenotype.session is {wanted!r}, but no column of sessions is known; set "
            "phenotype.session_column"
        )
    rows = table[table[column].map(session_of) == session_of(wanted)]
    if rows.empty:
        found = sorted(set(table[column].dropna()))
        raise ScansError(
            f"{path}: no row of session {wanted!r} in column {column!r}{near_miss(wanted, found)}"
        )
    return rows


def join(
    scans: pd.DataFrame,
    table: pd.DataFrame | None,
    dataset: Dataset,
    named: Sequence[str] = (),
    targets: Sequence[str] = (),
    groups: Sequence[str] = (),
) -> tuple[pd.DataFrame, Unmatched]:
    """Add site, age, sex, mean_fd and ``pheno_*`` to the scans.

    Parameters
    ----------
    scans : DataFrame
        With `participant_id` and `session`, and `label` (what the file calls the scan) if a row
        of the table is a scan.
    named : sequence of str
        Columns to carry along as ``pheno_*``, as far as the table has them.
    targets : sequence of str
        Those of them that are the target of a regression.
    groups : sequence of str
        Those of them whose values are groups of people.

    Returns
    -------
    scans : DataFrame
        A copy with the columns added. With ``scan_column`` participant_id is the table's, and
        scans that are not in the table are excluded: it is not known whose they are.
    unmatched : Unmatched

    Raises
    ------
    ScansError
        If rows cannot be told apart, no scan has a row although its columns are used, or a column
        of numbers or groups contains undeclared codes.
    """
    settings = dataset.phenotype
    scans = scans.copy()
    if table is None:
        return scans.assign(site=None, age=None, sex=None, mean_fd=None), Unmatched()
    path = phenotype_path(dataset) or dataset.path
    if settings.scan_column:
        rows = matched_rows(scans["label"], table[settings.scan_column], path)
        found = rows.notna()
        scans.loc[found, "participant_id"] = table[settings.id_column].loc[rows[found]].to_numpy()
        missing = ~found & scans["excluded_reason"].isna()
        scans.loc[missing, "excluded_reason"] = scans.loc[missing, "bold_path"] + (
            ": scan " + scans.loc[missing, "label"] + f" is not in column {settings.scan_column!r} "
            f"of {path}, so it is not known whose it is; add a row or remove the scan"
        )
        scans_only = scans.loc[~found, "label"]
    else:
        by = None if settings.session else _session_column(dataset, table)
        sessions = None if by is None else table[by]
        rows = matched_rows(
            *(scans["participant_id"], table[settings.id_column], path),
            *(scans["session"], sessions, table.drop(columns=[settings.id_column])),
        )
        scans_only = _lone(scans[rows.isna()], sessions is not None)
        used = {c for c in _declared(dataset).values() if c != settings.id_column} | {*named}
        if rows.isna().all() and len(scans) and used & {*table.columns}:
            raise ScansError(_strangers(path, table[settings.id_column], scans_only))
    known = _with_values(scans, table, rows, dataset, named, targets, groups)
    ids = table[settings.id_column]
    matched = set(ids[ids.index.isin(rows.dropna())].map(canonical))
    table_only = ids[~ids.map(canonical).isin(matched)]
    return known, Unmatched(str(path), sorted(set(table_only)), sorted(set(scans_only)))


def _strangers(path: Path, ids: pd.Series, scans: pd.Series) -> str:
    """Message for a table and scans that have nobody in common."""
    theirs, ours = (", ".join(map(repr, values.unique()[:3])) for values in (ids, scans))
    quoted = len(ids) > 0 and ids.str.fullmatch('".*"').all()
    return (
        f"{path}: none of the {len(scans)} scans has a row: column {ids.name!r} contains "
        f"{theirs or 'nothing'} ..., the scans are of {ours} ...; "
        + ("write ids without quotation marks" if quoted else "correct the ids, or the id_column")
    )


def _lone(scans: pd.DataFrame, by_session: bool) -> pd.Series:
    """Names of scans without a row."""
    if not by_session:
        return scans["participant_id"]
    session = scans["session"].map(lambda s: f" ses-{s}" if isinstance(s, str) else "")
    return scans["participant_id"] + session


def _with_values(
    scans: pd.DataFrame,
    table: pd.DataFrame,
    rows: pd.Series,
    dataset: Dataset,
    named: Sequence[str],
    targets: Sequence[str],
    groups: Sequence[str],
) -> pd.DataFrame:
    """The scans with their values in the table."""
    settings, path = dataset.phenotype, phenotype_path(dataset) or dataset.path
    used = table[table.index.isin(rows.dropna())]
    try:
        for column in [
            c for c in used if c in {settings.site_column, settings.sex_column, *groups}
        ]:
            refuse_codes_among_names(
                *(used[column], _where(path, column), dataset.valid_values),
                positive=column == settings.sex_column,
            )
        for column in targets:
            if column in used:
                values, _ = numbers(used[column], _where(path, column))
                refuse_codes(values, _where(path, column), dataset.valid_values)
        measured = {
            "age": numeric(used, settings.age_column, dataset, AGE),
            "mean_fd": numeric(used, settings.mean_fd_column, dataset, MOTION),
        }
    except FileError as error:
        raise ScansError(str(error)) from None

    def of_scans(values: pd.Series | None) -> pd.Series | None:
        if values is None:
            return None
        taken = values.reindex(rows.astype("float64"))
        return taken.set_axis(scans.index)

    def column_of(name: str | None) -> pd.Series | None:
        return None if name is None else of_scans(table[name])

    known = scans.assign(
        site=column_of(settings.site_column),
        sex=column_of(settings.sex_column),
        age=of_scans(measured["age"]),
        mean_fd=of_scans(measured["mean_fd"]),
    )
    carried = [c for c in table.columns if c in named and c != settings.id_column]
    extra = {f"{PHENO}{c}": of_scans(table[c]) for c in carried}
    return pd.concat([known, pd.DataFrame(extra, index=scans.index)], axis=1)


def _where(path: Path, column: str | None) -> str:
    return f"{path}: column {column!r}"


def numeric(
    table: pd.DataFrame,
    column: str | None,
    dataset: Dataset,
    kind: Kind = POSITIVE,
    prefix: str = "",
) -> pd.Series | None:
    """A column as numbers; single impossible ones and text (``89+``) are missing, which is logged.

    Parameters
    ----------
    prefix : str
        Of the column's name in `table`.

    Raises
    ------
    FileError
        If there are several impossible ones, codes of missing values, or mostly text.
    """
    if column is None:
        return None
    path = phenotype_path(dataset) or dataset.path
    values = table[f"{prefix}{column}"]
    return checked_numbers(values, _where(path, column), kind, dataset.valid_values)
