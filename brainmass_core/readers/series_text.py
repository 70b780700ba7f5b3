"""Series as text: ``.tsv``, ``.csv``, ``.1D``, ``.txt``.

Lines that begin with ``#`` are comments, which is how AFNI and the Preprocessed Connectomes Project
write the header of a ``.1D`` file; the last of them before the numbers may name the columns.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainmass_core.readers.files import FileError, read_lines
from brainmass_core.readers.series_header import (
    COUNTING,
    columns_of_afni,
    counts_rows,
    is_header,
    is_number,
    is_second_header,
)

log = logging.getLogger(__name__)
DELIMITERS = {".tsv": "\t", ".csv": ",", ".1D": None, ".txt": None}  # None: any white space
MISSING = re.compile(r"(?<![^\s,\"])(n/a|na|null)(?![^\s,\"])", re.IGNORECASE)
QUOTED = re.compile(r'\s*"[^"]+"\s*')  # a field
DECIMAL_COMMA = re.compile(r"\d,\d", re.ASCII)
SEPARATORS = {"\t": "tabs", ",": "commas", " ": "spaces"}
SAMPLE = 20  # rows that are examined to recognise a header


class SeriesError(FileError):
    """A file without a parcel time series; the message gives its name and the reason."""


@dataclass(frozen=True)
class Text:
    """A text file before its numbers are parsed.

    Attributes
    ----------
    path : Path
    delimiter : str or None
    lines : list of str
        Data rows.
    header : list of str or None
        Fields of the header, of all columns.
    dropped : tuple of int
        Columns that are not regions: AFNI's, the number of the row.
    """

    path: Path
    delimiter: str | None
    lines: list[str]
    header: list[str] | None
    dropped: tuple[int, ...] = ()

    @property
    def names(self) -> list[str] | None:
        """Names of the regions, if there is a header."""
        if self.header is None:
            return None
        return [n for i, n in enumerate(self.header) if i not in self.dropped]

    @property
    def shape(self) -> tuple[int, int]:
        """Data rows and columns that are regions, by the first row."""
        return len(self.lines), len(self.split(self.lines[0])) - len(self.dropped)

    def split(self, line: str) -> list[str]:
        """Fields of a line."""
        return _fields(line, self.delimiter)

    def parse(self) -> np.ndarray:
        """The numbers, (rows, columns).

        Raises
        ------
        SeriesError
            If a row is not numeric or has another length.
        """
        return self._parse(self._kept_lines())

    def _kept_lines(self) -> list[str]:
        if not self.dropped:
            return self.lines
        rows = [self.split(line) for line in self.lines]
        for i, row in enumerate(rows):
            if len(row) != len(rows[0]):
                raise SeriesError(
                    f"{self.path}: data row {i + 1} has {len(row)} fields, expected {len(rows[0])} "
                    "as in the first"
                )
        kept = [i for i in range(len(rows[0])) if i not in self.dropped]
        return [(self.delimiter or "\t").join(row[i] for i in kept) for row in rows]

    def _parse(self, lines: list[str]) -> np.ndarray:
        plain = [MISSING.sub("nan", line).replace('"', "") for line in lines]
        for i, line in enumerate(lines):
            odd = [f for f in line.split(self.delimiter) if '"' in f and not QUOTED.fullmatch(f)]
            if odd:  # without its quotes the row would be another
                raise SeriesError(
                    f"{self.path}: data row {i + 1}: found {odd[0].strip()[:40]!r}, expected a "
                    "number with a quote on either side, or with none; correct the row"
                )
        try:
            return np.loadtxt(plain, delimiter=self.delimiter, ndmin=2, comments=None)
        except ValueError as error:
            raise SeriesError(
                f"{self.path}: {str(error).split(';')[0]} (rows counted without comments and "
                "header); "
                "expected the same number of numeric columns in every row" + self._hint(lines)
            ) from None

    def _hint(self, lines: list[str]) -> str:
        """Possible kind of a file that is not numeric."""
        rows = [self.split(line) for line in lines[:SAMPLE]]
        if wrong := self._wrong_delimiter(lines[:SAMPLE], len(rows[0])):
            return wrong
        words = [row[0] for row in rows if row]
        if words and not any(is_number(w) for w in words) and len(rows[0]) > 1:
            square = self.header is not None and set(words) <= set(self.header)
            what = "names regions: is it a matrix between them?" if square else "contains words"
            return f"; the first column ({', '.join(words[:3])} ...) {what}"
        return ""

    def _wrong_delimiter(self, lines: list[str], width: int) -> str:
        """The delimiter, if it is not that of the suffix, or the decimal comma, for a message."""
        own = {",": "commas", "\t": "tabs", None: "white space"}[self.delimiter]
        if all(";" in s for s in lines):
            return f"; fields are separated by semicolons: write them with {own}"
        if self.delimiter != "," and width > 1 and any(DECIMAL_COMMA.search(s) for s in lines):
            return "; decimals are written with a comma: write them with a point"
        if width > 1:
            return ""
        found = next((n for d, n in SEPARATORS.items() if all(d in s for s in lines)), None)
        said = f"; by its suffix {own} separate{'s' * (self.delimiter is None)} fields"
        return said if found is None else f"{said}, but they are separated by {found}"


def read_text(path: Path, suffix: str, header: bool | None = None) -> Text:
    """Read the lines of a file; recognise its header and columns that are not regions.

    Parameters
    ----------
    suffix : str
        A key of `DELIMITERS`, also with ``.gz``.
    header : bool, optional
        Whether the first row is a header. Default: as it looks.

    Raises
    ------
    FileError
        If it is not text, contains no numbers, or the first row may or may not be a header.
    """
    delimiter = DELIMITERS[suffix.removesuffix(".gz")]
    all_lines = [s for line in read_lines(path) if (s := line.rstrip("\r\n")).strip()]
    lines = [s for s in all_lines if s[0] != "#"]
    if lines:
        lines = _without_trailing(path, lines, delimiter)
    found = None
    if lines and _has_header(path, lines, delimiter, header):
        found, lines = _fields(lines[0], delimiter), lines[1:]
    if not lines:
        raise SeriesError(f"{path}: contains no numbers; expected one line per timepoint")
    if found is not None:
        _refuse_second_header(path, lines, delimiter)
    width = len(_fields(lines[0], delimiter))
    if found is None:
        found = _names_in_comment(all_lines, delimiter, width)
        return Text(path, delimiter, lines, found)
    return _without_others(Text(path, delimiter, lines, _fitted(path, found, width)))


def _fields(line: str, delimiter: str | None) -> list[str]:
    return [f.strip().strip('"') for f in line.split(delimiter)]


def _without_trailing(path: Path, lines: list[str], delimiter: str | None) -> list[str]:
    """Lines without a delimiter that ends each of them."""
    if delimiter is None or len(lines) < 2:
        return lines
    if not all(line.rstrip(" ").endswith(delimiter) for line in lines[1:]):
        return lines
    log.info("%s: every row ends in a delimiter, which is ignored", path)
    first = lines[0].rstrip(" ")
    return [first.removesuffix(delimiter), *(s.rstrip(" ")[: -len(delimiter)] for s in lines[1:])]


def _has_header(path: Path, lines: list[str], delimiter: str | None, stated: bool | None) -> bool:
    if stated is not None:
        return stated
    first = _fields(lines[0], delimiter)
    judged = is_header(first, [_fields(s, delimiter) for s in lines[1 : 1 + SAMPLE]])
    if judged is None:
        raise SeriesError(
            f"{path}: the first row ({', '.join(first[:6])}{' ...' if len(first) > 6 else ''}) may "
            "be numbers of columns or a timepoint; set header of the data set to true or false"
        )
    return judged


def _refuse_second_header(path: Path, lines: list[str], delimiter: str | None) -> None:
    rows = [_fields(s, delimiter) for s in lines[: 1 + SAMPLE]]
    if is_second_header(rows[0], rows[1:]):
        raise SeriesError(
            f"{path}: below the header a row counts the columns ({', '.join(rows[0][:6])} ...), "
            "expected a timepoint; remove one of the two rows"
        )


def _fitted(path: Path, header: list[str], width: int) -> list[str]:
    if len(header) == width:
        return header
    raise SeriesError(
        f"{path}: the header has {len(header)} names ({', '.join(header[:5])} ...), the row below "
        f"it {width} fields; "
        + (
            "write the table without row names"
            if len(header) == width - 1
            else "expected a name for each column"
        )
    )


def _names_in_comment(lines: list[str], delimiter: str | None, width: int) -> list[str] | None:
    """Names that the last comment before the numbers gives, each with ``#`` before it."""
    names = None
    for line in lines:
        if line[0] != "#":
            break
        fields = _fields(line, delimiter)
        names = fields if len(fields) == width and all(f.startswith("#") for f in fields) else None
    return None if names is None else [n.lstrip("# ") for n in names]


def _without_others(text: Text) -> Text:
    """Without AFNI's columns and the number of the row, which is logged."""
    header = text.header or []
    others = columns_of_afni(header)
    if others:
        named = ", ".join(header[i] for i in others)
        log.info("%s: the columns %s are not regions and are ignored", text.path, named)
        return Text(text.path, text.delimiter, text.lines, header, tuple(others))
    if header[0].lower() not in COUNTING:
        return text
    first = [text.split(line)[0] for line in text.lines]
    column = np.array([float(f) if is_number(f) and f.lower()[0] != "n" else np.nan for f in first])
    if counts_rows(header[0], column):
        log.info(
            "%s: the first column (%s) is the number of the row and is ignored",
            *(text.path, header[0] or "without a name"),
        )
        return Text(text.path, text.delimiter, text.lines, header, (0,))
    if not header[0] or header[0].lower() == "unnamed: 0":
        raise SeriesError(
            f"{text.path}: the first column has no name and does not count the rows (0, 1, 2, "
            f"...): it begins with {', '.join(first[:3])}; name it after its region, or remove it"
        )
    return text
