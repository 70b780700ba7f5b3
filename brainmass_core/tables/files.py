"""Read tables, and write them atomically."""

from __future__ import annotations

import base64
import os
import re
import socket
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from brainmass_core.pipeline.disk import of_the_system

VERSION = 1
TABLE, ARROW_SCHEMA = b"brainmass_table", b"ARROW:schema"  # keys in a file's metadata

# targets of tables whose name is not that of their stage
MADE_BY = {"manifest": "", "history": "pretrain"} | dict.fromkeys(
    ("cohort", "codings", "predictions", "roc", "metrics", "calibration"), "finetune"
)
MADE_BY |= dict.fromkeys(("regions", "networks", "attention", "stability", "maps"), "interpret")
MADE_BY |= dict.fromkeys(
    ("few_shot", "learning_curve", "zero_shot", "zero_shot_predictions"), "finetune"
)
MADE_BY |= {
    f"series_model_{name}": "series_model"
    for name in ("reconstruction", "forecast", "networks", "attention", "perturbation")
}


class TableError(ValueError):
    """A table cannot be read or is not the expected one."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success sync it and rename it to `path`.

    Raises
    ------
    OSError
        If the folder cannot be written or the disk is full, with the name of `path`, whose content
        is then unchanged.
    """
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = f".{_machine()}-{os.getpid()}.tmp"
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _publish(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@cache
def _machine() -> str:
    """Eight digits for this machine, or this container, within which process numbers are unique."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32(f'{socket.gethostname()} {space}'.encode()):08x}"


def remove_abandoned(folder: Path, below: bool = True) -> None:
    """Remove temporary files of `atomic_path` in and `below` `folder` whose processes were killed.

    Only those of this machine: whether a process of another one is alive is not known here.
    """
    import psutil

    for file in folder.rglob(".*.tmp") if below else folder.glob(".*.tmp"):
        writer = re.search(r"\.([0-9a-f]{8})-(\d+)\.tmp$", file.name)
        if writer and writer[1] == _machine() and not psutil.pid_exists(int(writer[2])):
            file.unlink(missing_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Add `path` to system errors while it is written, because libraries often omit it."""
    try:
        yield
    except Exception as error:
        found = of_the_system(error)
        if found is None or found.errno is None:
            raise
        if found is error and found.filename not in (None, str(path)):
            other = Path(os.fsdecode(found.filename))
            if other.parent != path.parent or not other.name.startswith(f".{path.name}."):
                raise  # the error is about another file
        raise OSError(found.errno, found.strerror or str(found), str(path)) from error


def _publish(temporary: Path, path: Path) -> None:
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)
    temporary.replace(path)


def write_table(
    path: Path, table: pa.Table, name: str, config_hash: str = "", **options: Any
) -> None:
    """Write a table atomically.

    Parameters
    ----------
    name : str
        Name of the table, such as ``scans``; written to the metadata with the version.
    config_hash : str
        Hash of the configuration that made it.
    **options
        Passed to `pyarrow.parquet.write_table`, such as ``row_group_size``.
    """
    metadata = {
        **(table.schema.metadata or {}),
        TABLE: name.encode(),
        b"brainmass_version": str(VERSION).encode(),
        b"brainmass_config_hash": config_hash.encode(),
    }
    options.setdefault("compression", "zstd")
    options.setdefault("write_page_checksum", True)
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary, **options)


def read_table(path: Path, name: str, columns: list[str] | None = None) -> pa.Table:
    """Read a table and check that it is the one expected.

    Raises
    ------
    TableError
        If the file is missing, damaged, another table, or of another schema version; the message
        says which target makes it again.
    """
    command = f"run: snakemake --cores all {MADE_BY.get(name, name)}".rstrip()
    remedy = f"remove it and {command}"
    if not path.exists():
        raise TableError(f"{path}: no such table; {command}")
    try:
        # an open file instead of a path: pyarrow would read folder names as partition columns
        with open(path, "rb") as file:
            reader = pq.ParquetFile(file, page_checksum_verification=True)
            table = reader.read(columns=columns)
            check_schema(reader)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise TableError(f"{path}: damaged Parquet file ({error}); {remedy}") from None
    metadata = table.schema.metadata or {}
    found = metadata.get(TABLE, b"no brainmass table").decode(errors="replace")
    version = metadata.get(b"brainmass_version", b"none").decode(errors="replace")
    if found != name or version != str(VERSION):
        raise TableError(
            f"{path}: found {found!r} version {version}, expected {name!r} version {VERSION}; "
            f"{remedy}"
        )
    absent = sorted(set(columns or []) - set(table.schema.names))
    if absent:
        raise TableError(f"{path}: columns {absent} are missing from {name!r}; {remedy}")
    return table


def check_schema(reader: pq.ParquetFile) -> None:
    """Compare the two copies of a table's schema and metadata, which page checksums do not cover.

    One is Parquet's own, the other is Arrow's, which pyarrow also writes.

    Raises
    ------
    ValueError
        If they differ.
    """
    metadata = dict(reader.metadata.metadata or {})
    if TABLE not in metadata:
        return  # no table of ours, which is said elsewhere
    copy = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(metadata.pop(ARROW_SCHEMA))))
    found = reader.schema_arrow
    if not found.equals(copy) or metadata != copy.metadata:
        raise ValueError("its two copies of the schema differ")
    if reader.metadata.num_rows != sum(
        reader.metadata.row_group(i).num_rows for i in range(reader.num_row_groups)
    ):
        raise ValueError("its row groups have other rows than its footer says")


def config_hash_of(path: Path) -> str:
    """The configuration hash in a table's metadata, empty if there is none.

    Raises
    ------
    TableError
        If the file is damaged.
    """
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TableError(
            f"{path}: damaged Parquet file ({error}); remove it and run the command that made it"
        ) from None
    return metadata.get(b"brainmass_config_hash", b"").decode()


def from_rows(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows to a table of exactly this schema; missing keys become null.

    Raises
    ------
    KeyError
        If a row has a key that the schema lacks.
    """
    for row in rows:
        unknown = set(row) - set(schema.names)
        if unknown:
            raise KeyError(f"not in the schema: {sorted(unknown)}")
    return pa.Table.from_pylist(rows, schema=schema)
