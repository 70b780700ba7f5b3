"""Read delimited text that users write: one reader for all tables.

BIDS ``.tsv`` has no quoting: a quotation mark is an ordinary character. ``.csv`` has the
quoting of RFC 4180. Every row has a field for each name of the header, or the file is refused with
the line; values are not shifted, added or dropped.
"""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pandas as pd

from brainmass_core.readers.files import FileError, read_lines
from brainmass_core.readers.limits import TEXT, Limits, quoted

log = logging.getLogger(__name__)
NAMES = {"\t": "tabs", ",": "commas", ";": "semicolons"}
BLANK = " \t\r\n\v\f\xa0\ufeff\u200b"  # spaces, no-break space, byte order mark, zero-width space
LINE = "line"  # name of the index: the line of the file that a row is on


@dataclass(frozen=True)
class Rows:
    """The rows of a file, header included, as fields without white space around them.

    Attributes
    ----------
    delimiter : str
    lines : list of int
        Number of the line, from 1, on which each row begins.
    fields : list of list of str
    n_comments : int
        Lines that begin with ``#``, which are ignored like blank lines.
    """

    delimiter: str
    lines: list[int]
    fields: list[list[str]]
    n_comments: int


def read_delimited(path: Path, limits: Limits = TEXT) -> pd.DataFrame:
    """Read a table with a header.

    Parameters
    ----------
    path : Path
        ``.tsv``, ``.csv``, ``.txt``, also ``.gz``. The suffix determines the delimiter; if it
        does not occur in the header, the one that does is used.

    Returns
    -------
    DataFrame of str
        As written, without white space around it; nothing counts as missing. The index, `LINE`, is
        the line of the file in which a row begins.

    Raises
    ------
    FileError
        Naming file, line, what was found and what was expected.
    """
    rows = read_rows(path, limits)
    if not rows.fields:
        raise FileError(f"{path}: contains only delimiters; expected a header")
    header, body = rows.fields[0], rows.fields[1:]
    if not body:
        skipped = f" ({rows.n_comments} lines begin with #)" if rows.n_comments else ""
        raise FileError(f"{path}: has a header and no rows{skipped}; expected rows")
    header = _without_trailing(path, header)
    body = _fitted(path, header, rows)
    if header and not header[0] and _counts([r[0] for r in body]):
        log.info("%s: the first column has no name and counts the rows; it is ignored", path)
        header, body = header[1:], [r[1:] for r in body]
    _check_header(path, header, rows)
    return pd.DataFrame(
        dict(zip(header, map(list, zip(*body, strict=True)), strict=True)),
        index=pd.Index(rows.lines[1:], name=LINE),
        dtype=object,
    )


def read_rows(path: Path, limits: Limits = TEXT, delimiter: str | None = None) -> Rows:
    """Read the rows of a file, which may differ in length.

    Parameters
    ----------
    delimiter : str, optional
        Default: by suffix and first row.

    Raises
    ------
    FileError
        If it is not text, is larger than the limits, or its quoting is invalid.
    """
    lines = read_lines(path, limits)
    first = next((s for s in lines if s.strip(BLANK) and not _is_comment(s)), None)
    if first is None:
        raise FileError(f"{path}: contains only comments; expected a header and rows")
    if first.strip(BLANK).strip('"').lower().startswith("sep="):
        raise FileError(f"{path}: begins with {quoted(first)}, a note for Excel; remove that line")
    delimiter = delimiter or delimiter_of(path, first)
    kept: dict[str, str] = {}  # one object per text: most cells of a large table repeat
    at, fields, n_comments = [], [], 0
    for number, row in _records(path, lines, delimiter):
        cells = [cell.strip(BLANK) for cell in row]
        if row and _is_comment(row[0]):
            n_comments += 1
        elif any(cells):
            at.append(number)
            fields.append([kept.setdefault(c, c) for c in cells])
    if n_comments:
        log.info("%s: %d lines that begin with # are ignored", path, n_comments)
    return Rows(delimiter, at, fields, n_comments)


def delimiter_of(path: Path, header: str) -> str:
    """Delimiter of a file, by its suffix and first row.

    Raises
    ------
    FileError
        If the row has no delimiter but spaces between words, or two that are equally likely.
    """
    name = path.name.removesuffix(".gz")
    own = "," if name.endswith(".csv") else "\t"
    if own == "\t" and "\t" in header:
        return own
    counts = {d: header.count(d) for d in NAMES if d in header}
    if not counts:
        if len(header.split()) > 1 and not name.endswith(".csv"):
            raise FileError(
                f"{path}: fields are separated by spaces ({header.strip()[:60]!r}), expected "
                f"{NAMES[own]}; write it with {NAMES[own]}"
            )
        return own
    most = max(counts.values())
    likely = [d for d, n in counts.items() if n == most]
    if len(likely) > 1:
        raise FileError(
            f"{path}: the header has as many {' as '.join(NAMES[d] for d in likely)}, so that it "
            f"is not known what separates fields; expected {NAMES[own]}"
        )
    if likely[0] != own:
        log.info("%s: fields are separated by %s", path, NAMES[likely[0]])
    return likely[0]


