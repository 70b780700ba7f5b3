"""Read confounds of new scans from a table, if the input does not contain them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from brainmass_core.predict.compatibility import PredictError
from brainmass_core.predict.inputs import Found
from brainmass_core.predict.remedies import as_options
from brainmass_core.readers import FileError, read_delimited
from brainmass_core.readers.groups import refuse_codes_among_names
from brainmass_core.readers.missing import (
    AGE,
    MOTION,
    Code,
    checked_numbers,
    mask_missing,
)
from brainmass_core.scans.phenotype import SESSIONS
from brainmass_core.scans.rows import matched_rows
from brainmass_core.scans.table import ScansError

NUMBERS = {"age": AGE, "mean_fd": MOTION}
COLUMNS = ("site", "sex", *NUMBERS)
IDS = ("scan_id", "participant_id")
SESSION = re.compile(r"(?:^|_)ses-([A-Za-z0-9]+)(?:_|$)")


def add_phenotype(
    found: Found, path: Path, codes: Sequence[Code] = (), valid: Sequence[float] = ()
) -> None:
    """Fill in missing site, sex, age and mean_fd of scans, in place.

    Parameters
    ----------
    path : Path
        ``.tsv`` or ``.csv`` with `scan_id` or `participant_id`, and some of these columns. Ids and
        sessions are compared as in training: ``sub-`` and leading zeros are ignored.
    codes : sequence of int, float or str
        Codes of missing values, including those of the training data.
    valid : sequence of float
        Numbers that look like such codes but are measured values.

    Raises
    ------
    PredictError
        If the table cannot be read, has none of these columns, duplicate ids, or undeclared codes.
    """
    table = _read(path, codes, valid)
    key = next((c for c in IDS if c in table), None)
    columns = [c for c in COLUMNS if c in table]
    if key is None or not columns:
        raise PredictError(
            f"{path}: found the columns {list(table.columns)}, expected scan_id or participant_id, "
            f"and some of {', '.join(COLUMNS)}; rename them"
        )
    rows = _rows(found, table, key, path)
    for row, line in zip(found.rows, rows, strict=True):
        for column in [] if pd.isna(line) else columns:
            value: Any = table.at[line, column]
            if pd.isna(row[column]) and not pd.isna(value):
                row[column] = value


def _rows(found: Found, table: pd.DataFrame, key: str, path: Path) -> pd.Series:
    """Row number of each scan in the table, NA if it has none."""
    ids = pd.Series([str(row[key]) for row in found.rows], dtype=object)
    by = next((c for c in SESSIONS if c in table), None)
    try:
        if key == "scan_id" or by is None or not table[key].duplicated().any():
            return matched_rows(ids, table[key], path)
        named = [SESSION.search(str(row["scan_id"])) for row in found.rows]
        sessions = pd.Series([m[1] if m else None for m in named], dtype=object)
        kept = table[[c for c in (*COLUMNS, by) if c in table]]
        return matched_rows(ids, table[key], path, sessions, table[by], kept)
    except ScansError as error:
        raise PredictError(as_options(str(error))) from None


def as_trained(sites: pd.Series, known: list[str]) -> pd.Series:
    """Convert sites to the names in the model.

    Parameters
    ----------
    sites : Series of str
        Names in the input.
    known : list of str
        ``dataset/site`` of the training scans.

    Returns
    -------
    Series of str
        A name without a data set is completed if exactly one data set has such a site; otherwise it
        is unchanged and therefore an unseen site.
    """
    whole: dict[str, list[str]] = {}
    for name in known:
        whole.setdefault(name.partition("/")[2], []).append(name)
    of = {short: names[0] for short, names in whole.items() if short and len(names) == 1}
    return sites.map(lambda site: site if site in known else of.get(site, site))


def _read(path: Path, codes: Sequence[Code], valid: Sequence[float]) -> pd.DataFrame:
    """The table with missing values as in training, and numeric columns."""
    try:
        table = read_delimited(path)
        mask_missing(table, codes, but=[*IDS, *SESSIONS])
        for column in COLUMNS:
            if column not in table:
                continue
            where = f"{path}: column {column!r}"
            if column in NUMBERS:
                table[column] = checked_numbers(table[column], where, NUMBERS[column], valid)
            else:
                refuse_codes_among_names(table[column], where, valid, column == "sex")
    except FileError as error:
        text = re.sub(r"([Dd]eclare (?:it|them)) for the data set, ", r"\1, ", str(error))
        text = text.replace("missing_values:", "--missing-value:")
        text = text.replace("valid_values:", "--valid-value:")
        raise PredictError(text) from None
    return table
