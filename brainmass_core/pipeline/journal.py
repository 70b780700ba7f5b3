"""The journal of a batch: one append-only file with every scan that is finished.

Each record is a header (a mark, the length and the sha256 of the text that follows), a JSON text
(the entry of the scan, what it was made from, length and sha256 of its rows) and the rows as an
Arrow IPC stream. A process that is killed while it appends leaves an incomplete record at the end,
which is removed when the journal is opened again. One process writes; others may read meanwhile.

Every record is handed to the operating system at once, so that a killed process loses nothing. It
is also synced to the disk, for power cuts, if its scan took `SYNC_SECONDS` or longer or the last
sync is that long ago. A power cut therefore costs the scans of these seconds.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from brainmass_core.checksums import ChecksumError
from brainmass_core.pipeline.manifest import Entry

log = logging.getLogger(__name__)

SYNC_SECONDS = 2.0
MARK = b"scan\x00\r\n\x01"  # the last byte is the version of the format
HEADER = struct.Struct("<8sQ32s")  # mark, length of the text in bytes, its sha256
LONGEST_TEXT = 64 * 2**20  # bytes; a longer one is a damaged length


@dataclass(frozen=True)
class Record:
    """One scan in a journal.

    Attributes
    ----------
    made_from : str
        Fingerprint of what the scan was made from.
    offset, size : int
        Where its rows are in the file, in bytes.
    sha256 : str or None
        Checksum of the rows; None if the scan has none.
    """

    entry: Entry
    made_from: str
    offset: int
    size: int
    sha256: str | None

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.offset + self.size


class Journal:
    """A journal that this process writes; the file is created with the first record.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    records : dict
        scan_id to its last record.

    Raises
    ------
    OSError
        If the file cannot be read, or its incomplete end cannot be removed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[str, Record] = {}
        self._fd: int | None = None
        self._end = 0
        self._synced, self._dirty = time.monotonic(), False
        if path.exists():
            self._resume()

    def _resume(self) -> None:
        with open(self.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            for record in whole_records(file):
                self.records[record.entry.scan_id] = record
                self._end = record.end
        if size > self._end:
            log.warning(
                "%s: the last %d bytes are incomplete or damaged and are removed; scans that were "
                "recorded there are processed again",
                *(self.path, size - self._end),
            )
            os.truncate(self.path, self._end)

    def append(self, entry: Entry, made_from: str, rows: bytes | None) -> None:
        """Record a scan.

        Raises
        ------
        OSError
            If the disk is full; the journal then ends with the record before.
        """
        sha256 = None if rows is None else hashlib.sha256(rows).hexdigest()
        rows = rows or b""
        about = {"entry": plain_entry(entry), "made_from": made_from}
        text = json.dumps(about | {"rows": {"bytes": len(rows), "sha256": sha256}}).encode()
        head = HEADER.pack(MARK, len(text), hashlib.sha256(text).digest()) + text
        start = self._end
        self._write(head + rows)
        self.records[entry.scan_id] = Record(entry, made_from, start + len(head), len(rows), sha256)
        if entry.seconds >= SYNC_SECONDS or time.monotonic() - self._synced >= SYNC_SECONDS:
            self.sync()

    def _write(self, data: bytes) -> None:
        try:
            if self._fd is None:
                self._open()
            assert self._fd is not None
            left, at = memoryview(data), self._end
            while left:
                n = os.pwrite(self._fd, left, at)
                left, at = left[n:], at + n
        except OSError as error:
            if self._fd is not None:
                with suppress(OSError):
                    os.ftruncate(self._fd, self._end)
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._end, self._dirty = at, True

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            with suppress(OSError):  # not every file system can sync a folder
                os.fsync(folder)  # so that a power cut does not remove the name of the file
        finally:
            os.close(folder)

    def rows(self, scan_id: str) -> bytes:
        """The rows of a scan, compared with their checksum.

        Raises
        ------
        ChecksumError
            If they are damaged.
        OSError
            If they cannot be read.
        """
        record = self.records[scan_id]
        if self._fd is not None:
            return _checked(os.pread(self._fd, record.size, record.offset), record, self.path)
        with open(self.path, "rb") as file:
            return read_rows(file, record)

    def sync(self) -> None:
        """Wait until all records are on the disk."""
        if self._fd is not None and self._dirty:
            os.fsync(self._fd)
            self._synced, self._dirty = time.monotonic(), False

    def remove(self) -> None:
        """Close and delete the file."""
        self.path.unlink(missing_ok=True)
        self._dirty = False
        self.close()

    def close(self) -> None:
        """Sync and close the file."""
        try:
            self.sync()
        finally:
            if self._fd is not None:
                os.close(self._fd)
            self._fd = None


def whole_records(file: BinaryIO) -> Iterator[Record]:
    """Records of a journal up to the first that is incomplete or whose header is damaged.

    Rows are not read; `read_rows` compares them with their checksum.
    """
    size = os.fstat(file.fileno()).st_size
    at = 0
    while (record := _record_at(file, at, size)) is not None:
        yield record
        at = record.end


def _record_at(file: BinaryIO, at: int, size: int) -> Record | None:
    file.seek(at)
    head = file.read(HEADER.size)
    if len(head) < HEADER.size:
        return None
    mark, length, digest = HEADER.unpack(head)
    if mark != MARK or length > min(LONGEST_TEXT, size - at):
        return None
    text = file.read(length)
    if hashlib.sha256(text).digest() != digest:
        return None
    try:
        about = json.loads(text)
        rows = about["rows"]
        entry, made_from = Entry(**about["entry"]), about["made_from"]
        offset = at + HEADER.size + length
        record = Record(entry, made_from, offset, int(rows["bytes"]), rows["sha256"])
    except (ValueError, KeyError, TypeError, RecursionError):  # of another version
        return None
    return record if record.size >= 0 and record.end <= size else None


def read_rows(file: BinaryIO, record: Record) -> bytes:
    """The rows of a record, compared with their checksum.

    Raises
    ------
    ChecksumError
        If they are damaged.
    """
    file.seek(record.offset)
    return _checked(file.read(record.size), record, Path(file.name))


def _checked(rows: bytes, record: Record, path: Path) -> bytes:
    if hashlib.sha256(rows).hexdigest() != record.sha256:
        raise ChecksumError(f"{path}: the rows of {record.entry.scan_id} are damaged")
    return rows


def to_bytes(table: pa.Table) -> bytes:
    """Rows of a scan as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


def from_bytes(rows: bytes) -> pa.Table:
    """Inverse of `to_bytes`; the arrays are views of `rows`."""
    with pa.ipc.open_stream(pa.py_buffer(rows)) as stream:
        return stream.read_all()


def schema_of(rows: bytes) -> pa.Schema:
    """Schema of the result of `to_bytes`."""
    with pa.ipc.open_stream(pa.py_buffer(rows)) as stream:
        return stream.schema


def same_columns(found: pa.Schema, expected: pa.Schema) -> bool:
    """Whether names and types agree.

    Names and nullability of the elements of lists do not count: they are lost when a schema is sent
    to a worker.
    """
    if found.names != expected.names:
        return False
    return all(_type(a) == _type(b) for a, b in zip(found.types, expected.types, strict=True))


def _type(kind: pa.DataType) -> tuple | pa.DataType:
    if pa.types.is_fixed_size_list(kind):
        return "fixed", kind.list_size, _type(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return "list", _type(kind.value_type)
    return kind


def plain_entry(entry: Entry) -> dict[str, Any]:
    """An entry as JSON can store it: NumPy's numbers and arrays as Python's, the rest as text."""
    plain = {name: getattr(entry, name) for name in Entry.__dataclass_fields__}
    return plain | {"measured": json.loads(json.dumps(entry.measured, default=_plain))}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)