def _is_comment(text: str) -> bool:
    return text.lstrip(BLANK).startswith("#")


def _records(path: Path, lines: list[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line and fields of each row; quotation marks have a meaning only in ``.csv``."""
    if delimiter == "\t":
        # without quoting there is nothing to parse
        yield from ((i, s.split("\t")) for i, s in enumerate(lines, 1) if s.strip(BLANK))
        return
    reader = csv.reader((s + "\n" for s in lines), delimiter=delimiter, strict=True)
    last = 0
    try:
        for row in reader:
            if reader.line_num > last + 1:
                _check_spanning(path, row, delimiter, last + 1, reader.line_num)
            yield last + 1, row
            last = reader.line_num
    except csv.Error as error:
        raise FileError(
            f"{path}: line {last + 1}: cannot be parsed ({error}); a quotation mark that begins a "
            'cell needs one at its end, and inside it is doubled: ""'
        ) from None


def _check_spanning(path: Path, row: list[str], delimiter: str, first: int, last: int) -> None:
    """Refuse a quoted cell that contains rows: an unmatched quotation mark looks the same."""
    for cell in row:
        if "\n" in cell.strip() and delimiter in cell:
            raise FileError(
                f"{path}: lines {first} to {last} are one row, because a quotation mark opens in "
                f"line {first} and closes in line {last}; remove stray quotation marks, or the "
                "line breaks inside the cell"
            )


def _counts(cells: list[str]) -> bool:
    """Whether cells are row numbers, as pandas and R write them without a name."""
    numbers = [int(c) for c in cells if c.isascii() and c.isdecimal()]
    return len(numbers) == len(cells) and all(a < b for a, b in pairwise(numbers))


def _without_trailing(path: Path, header: list[str]) -> list[str]:
    """The header without names that are empty at its end."""
    n = len(header)
    while n and not header[n - 1]:
        n -= 1
    return header[:n]


def _fitted(path: Path, header: list[str], rows: Rows) -> list[list[str]]:
    """Rows of one field per name; an empty field at the end of every row is ignored.

    Every row must have this field, and it must be empty: if only some rows have it, the others may
    be shifted.
    """
    expected, body = len(header), rows.fields[1:]
    lengths = Counter(map(len, body))
    width = next(iter(lengths))
    if lengths.keys() == {expected}:
        return body
    if len(lengths) == 1 and width > expected and not any(any(r[expected:]) for r in body):
        log.info("%s: every row ends in a delimiter, which is ignored", path)
        return [r[:expected] for r in body]
    line, row = next(
        (n, r) for n, r in zip(rows.lines[1:], body, strict=True) if len(r) != expected
    )
    raise FileError(
        f"{path}: line {line}: found {len(row)} fields, expected {expected} as in the header "
        f"({', '.join(header[:8])}{', ...' if expected > 8 else ''}): {_why(header, row, lengths)}"
    )


def _why(header: list[str], row: list[str], lengths: Counter[int]) -> str:
    """Possible cause of a row of another length."""
    expected = len(header)
    if len(row) < expected:
        return "a value or a delimiter is missing; write n/a for what is missing"
    if lengths.keys() == {expected + 1} and any(row[expected:]):
        return (
            "every row has one field more, as if the header lacked a name for the first column; "
            "write the table without row names"
        )
    if not any(row[expected:]):
        return "it ends in a delimiter, and not all rows do; remove it"
    return "a cell contains the delimiter, or a value occurs twice; correct the row"


def _check_header(path: Path, header: list[str], rows: Rows) -> None:
    line = rows.lines[0]
    if not header:
        raise FileError(f"{path}: line {line}: columns have no names; expected a header")
    empty = [i + 1 for i, name in enumerate(header) if not name]
    if empty:
        raise FileError(
            f"{path}: line {line}: column {empty[0]} has no name; name it, or write the table "
            "without row numbers"
        )
    twice = [name for name, n in Counter(header).items() if n > 1]
    if twice:
        places = [i + 1 for i, name in enumerate(header) if name == twice[0]]
        raise FileError(
            f"{path}: line {line}: the name {quoted(twice[0])} is given to columns "
            f"{', '.join(map(str, places))} (white space around names does not count); rename or "
            "remove all but one"
        )
    if rows.delimiter == "\t" and all(len(n) > 1 and n[0] == n[-1] == '"' for n in header):
        raise FileError(
            f"{path}: line {line}: names are in quotation marks, but .tsv has no quoting; write it "
            "without (R: quote = FALSE), or as .csv"
        )
