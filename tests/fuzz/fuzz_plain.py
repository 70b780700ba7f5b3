"""Simple independent readers of files, with which those of the package are compared."""

from __future__ import annotations

import gzip
import json
import math
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

BLANK = " \t\r\n\v\f\xa0\ufeff\u200b"
MISSING = (
    *("", "n/a", "N/A", "N/a", "NA", "NaN", "NAN", "Nan", "nan", "null", "NULL", "Null"),
    *("#N/A", "<NA>"),
)
MARKS = {
    b"\xef\xbb\xbf": "utf-8",
    b"\xff\xfe\0\0": "utf-32-le",
    b"\0\0\xfe\xff": "utf-32-be",
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
}
NIFTI_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}


def content(path: Path) -> bytes:
    """Bytes of a file, decompressed."""
    return gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()


def text(path: Path) -> str:
    """Text of a file: decoded by its byte order mark, otherwise as UTF-8, otherwise as Windows-1252
    (latin-1).
    """
    raw = content(path)
    for mark, encoding in MARKS.items():
        if raw.startswith(mark):
            return raw[len(mark) :].decode(encoding)
    for encoding in ("utf-8", "cp1252", "latin-1"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 decodes all bytes")


def lines(path: Path) -> list[str]:
    """Lines without line breaks."""
    return re.split("\r\n|\r|\n", text(path))


def rows(path: Path) -> list[list[str]]:
    """Cells of a table, beginning with its header, without comments and blank rows."""
    name = path.name.removesuffix(".gz")
    first = next(s for s in lines(path) if s.strip(BLANK) and not s.strip(BLANK).startswith("#"))
    own = "," if name.endswith(".csv") else "\t"
    counts = {d: first.count(d) for d in "\t,;" if d in first}
    delimiter = max(counts, key=lambda d: counts[d], default=own)
    if own == "\t" and own in first:
        delimiter = own
    if delimiter == "\t":
        found = [line.split("\t") for line in lines(path)]
    else:
        found = _quoted("\n".join(lines(path)) + "\n", delimiter)
    found = [[cell.strip(BLANK) for cell in row] for row in found]
    found = [r for r in found if any(r) and not r[0].startswith("#")]
    n = len(found[0])
    while n and not found[0][n - 1]:
        n -= 1
    assert all(len(r) == n or not any(r[n:]) for r in found), "a row has other fields"
    found = [r[:n] for r in found]
    return [r[1:] for r in found] if n and not found[0][0] else found


def _quoted(whole: str, delimiter: str) -> list[list[str]]:
    """RFC 4180, one character after the other."""
    table: list[list[str]] = []
    row: list[str] = []
    cell, at = "", 0
    quoted = False
    while at < len(whole):
        c = whole[at]
        if quoted:
            if c == '"' and whole[at + 1 : at + 2] == '"':
                cell, at = cell + '"', at + 1
            elif c == '"':
                quoted = False
            else:
                cell += c
        elif c == '"' and not cell:
            quoted = True
        elif c in (delimiter, "\n"):
            row, cell = [*row, cell], ""
            if c == "\n":
                table, row = [*table, row], []
        else:
            cell += c
        at += 1
    return table


def number(cell: str) -> float:
    """A cell as a number; NaN if it is missing, infinite or not a number."""
    cell = cell.strip().replace("\u2212", "-").replace(",", ".")
    if cell in MISSING or not re.fullmatch(
        r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", cell, re.ASCII
    ):
        return math.nan
    value = float(cell)
    return value if math.isfinite(value) else math.nan


def alike(a: Any, b: Any) -> bool:
    """Whether numbers are equal except for the last digit, and missing in the same places."""
    return np.allclose(
        np.asarray(a, float), np.asarray(b, float), rtol=1e-14, atol=0, equal_nan=True
    )


def difference(path: Path, table: pd.DataFrame) -> str | None:
    """Difference between a table of text and the content of its file."""
    expected = rows(path)
    found = [list(table.columns), *table.to_numpy().tolist()]
    if found == expected:
        return None
    pairs = [(a, b) for a, b in zip(found, expected, strict=False) if a != b]
    return f"{len(found)} rows, {len(expected)} expected; first: {str(pairs[:1])[:200]}"


def series(path: Path) -> list[list[float | None]]:
    """Numbers of a text file of series: all rows that consist of numbers."""
    name = path.name.removesuffix(".gz")
    delimiter = {".tsv": "\t", ".csv": ","}.get(name[-4:])
    found = []
    for line in lines(path):
        if not line.strip() or line.strip().startswith("#"):
            continue
        cells = [c.strip().strip('"') for c in line.split(delimiter)]
        found.append([_value(c) for c in cells])
    return found


def _value(cell: str) -> float | None:
    if cell.lower() in ("n/a", "na", "null"):
        return math.nan
    try:
        return float(cell)
    except ValueError:
        return None


def array(path: Path) -> np.ndarray:
    """The one array of an `.npy` or `.npz`."""
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    with zipfile.ZipFile(path) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".npy")]
        with archive.open(name) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


def shape_of(raw: bytes) -> tuple[str, tuple[int, ...]]:
    """Byte order and shape of a NIfTI-1 file."""
    end = "<" if 0 < struct.unpack_from("<h", raw, 40)[0] < 8 else ">"
    dim = struct.unpack_from(f"{end}8h", raw, 40)
    return end, tuple(dim[1 : 1 + dim[0]])


def image(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and numbers (Fortran order) of a NIfTI-1 file, from its bytes."""
    raw = content(path)
    end, shape = shape_of(raw)
    (kind,) = struct.unpack_from(f"{end}h", raw, 70)
    offset, slope, inter = struct.unpack_from(f"{end}3f", raw, 108)
    dtype = np.dtype(end + NIFTI_TYPES[kind])
    offset = int(offset) if offset >= 352 else 352
    values = np.frombuffer(raw, dtype, math.prod(shape), offset)
    if math.isfinite(slope) and slope and math.isfinite(inter):
        return shape, values * np.float64(slope) + inter
    return shape, values.astype(np.float64)


def metadata(path: Path) -> Any:
    """Read a JSON file; numbers of more than 300 digits are infinite."""
    raw = content(path).decode("utf-8-sig")
    return json.loads(raw, parse_int=lambda t: int(t) if len(t) <= 300 else float(t))
