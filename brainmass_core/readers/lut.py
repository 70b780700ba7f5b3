"""Look-up tables of label images, as atlases are published with.

Read are: a table with a header, under the names of BIDS and nilearn (``index``, ``name``), XCP-D
(``index``, ``label`` or ``node``, ``network_label``) or CBIG's centroids (``ROI Label``, ``ROI
Name``, ``R``, ``A``, ``S``); CBIG's ``*_order.txt`` (index, name, R, G, B, A; no header) and
``*_order_info.txt`` (a name, and in the line below index, R, G, B, A); FreeSurfer's colour tables
(between spaces); and ITK-SNAP's label descriptions. Names stay as they are written: a region may
be called ``NA``.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd

from brainmass_core.readers.delimited import BLANK, LINE, read_delimited
from brainmass_core.readers.files import FileError, read_lines
from brainmass_core.readers.limits import SMALL, quoted
from brainmass_core.readers.missing import MISSING, numbers

log = logging.getLogger(__name__)
# our name to those elsewhere, in lower case with spaces for underscores; preferred names first
NAMES = {
    "index": ("index", "roi label", "label index", "roi index", "id", "no.", "#no."),
    "name": ("name", "label", "roi name", "label name", "region", "region name", "parcel", "node"),
    "network": ("network", "network label", "network name"),
    "x": ("x", "r"),
    "y": ("y", "a"),
    "z": ("z", "s"),
}
COLOURS = {"g", "b"}  # with which R and A are a colour and not a coordinate
FARTHEST = 300  # mm: voxels and codes such as -9999 are farther
LARGEST = 2**31 - 1  # of an index: label images are int32 in memory
INDEX = re.compile(r"\d+(\.0*)?", re.ASCII)
# possible names of 0, which is outside of all parcels
BACKGROUND = {
    "",
    "background",
    "unknown",
    "unclassified",
    "none",
    "n/a",
    "null",
    "0",
    "???",
    "clear label",
    "outside",
}
# rows of tables without a header
PLAIN = [
    re.compile(pattern, re.ASCII)
    for pattern in (
        r"\s*(?P<index>\d+)\s+(?P<name>\S+)\s+\d+\s+\d+\s+\d+(\s+\d+)?\s*",  # colours last
        r" *(?P<index>\d+) *\t *(?P<name>[^\t]+?) *\t *\d+ *\t *\d+ *\t *\d+ *(\t *\d+ *)?",
        r'\s*(?P<index>\d+)(\s+[\d.]+){6}\s+"(?P<name>[^"]*)"\s*',  # ITK-SNAP
    )
]
NO_HEADER = re.compile(r"\d+\s*[\s,;]", re.ASCII)
NUMBERS = re.compile(r"\s*(?P<index>\d+)(\s+\d+){4}\s*", re.ASCII)  # below a name
# files that are not tables: their beginning, and the remedy
OTHERS = {
    "<?xml": "XML, expected a table; write one with the columns index and name, where index is the "
    "value in the label image (of FSL's atlases: the index of the XML where its type is Label, and "
    "1 more than that where it is Probabilistic)",
    "<": "markup, expected a table; write one with the columns index and name",
    "{": "JSON, expected a table; write one with the columns index and name",
}


def read_lut(path: Path) -> pd.DataFrame:
    """Read a look-up table.

    Returns
    -------
    DataFrame
        index (int), name, and as far as the file has them network (None where missing), x, y, z
        (mm; NaN where missing); rows in the order of the file, without the background.

    Raises
    ------
    FileError
        If it has none of the forms, a row has another form, or an index or a name occurs twice.
    """
    table = _plain(path)
    table = _renamed(path, _on_one_line(path)) if table is None else table
    table["index"] = _indices(path, table)
    _check_background(path, table)
    table = table[table["index"] != 0]
    if table.empty:
        raise FileError(f"{path}: has only the row of the background; expected one per parcel")
    _check_names(path, table)
    return table.reset_index(drop=True)


def _on_one_line(path: Path) -> pd.DataFrame:
    """The table, without rows that quotes spread over several lines."""
    table = read_delimited(path, SMALL)
    lines = [line for line in read_lines(path, SMALL) if line.strip(BLANK)]
    n_lines = sum(not line.lstrip(BLANK).startswith("#") for line in lines) - 1
    if n_lines > len(table) and any('"' in line for line in lines):
        raise FileError(
            f"{path}: found {len(table)} rows in {n_lines} lines below the header, expected one "
            "line per parcel; a quotation mark joins lines: close or remove it"
        )
    return table


def _plain(path: Path) -> pd.DataFrame | None:
    """A table without a header: index, name and a colour of each label. None if it is another."""
    lines = [(i, s) for i, s in enumerate(read_lines(path, SMALL), 1) if s.strip(BLANK)]
    body = [(i, s) for i, s in lines if not s.lstrip(BLANK).startswith("#")]
    first = body[0][1].strip(BLANK) if body else ""
    for beginning, what in OTHERS.items():
        if first.lower().startswith(beginning):
            raise FileError(f"{path}: is {what}")
    pattern = next((p for p in PLAIN if p.fullmatch(first)), None)
    of_two = len(body) > 1 and NUMBERS.fullmatch(body[1][1]) and not NUMBERS.fullmatch(first)
    if of_two and pattern is None:
        return _of_rows(_pairs(path, body))
    if pattern is None and NO_HEADER.match(first):
        raise FileError(
            f"{path}: line {body[0][0]}: found {first[:60]!r}, expected the names of the columns; "
            "write a line above it that names each column, two of them index and name, with tabs "
            "between the fields of every line"
        )
    return None if pattern is None else _of_rows(_matched(path, body, pattern))


def _of_rows(rows: list[tuple[int, str, str]]) -> pd.DataFrame:
    """Line, index and name of each label as a table."""
    at = pd.Index([n for n, _, _ in rows], name=LINE)
    return pd.DataFrame([r[1:] for r in rows], index=at, columns=["index", "name"], dtype=object)


def _matched(
    path: Path, body: list[tuple[int, str]], pattern: re.Pattern[str]
) -> list[tuple[int, str, str]]:
    found = []
    first = pattern.fullmatch(body[0][1].strip(BLANK))
    for number, text in body:
        match = pattern.fullmatch(text.strip(BLANK))
        # without a name the first colour would be taken for it, and the row has a number less
        if match is None or first is None or (match[3] is None) != (first[3] is None):
            raise FileError(
                f"{path}: line {number}: found {text.strip()[:80]!r}, expected index, name and a "
                "colour (three or four whole numbers) as in the other rows"
            )
        found.append((number, match["index"], match["name"]))
    return found


def _pairs(path: Path, body: list[tuple[int, str]]) -> list[tuple[int, str, str]]:
    """Of two lines each: the name, below it index, R, G, B and A."""
    found = []
    for i in range(0, len(body), 2):
        number, name = body[i]
        below = body[i + 1][1] if i + 1 < len(body) else ""
        match = NUMBERS.fullmatch(below)
        if NO_HEADER.match(name.strip(BLANK)):
            raise FileError(
                f"{path}: line {number}: found {name.strip()[:80]!r}, which begins with a number, "
                "expected a name as in the other pairs of lines; copy the file again"
            )
        if match is None:
            raise FileError(
                f"{path}: line {number}: found {below.strip()[:80]!r} below {name.strip()!r}, "
                "expected index, R, G, B and A as below the other names; copy the file again"
            )
        found.append((number, match["index"], name.strip(BLANK)))
    return found


def _renamed(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Columns under our names."""
    known = {c.lower().replace("_", " "): c for c in reversed(table.columns)}
    coloured = known.keys() >= COLOURS
    chosen = {}
    for ours, theirs in NAMES.items():
        usable = [t for t in theirs if t in known and not (coloured and t in ("r", "a", "s"))]
        if usable:
            chosen[ours] = known[usable[0]]
    if "index" not in chosen and _is_whole(table, known.get("label")) and "name" in known:
        chosen |= {"index": known["label"], "name": known["name"]}
    if not {"index", "name"} <= chosen.keys():
        raise FileError(
            f"{path}: found columns {list(table.columns)}, expected index and name (or label), "
            "optionally network, x, y, z; rename the columns"
        )
    table = table[list(chosen.values())].set_axis(list(chosen), axis=1)
    if "network" in table:
        table["network"] = table["network"].mask(table["network"].isin(["", "n/a"]), None)
    for axis in "xyz":
        if axis in table:
            table[axis] = _coordinates(path, chosen[axis], table[axis])
    return table


