"""Scans of published tables, for later runs of the data set that would compute the same rows.

Snakemake removes the outputs of a job before it runs again. So that one more participant, another
number of batches or `brainmass retry` only regroup what is there, the table of a published batch
has a second name (a hard link, which takes no space) in the work folder. An index next to it, a
JSON file, lists the scans with their entries and what each was made from. A file system without
hard links keeps nothing, and scans are computed again.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from brainmass_core.checksums import ChecksumError, check_file, check_seal, sealed, sha256_of
from brainmass_core.pipeline.journal import plain_entry, to_bytes
from brainmass_core.pipeline.manifest import Entry
from brainmass_core.tables import TableError, atomic_path, read_table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """A published batch in the work folder.

    Attributes
    ----------
    table : Path
        Link to its table.
    sha256 : str
        Checksum of the table.
    scans : dict
        scan_id to what the scan was made from, and its entry.
    """

    table: Path
    sha256: str
    scans: dict[str, tuple[str, Entry]]


def link(index: Path, table: Path, entries: Iterable[Entry], made_from: Mapping[str, str]) -> None:
    """Keep a published table under the name of its index, in place of an earlier one.

    The earlier link and index stay valid until the new index has replaced the old one.

    Parameters
    ----------
    index : Path
        The JSON file to write; the link is next to it and is named by the checksum of the table.
    table : Path
        The published table.
    entries : iterable of Entry
        All scans of the batch; failed ones are not listed.

    Raises
    ------
    OSError
        If the file system has no hard links, or cannot be written.
    """
    index.parent.mkdir(parents=True, exist_ok=True)
    sha256 = sha256_of(table)
    linked = _table_of(index, sha256)
    temporary = linked.with_name(f".{linked.name}.tmp")
    temporary.unlink(missing_ok=True)
    os.link(table, temporary)
    temporary.replace(linked)
    temporary.unlink(missing_ok=True)  # two names of one file are not renamed but left
    scans = {
        e.scan_id: {"made_from": made_from[e.scan_id], "entry": plain_entry(e)}
        for e in entries
        if e.status != "failed"
    }
    with atomic_path(index) as path:
        path.write_text(json.dumps(sealed({"table": sha256, "scans": scans})))
    for old in index.parent.glob(f"{index.stem}.*.parquet"):
        if old != linked:
            old.unlink(missing_ok=True)


def _table_of(index: Path, sha256: str) -> Path:
    return index.with_name(f"{index.stem}.{sha256[:16]}.parquet")


def read_index(index: Path) -> Published | None:
    """The published batch of an index; None if there is none or it is damaged."""
    try:
        record = json.loads(index.read_text())
        check_seal(record, index)
        scans = {s: (v["made_from"], Entry(**v["entry"])) for s, v in record["scans"].items()}
        return Published(_table_of(index, record["table"]), record["table"], scans)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: damaged, its scans are processed again: %s", index, error)
        return None


def rows_of(
    published: Published, name: str, schema: pa.Schema, scans: set[str]
) -> dict[str, bytes]:
    """Rows of scans in a published table, each as by `journal.to_bytes`.

    Parameters
    ----------
    name : str
        Name of the table, its stage.
    schema : Schema
        Schema of the stage's table; rows of a table with another one are of an older version.

    Returns
    -------
    dict
        scan_id to rows; empty if the table is missing, damaged, or has another schema.
    """
    try:
        check_file(published.table, published.sha256)
        table = read_table(published.table, name)
    except (ChecksumError, TableError) as error:
        log.warning("%s; its scans are processed again", error)
        return {}
    if not table.schema.equals(schema):
        return {}
    table = table.replace_schema_metadata(schema.metadata).combine_chunks()
    names = np.array(table["scan_id"].to_pylist(), dtype=object)
    starts = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist()] if len(names) else []
    ends = [*starts[1:], len(names)]
    return {
        names[start]: to_bytes(table.slice(start, end - start))
        for start, end in zip(starts, ends, strict=True)
        if names[start] in scans
    }
