"""Read ready parcel time series: ``.npy``, ``.npz``, ``.tsv``, ``.csv``, ``.1D``, ``.txt``.

Text files may be gzipped; how they are read is in `series_text`. A matrix between regions is
refused, because it has the shape of a series with as many timepoints as regions.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np

from brainmass_core.readers.files import FileError, check_regular
from brainmass_core.readers.matrices import matrix_kind, strange_values
from brainmass_core.readers.series_names import is_generic
from brainmass_core.readers.series_text import DELIMITERS, SeriesError, Text, read_text

__all__ = [
    "SUFFIXES",
    "Orientation",
    "Series",
    "SeriesError",
    "array_keys",
    "read_named_series",
    "read_series",
    "series_shapes",
    "series_suffix",
]

Orientation = Literal["time_by_roi", "roi_by_time"]
SUFFIXES = (".npy", ".npz", *DELIMITERS, *(f"{s}.gz" for s in DELIMITERS))
DAMAGED = (OSError, EOFError, zlib.error, zipfile.BadZipFile, UnicodeDecodeError)
BROKEN_ZIP = (*DAMAGED, KeyError, RuntimeError, NotImplementedError)  # encrypted, another method
MAX_ARRAY = 2**31  # bytes, more than any scan's series
PICKLE = b"\x80"


@dataclass(frozen=True)
class Series:
    """A series as it is in a file.

    Attributes
    ----------
    values : ndarray of float64, shape (n_timepoints, n_rois)
    names : list of str or None
        Of the regions, from a header; None without one.
    """

    values: np.ndarray
    names: list[str] | None


def series_suffix(path: Path) -> str | None:
    """The suffix, also compound (``.1D.gz``), if the file is of a known kind, else None."""
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
        raise SeriesError(f"{path}: contains no array; expected one array per scan")
    twice = [key for key, n in Counter(keys).items() if n > 1]
    if twice:
        raise SeriesError(
            f"{path}: contains {len(twice)} arrays of one name, {twice[0]!r}; write it again"
        )
    return keys


def read_series(
    path: Path | str,
    key: str | None = None,
    orientation: Orientation | None = None,
    header: bool | None = None,
) -> np.ndarray:
    """The values of `read_named_series`, shape (n_timepoints, n_rois)."""
    return read_named_series(path, key, orientation, header).values


def read_named_series(
    path: Path | str,
    key: str | None = None,
    orientation: Orientation | None = None,
    header: bool | None = None,
) -> Series:
    """Read one parcel time series, and what its columns are called.

    Parameters
    ----------
    path : Path or str
        File of a known suffix (`SUFFIXES`).
    key : str, optional
        Array inside an ``.npz`` file; may be omitted if the file contains one array.
    orientation : {'time_by_roi', 'roi_by_time'}, optional
        Axes as stored in the file. Default: ``time_by_roi``.
    header : bool, optional
        Whether the first row of a text file is a header. Default: as it looks.

    Returns
    -------
    Series
        In the unit of the file. ``n/a`` in text becomes NaN; NaN and infinity are kept.

    Raises
    ------
    SeriesError
        If the file is missing, damaged, of an unknown kind, ragged, not numeric, or not
        two-dimensional; if it is a matrix between regions, a column counts the rows, or a code such
        as -9999 is among the values; or if the first row may or may not be a header.
    """
    path = Path(path)
    suffix = _known_suffix(path)
    if suffix in (".npy", ".npz"):
        values, names = _load_array(path, key), None
    else:
        text = _read_text(path, suffix, header)
        values, names = text.parse(), text.names
    _refuse_matrix(path, key, values)
    if orientation == "roi_by_time":
        _refuse_names_of_regions(path, names)
        values, names = values.T, None
    values = np.ascontiguousarray(values, dtype=np.float64)
    _refuse_strange(path, values)
    return Series(values, names)


def _refuse_strange(path: Path, values: np.ndarray) -> None:
    """Refuse a series with what no region has among its values."""
    strange = strange_values(values)
    if strange:
        raise SeriesError(f"{path}: {strange}")


def _refuse_names_of_regions(path: Path, names: list[str] | None) -> None:
    """Refuse names of regions over columns that are timepoints."""
    if names and not is_generic(names):
        raise SeriesError(
            f"{path}: the header names the columns ({', '.join(names[:5])}), which are timepoints "
            "if orientation is roi_by_time; set orientation to time_by_roi, or header to false"
        )


def _read_text(path: Path, suffix: str, header: bool | None) -> Text:
    try:
        return read_text(path, suffix, header)
    except SeriesError:
        raise
    except FileError as error:
        raise SeriesError(str(error)) from None


def _refuse_matrix(path: Path, key: str | None, values: np.ndarray) -> None:
    kind = matrix_kind(values)
    if kind:
        where = f"{path}: the array {key!r}" if key else f"{path}:"
        raise SeriesError(
            f"{where} is {kind} of {len(values)} regions, expected a series over time "
            "(n_timepoints, n_rois); give the series that it was computed from"
            + ("" if key is None else ", chosen by `array`")
        )


def series_shapes(
    path: Path, orientation: Orientation | None = None, header: bool | None = None
) -> dict[str | None, tuple[int, ...] | SeriesError]:
    """Shapes of all series of a file, from as little of it as possible.

    Of arrays only the headers are read, but square arrays completely: they may be matrices.
    Text: the number of data lines and the width of the first, so a ragged or non-numeric file is
    found by `read_series` only.

    Returns
    -------
    dict
        Key (None unless the file is an ``.npz``) to ``(n_timepoints, n_rois)``, or to the error
        when this array is no series.

    Raises
    ------
    SeriesError
        If the file cannot be read at all.
    """
    suffix = _known_suffix(path)
    shapes: dict[str | None, tuple[int, ...] | SeriesError] = {}
    if suffix == ".npz":
        keys = array_keys(path)
        with zipfile.ZipFile(path) as archive:  # opened once: a file may contain thousands
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
        shapes[None] = _read_text(path, suffix, header).shape
    for name, shape in shapes.items():
        if not isinstance(shape, SeriesError) and shape[0] == shape[1]:
            try:
                read_named_series(path, name, orientation, header)
            except SeriesError as error:
                shapes[name] = error
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
        wanted = "one: choose it by `array`" if key is None else repr(key)
        raise SeriesError(f"{path}: found the arrays {keys[:10]}, expected {wanted}")
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
    """Shape in the header of an array of `size` bytes, compared with this size."""
    try:
        shape, dtype = _array_header(stream)
    except (*BROKEN_ZIP, ValueError) as error:
        raise _unreadable(path, error) from None
    _check_array(path, shape, dtype)
    expected = stream.tell() + math.prod(shape) * dtype.itemsize
    if size != expected or size > MAX_ARRAY:
        raise SeriesError(
            f"{path}: its header gives {shape} of {dtype}, {expected:,} "
            f"bytes, but it has {size:,}; "
            f"it is damaged, or larger than {MAX_ARRAY:,} bytes: copy it again"
        )
    return shape


def _array_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    start = stream.read(1)
    if start == PICKLE:
        raise ValueError("a Python pickle, which could run code; save arrays with numpy.save")
    stream.seek(0)
    version = np.lib.format.read_magic(stream)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"array format {version} is newer than this reader supports")
    try:
        shape, _, dtype = read(stream)
    except (EOFError, OSError, zipfile.BadZipFile, zlib.error):
        raise  # the file is damaged, not its header
    except Exception as error:  # a damaged header fails in many ways in numpy's parser
        raise ValueError(f"its header describes no array: {error}") from None
    if not all(type(n) is int for n in shape):
        raise ValueError(f"its header describes no array: found the shape {shape}")
    return shape, dtype


def _check_array(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if dtype.kind == "O":
        raise SeriesError(
            f"{path}: contains pickled Python objects (a dict, a list, or arrays of different "
            "lengths) which could run code and are not read, expected real numbers: save each "
            "series as an array of numbers, with numpy.savez(file, **arrays)"
        )
    if dtype.names:
        raise SeriesError(
            f"{path}: contains a table of named columns "
            f"({', '.join(dtype.names[:5])}), expected an "
            "array of numbers (time, rois); write it as .tsv with a header"
        )
    if len(shape) != 2 or min(shape) < 1:
        raise SeriesError(
            f"{path}: found an array of shape {shape}, expected (time, rois); if it is no series, "
            "choose the others by `array`, or narrow `pattern`"
        )
    if dtype.kind not in "fiu":
        raise SeriesError(f"{path}: found values of type {dtype}, expected real numbers")
