"""Write tables as text, for spreadsheets and as BIDS."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pandas as pd

from brainmass_core.readers.missing import NUMBER
from brainmass_core.tables.files import TableError

FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # also full-width, which some spreadsheets read
BREAKS = re.compile(r"[\t\r\n]+")


def neutral(value: Any) -> Any:
    """Protect text from being read as a formula, by an apostrophe before ``= + - @``.

    Numbers, also as text, are not changed.
    """
    if not isinstance(value, str) or NUMBER.fullmatch(value):
        return value
    if not value.lstrip().startswith(FORMULA) and not value.startswith(("\t", "\r")):
        return value
    return f"'{value}"


def write_text_table(
    path: Path,
    table: pd.DataFrame,
    tabs: bool = False,
    missing: str = "n/a",
    float_format: str | None = None,
) -> None:
    """Write a table for use in a spreadsheet.

    Parameters
    ----------
    tabs : bool
        ``.tsv`` as in BIDS, without quoting, so that tabs and line breaks become spaces; otherwise
        ``.csv``.
    """
    texts = [str(c) for c in table if table[c].map(lambda v: isinstance(v, str)).any()]
    safe = table.assign(**{c: table[c].astype(object).map(neutral) for c in texts})
    safe = safe.rename(columns=neutral)
    if tabs:
        safe = safe.assign(**{c: safe[c].map(_one_line) for c in map(neutral, texts)})
        path.write_text(tsv_text(safe, missing, float_format), encoding="utf-8")
    else:
        safe.to_csv(path, index=False, na_rep=missing, float_format=float_format)


def _one_line(value: Any) -> Any:
    return BREAKS.sub(" ", value) if isinstance(value, str) else value


def tsv_text(table: pd.DataFrame, missing: str = "n/a", float_format: str | None = None) -> str:
    """A table as in BIDS: without quoting, so that `readers.read_delimited` reads it back
    unchanged.

    Raises
    ------
    TableError
        If a cell contains a tab or a line break.
    """
    text = io.StringIO()
    try:
        table.to_csv(
            text,
            sep="\t",
            index=False,
            na_rep=missing,
            float_format=float_format,
            quoting=csv.QUOTE_NONE,
            quotechar="\x00",  # does not occur in any text that was read
        )
    except csv.Error as error:
        raise TableError(f"a cell holds a tab or a line break ({error}); rename it") from None
    return text.getvalue()
