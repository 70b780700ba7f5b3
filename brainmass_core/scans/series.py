"""Read ready parcel time series: ``.npy``, ``.npz``, ``.tsv``, ``.csv``, ``.1D``, ``.txt``.

Text files may be gzipped. They may have a header row: names, or the numbers 0, 1, 2, ... (or
1, 2, 3, ...) that pandas and others write. Lines that start with ``#`` are comments, which is how
AFNI and the Preprocessed Connectomes Project write the header of a ``.1D`` file.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO, Literal

import numpy as np

from brainmass_core.readers.regular_file import FileError, check_regular, read_bytes

Orientation = Literal["time_by_roi", "roi_by_time"]
DELIMITERS = {".tsv": "\t", ".csv": ",", ".1D": None, ".txt": None}  # None: any white space
SUFFIXES = (".npy", ".npz", *DELIMITERS, *(f"{s}.gz" for s in DELIMITERS))
MISSING = re.compile(r"(?<![^\s,\"])n/a(?![^\s,\"])", re.IGNORECASE)
DAMAGED = (OSError, EOFError, zlib.error, zipfile.BadZipFile, UnicodeDecodeError)
BROKEN_ZIP = (*DAMAGED, KeyError, RuntimeError, NotImplementedError)  # encrypted, another method
MAX_BYTES = 2**29  # of text, and 2**31 of an array: more than any scan's series
MAX_LINES = 1_000_000
MAX_ARRAY = 2**31


class SeriesError(ValueError):
    """A file that does not hold a parcel time series; the message names it and says why."""


def series_suffix(path: Path) -> str | None:
    """The suffix if the file is of a known kind, compound ones whole (``.1D.gz``), else None."""
    name = path.name
    return max((s for s in SUFFIXES if name.endswith(s)), key=len, default=None)


def array_keys(path: Path) -> list[str]:
    """Names of the arrays of an ``.npz`` file, in file order.

    Raises
    ------
    SeriesError
        If the file is missing, damaged or empty.
    """
    try:
        _check_regular(path)
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except BROKEN_ZIP as error:
        raise _unreadable(path, error) from None
    keys = [n.removesuffix(".npy") for n in names if n.endswith(".npy")]
    if not keys:
        raise SeriesError(f"{path}: holds no array; expected one array per scan")
    return keys


def read_series(
    path: Path | str, key: str | None = None, orientation: Orientation = "time_by_roi"
) -> np.ndarray:
    """Read one parcel time series.

    Parameters
    ----------
    path : Path or str
        File of a known suffix (`SUFFIXES`).
    key : str, optional
        Array inside an ``.npz`` file; may be left out when the file holds one array.
    orientation : {'time_by_roi', 'roi_by_time'}
        Axes as stored in the file.

    Returns
    -------
    ndarray of float64, shape (n_timepoints, n_rois)
        In the file's own unit. ``n/a`` in text becomes NaN; NaN and infinity are kept.

    Raises
    ------
    SeriesError
        If the file is missing, damaged, of an unknown kind, ragged, not numeric, or not
        two-dimensional.
    """
    path = Path(path)
    suffix = _known_suffix(path)
    series = _load_array(path, key) if suffix in (".npy", ".npz") else _parse_text(path, suffix)
    if orientation == "roi_by_time":
        series = series.T
    return np.ascontiguousarray(series, dtype=np.float64)


def series_shapes(
    path: Path, orientation: Orientation = "time_by_roi"
) -> dict[str | None, tuple[int, ...] | SeriesError]:
    """Shapes of all series of a file, from as little of it as possible.

    Arrays: the headers alone. Text: the number of data lines and the width of the first, so a
    ragged or non-numeric file is found by `read_series` only.

    Returns
    -------
    dict
        Key (None unless the file is an ``.npz``) to ``(n_timepoints, n_rois)``, or to the error
        when this array is no series.

    Raises
    ------
    SeriesError
        If the file as a whole cannot be read.
    """
    suffix = _known_suffix(path)
    shapes: dict[str | None, tuple[int, ...] | SeriesError] = {}
    if suffix == ".npz":
        keys = array_keys(path)
        with zipfile.ZipFile(path) as archive:  # opened once: a file may hold thousands
            for key in keys:
                try:
                    info = archive.getinfo(f"{key}.npy")
                    with archive.open(info) as stream:
                        shapes[key] = _array_shape(path, stream, info.file_size)
                except SeriesError as error:
                    shapes[key] = error
                except BROKEN_ZIP as error:
                    shapes[key] = _unreadable(path, error)
    elif suffix == ".npy":
        _check_regular(path)
        try:
            with open(path, "rb") as stream:
                shapes[None] = _array_shape(path, stream, path.stat().st_size)
        except OSError as error:
            raise _unreadable(path, error) from None
    else:
        lines = _data_lines(path, suffix)
        shapes[None] = (len(lines), len(_fields(lines[0], suffix)))
    if orientation == "roi_by_time":
        shapes = {k: s if isinstance(s, SeriesError) else (s[1], s[0]) for k, s in shapes.items()}
    return shapes


def _known_suffix(path: Path) -> str:
    suffix = series_suffix(path)
    if suffix is None:
        raise SeriesError(f"{path}: unknown kind of file; expected one of {', '.join(SUFFIXES)}")
    return suffix


def _unreadable(path: Path, error: Exception) -> SeriesError:
    return SeriesError(
        f"{path}: cannot be read ({type(error).__name__}: {error}); "
        "the file is damaged or incomplete: copy it again"
    )


def _pick_key(path: Path, key: str | None) -> str:
    keys = array_keys(path)
    if key is None and len(keys) == 1:
        return keys[0]
    if key not in keys:
        raise SeriesError(f"{path}: found the arrays {keys[:10]}, expected {key!r}")
    return key


def _check_regular(path: Path) -> None:
    try:
        check_regular(path)
    except FileError as error:
        raise SeriesError(str(error)) from None


def _load_array(path: Path, key: str | None) -> np.ndarray:
    _check_regular(path)
    try:
        if path.suffix == ".npz":
            name = f"{_pick_key(path, key)}.npy"
            with zipfile.ZipFile(path) as archive, archive.open(name) as stream:
                return _read_array(path, stream, archive.getinfo(name).file_size)
        with open(path, "rb") as stream:
            return _read_array(path, stream, path.stat().st_size)
    except SeriesError:
        raise
    except (*BROKEN_ZIP, ValueError) as error:
        raise _unreadable(path, error) from None


def _read_array(path: Path, stream: IO[bytes], size: int) -> np.ndarray:
    """An array, read to its end, where the checksum of a zip is."""
    _array_shape(path, stream, size)
    stream.seek(0)
    series = np.lib.format.read_array(stream, allow_pickle=False)
    stream.read(1)
    return series


def _array_shape(path: Path, stream: IO[bytes], size: int) -> tuple[int, ...]:
    """Shape that the header of an array of `size` bytes says, and that the size agrees with."""
    try:
        shape, dtype = _array_header(stream)
    except (*BROKEN_ZIP, ValueError) as error:
        raise _unreadable(path, error) from None
    _check_array(path, shape, dtype)
    expected = stream.tell() + math.prod(shape) * dtype.itemsize
    if size != expected or size > MAX_ARRAY:
        raise SeriesError(
            f"{path}: its header says {shape} of {dtype}, {expected:,} bytes, but it has {size:,}; "
            f"it is damaged, or larger than {MAX_ARRAY:,} bytes: copy it again"
        )
    return shape


def _array_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(stream)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"array format {version} is newer than the reader knows")
    shape, _, dtype = read(stream)
    return shape, dtype


def _check_array(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if len(shape) != 2 or min(shape) < 1:
        raise SeriesError(f"{path}: found an array of shape {shape}, expected (time, rois)")
    if dtype.kind not in "fiu":
        raise SeriesError(f"{path}: found values of type {dtype}, expected real numbers")


def _data_lines(path: Path, suffix: str) -> list[str]:
    """Lines that hold numbers: neither comments nor blank nor the header."""
    try:
        content = read_bytes(path, MAX_BYTES)
        if content.count(b"\n") > MAX_LINES:
            raise SeriesError(f"{path}: has more than {MAX_LINES:,} lines, so it is no series")
        with io.StringIO(content.decode("utf-8-sig"), newline=None) as file:
            lines = [s for line in file if (s := line.rstrip("\r\n")).strip() and s[0] != "#"]
    except FileError as error:
        raise SeriesError(str(error)) from None
    except UnicodeDecodeError as error:
        raise _unreadable(path, error) from None
    if lines and _is_header(_fields(lines[0], suffix)):
        del lines[0]
    if not lines:
        raise SeriesError(f"{path}: holds no numbers; expected one line per timepoint")
    return lines


def _fields(line: str, suffix: str) -> list[str]:
    return [f.strip().strip('"') for f in line.split(DELIMITERS[suffix.removesuffix(".gz")])]


def _is_header(fields: list[str]) -> bool:
    """Names alone, or column numbers, which no measured row looks like.

    A row that mixes text with other numbers is data with a mistake in it, which must not be
    dropped as if it were a header.
    """
    numbers = [f for f in fields if _is_number(f)]
    if not numbers:
        return True
    if len(numbers) < 3 or len(fields) - len(numbers) > 1:
        return False
    first = numbers[0]
    return first in ("0", "1") and numbers == [str(int(first) + i) for i in range(len(numbers))]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.lower() == "n/a"
    return True


def _parse_text(path: Path, suffix: str) -> np.ndarray:
    lines = [MISSING.sub("nan", line).replace('"', "") for line in _data_lines(path, suffix)]
    try:
        return np.loadtxt(
            lines, delimiter=DELIMITERS[suffix.removesuffix(".gz")], ndmin=2, comments=None
        )
    except ValueError as error:
        raise SeriesError(
            f"{path}: {str(error).split(';')[0]} (rows counted without comments and header); "
            "expected the same number of numeric columns in every row"
        ) from None