def _coordinates(path: Path, column: str, cells: pd.Series) -> pd.Series:
    """In mm; integers stay integers, because they enter the atlas's checksum as they are read."""
    plain = pd.to_numeric(cells, errors="coerce")
    if np.isfinite(plain).all():
        return _within_head(path, column, cells, plain)
    values, others = numbers(cells.mask(cells.isin(MISSING), None), f"{path}: column {column!r}")
    if len(others):
        raise _wrong(path, others, column, "a coordinate in mm")
    return _within_head(path, column, cells, values)


def _within_head(path: Path, column: str, cells: pd.Series, mm: pd.Series) -> pd.Series:
    far = cells[mm.abs() > FARTHEST]
    if len(far):
        raise _wrong(path, far, column, f"a coordinate in mm within {FARTHEST} of the origin")
    return mm


def _is_whole(table: pd.DataFrame, column: str | None) -> bool:
    return column is not None and bool(table[column].map(lambda v: bool(INDEX.fullmatch(v))).all())


def _wrong(path: Path, cells: pd.Series, column: str, expected: str) -> FileError:
    return FileError(
        f"{path}: line {cells.index[0]}: found {quoted(cells.iloc[0])} in column {column!r}, "
        f"expected {expected}; is the row shifted?"
    )


def _indices(path: Path, table: pd.DataFrame) -> pd.Series:
    wrong = table["index"][~table["index"].map(lambda v: bool(INDEX.fullmatch(v))).astype(bool)]
    if len(wrong):
        raise _wrong(path, wrong, "index", "a whole number from 0")
    large = table["index"][table["index"].map(lambda v: float(v) > LARGEST).astype(bool)]
    if len(large):
        raise _wrong(path, large, "index", f"at most {LARGEST}")
    index = table["index"].map(lambda v: int(v.partition(".")[0])).astype("int64")
    double = index[index.duplicated()]
    if not double.empty:
        raise FileError(
            f"{path}: the index {sorted(set(double.tolist()))} occurs twice (line "
            f"{double.index[0]}); keep one row of each"
        )
    return index


