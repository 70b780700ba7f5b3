"""Phenotype tables: read as text, join by participant or scan, never by guess."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from brainmass_core.config import Dataset
from brainmass_core.config.base import near_miss
from brainmass_core.scans.table import PHENO, ScansError, Unmatched

log = logging.getLogger(__name__)
MISSING = ["", "n/a", "N/A", "NA", "NaN", "nan", "null"]


def canonical(identifier: str) -> str:
    """What is compared when ids are joined.

    Without white space around it and a ``sub-`` prefix; whole numbers without leading zeros and
    without ``.0``: ``sub-0050003``, ``50003`` and ``50003.0`` are the same participant.
    """
    text = identifier.strip().removeprefix("sub-")
    whole, dot, rest = text.partition(".")
    if dot and whole.isdecimal() and rest.strip("0") == "":
        text = whole
    return text.lstrip("0") or "0" if text.isdecimal() else text


def phenotype_path(dataset: Dataset) -> Path | None:
    """The configured table, else participants.tsv of the folder, else None."""
    if dataset.phenotype.path:
        return dataset.phenotype.path
    default = dataset.path / "participants.tsv"
    return default if default.exists() else None


def read_phenotype(name: str, dataset: Dataset) -> pd.DataFrame | None:
    """Read the table and check that every declared column is there.

    Returns
    -------
    DataFrame of str or None
        Values as written, None where missing; rows without an id are left out. None if the data
        set has no table.

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
    table = _read_text(path)
    wrong = [
        f"  datasets.{name}.{field}: no column {column!r} in {path}"
        f"{near_miss(column, list(table.columns))}"
        for field, column in declared.items()
        if column not in table.columns
    ]
    if wrong:
        raise ScansError(f"{path}: {len(wrong)} declared columns are missing\n" + "\n".join(wrong))
    named = table[dataset.phenotype.id_column].notna()
    if not named.all():
        log.warning("%s: %d rows without an id are left out", path, (~named).sum())
    return table[named].reset_index(drop=True)


def _declared(dataset: Dataset) -> dict[str, str]:
    settings = dataset.phenotype
    fields = [f for f in type(settings).model_fields if f.endswith("_column")]
    columns = {f"phenotype.{f}": getattr(settings, f) for f in fields}
    columns["stratify_by"] = dataset.stratify_by
    return {field: column for field, column in columns.items() if column is not None}


def _read_text(path: Path) -> pd.DataFrame:
    try:
        with open(path, encoding="utf-8-sig") as file:
            header = file.readline()
        # Excel of some countries writes semicolons into .csv
        usual = "\t" if path.suffix == ".tsv" else ","
        separator = max((usual, *"\t,;"), key=lambda s: (header.count(s), s == usual))
        table = pd.read_csv(
            path, sep=separator, dtype=object, na_filter=False, encoding="utf-8-sig"
        )
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ScansError(
            f"{path}: cannot be read as a table ({type(error).__name__}: {error}); expected "
            "UTF-8 text, .tsv or .csv, with a header row"
        ) from None
    table = table.rename(columns=lambda c: str(c).strip()).apply(lambda c: c.str.strip())
    return table.mask(table.isin(MISSING), None)


def match(ids: pd.Series, column: pd.Series, path: Path) -> pd.Series:
    """Row of the table that each id belongs to.

    Parameters
    ----------
    ids : Series of str
        Participants or scans, may repeat.
    column : Series of str
        The table's ids, on a RangeIndex.

    Returns
    -------
    Series of Int64
        On the index of `ids`, NA where the table has no such row.

    Raises
    ------
    ScansError
        If an id has several rows, or two different ids of the scans have one row.
    """
    left, right = ids.map(canonical), column.dropna().map(canonical)
    wanted = right[right.isin(set(left))]
    twice = wanted[wanted.duplicated(keep=False)]
    if len(twice):
        lines = [
            f"  {key}: rows " + ", ".join(f"{i + 2} ({column[i]})" for i in group.index)
            for key, group in list(twice.groupby(twice))[:10]
        ]
        raise ScansError(
            f"{path}: {twice.nunique()} ids of {column.name!r} have more than one row, expected "
            "one each; remove rows, or, if a row is a scan and not a participant, set "
            "phenotype.scan_column\n" + "\n".join(lines)
        )
    spellings = ids[left.isin(set(wanted))].groupby(left).unique()
    several = spellings[spellings.map(len) > 1]
    if len(several):
        raise ScansError(
            f"{path}: the scans name {' and '.join(several.iloc[0])}, which are both the row "
            f"{several.index[0]!r} of the table; rename one"
        )
    rows = pd.Series(wanted.index, index=wanted, dtype="Int64")
    return left.map(rows).astype("Int64")


def join(
    scans: pd.DataFrame, table: pd.DataFrame | None, dataset: Dataset
) -> tuple[pd.DataFrame, Unmatched]:
    """Add site, age, sex, mean_fd and ``pheno_*`` to the scans.

    Parameters
    ----------
    scans : DataFrame
        With `participant_id`, and `label` (what the file calls the scan) if a row of the table
        is a scan.

    Returns
    -------
    scans : DataFrame
        A copy with the columns added. With ``scan_column`` participant_id is the table's, and
        scans that are not in the table are excluded: it is not known whose they are.
    unmatched : Unmatched
    """
    settings = dataset.phenotype
    scans = scans.copy()
    if table is None:
        return scans.assign(site=None, age=None, sex=None, mean_fd=None), Unmatched()
    path = phenotype_path(dataset) or dataset.path
    if settings.scan_column:
        rows = match(scans["label"], table[settings.scan_column], path)
        found = rows.notna()
        scans.loc[found, "participant_id"] = table[settings.id_column].loc[rows[found]].to_numpy()
        missing = ~found & scans["excluded_reason"].isna()
        scans.loc[missing, "excluded_reason"] = scans.loc[missing, "bold_path"] + (
            ": scan " + scans.loc[missing, "label"] + f" is not in column {settings.scan_column!r} "
            f"of {path}, so it is not known whose it is; add a row or remove the scan"
        )
        scans_only = scans.loc[~found, "label"]
    else:
        rows = match(scans["participant_id"], table[settings.id_column], path)
        scans_only = scans.loc[rows.isna(), "participant_id"]
    joined = table.reindex(rows.astype("float64"))
    joined.index = scans.index
    others = [c for c in table.columns if c != settings.id_column]
    extra = joined[others].add_prefix(PHENO)
    known = scans.assign(
        site=_column(joined, settings.site_column),
        sex=_column(joined, settings.sex_column),
        age=numeric(joined, settings.age_column, path),
        mean_fd=numeric(joined, settings.mean_fd_column, path),
    )
    table_only = table.loc[~table.index.isin(rows.dropna()), settings.id_column]
    unmatched = Unmatched(str(path), sorted(set(table_only)), sorted(set(scans_only)))
    return pd.concat([known, extra], axis=1), unmatched


def _column(joined: pd.DataFrame, column: str | None) -> pd.Series | None:
    return None if column is None else joined[column]


def numeric(joined: pd.DataFrame, column: str | None, path: Path) -> pd.Series | None:
    """A column as numbers; negative ones (-9999) and text (``89+``) are missing, and said so."""
    if column is None:
        return None
    values = pd.to_numeric(joined[column], errors="coerce")
    unusable = joined[column].notna() & ~(values >= 0)
    if unusable.any():
        log.warning(
            "%s: %d values of %r are no number >= 0 and count as missing: %s",
            *(path, unusable.sum(), column, ", ".join(sorted(set(joined[column][unusable]))[:10])),
        )
    return values.where(~unusable).astype("float64")