def _check_background(path: Path, table: pd.DataFrame) -> None:
    """Refuse a table that counts from 0, because 0 is outside of all parcels."""
    zero = table["name"][table["index"] == 0]
    if len(zero) and not _is_background(zero.iloc[0]):
        raise FileError(
            f"{path}: line {zero.index[0]}: the index 0 is called {quoted(zero.iloc[0])}, but "
            "in a label image 0 is outside of all parcels; if the table counts from 0, "
            "add 1 to every index; otherwise call it background"
        )


def _is_background(name: str) -> bool:
    text = name.lower().replace("_", " ").strip()
    return text in BACKGROUND or "background" in text or "unknown" in text


def _check_names(path: Path, table: pd.DataFrame) -> None:
    nameless = table["name"][table["name"].isin(["", "n/a"])]
    if len(nameless):
        raise FileError(
            f"{path}: line {nameless.index[0]}: index {table['index'][nameless.index[0]]} has no "
            "name; give it one"
        )
    odd = table["name"][~table["name"].map(str.isprintable).astype(bool)]
    if len(odd):
        raise FileError(
            f"{path}: line {odd.index[0]}: found {odd.iloc[0]!r} in "
            "column 'name', which contains a "
            "character that cannot be shown, such as a line break; remove it"
        )
    twice = table["name"][table["name"].duplicated(keep=False)]
    if len(twice):
        first = twice.iloc[0]
        which = table["index"][table["name"] == first].tolist()[:5]
        raise FileError(
            f"{path}: the name {quoted(first)} is given to the indices {which}; names head the "
            "columns of results and must differ: add the hemisphere or a number"
        )
