"""A job, and where its finished scans are kept so that later runs find them.

A stage whose scans are expensive (`Stage.keeps_work`) keeps the files of each scan for good, see
`ScanFiles`. The other stages have a journal per batch, see `pipeline.stores`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from brainmass_core import __version__
from brainmass_core.checksums import ChecksumError, check_file, check_seal, sealed, sha256_of
from brainmass_core.config import Config
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.journal import from_bytes, plain_entry
from brainmass_core.pipeline.manifest import Entry
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pipeline.stages import STAGES
from brainmass_core.tables import atomic_path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One batch of one stage.

    Attributes
    ----------
    options : dict
        Options of the Parquet writer, such as ``row_group_size``.
    """

    config: Config
    stage: str
    dataset: str
    batch: int
    schema: pa.Schema
    threads: int = 1
    options: dict[str, Any] | None = None

    @property
    def paths(self) -> Paths:
        """Paths of the results folder."""
        return Paths(self.config.results)

    @property
    def config_hash(self) -> str:
        """Hash of the part of the configuration that this stage depends on."""
        return stage_hash(self.config, self.stage, self.dataset)

    @property
    def table(self) -> Path:
        """The table that the job publishes."""
        return self.paths.batch(self.stage, self.dataset, self.batch)

    @property
    def manifest(self) -> Path:
        """The manifest that the job publishes."""
        return self.paths.manifest(self.stage, self.dataset, self.batch)

    @property
    def work(self) -> Path:
        """Folder of finished scans, see `work_folder`."""
        return work_folder(self.config, self.stage, self.dataset)

    @property
    def lock(self) -> Path:
        """Locked while the job runs."""
        return self.paths.work(self.stage, self.dataset) / f"{self.batch}.lock"


def work_folder(config: Config, stage: str, dataset: str) -> Path:
    """Where finished scans of a data set are kept; other settings have another folder.

    It does not depend on batches, nor on seeds and splits that a scan's result does not depend on.
    Another version of the package computes series, FC and views again, but repeats no registration.
    """
    known, paths = STAGES[stage], Paths(config.results)
    name = stage_hash(config, known.of_scan or stage, dataset)
    if known.keeps_work:
        return paths.work(stage, dataset, "scans") / name
    return paths.work(stage, dataset) / f"{name}-{__version__}"


def journal_name(batch: int, batches: int) -> str:
    """Name of a batch's journal in the work folder."""
    return f"{batch}-of-{batches}.journal"


class Store(Protocol):
    """Where the finished scans of one job are kept; only the job's own process uses it.

    All methods raise `OSError` if the disk is full or cannot be written.
    """

    def find(self, made_from: Mapping[str, str]) -> dict[str, Entry]:
        """Scans that are finished and made from these fingerprints; failed ones are forgotten."""

    def keep(self, entry: Entry, made_from: str, rows: bytes | None) -> None:
        """Keep a scan, with its rows as by `journal.to_bytes`."""

    def rows(self, scan_id: str) -> pa.Table:
        """Rows of a scan that was found or kept; raises `ChecksumError` if they are damaged."""

    def published(self, entries: list[Entry], made_from: Mapping[str, str]) -> None:
        """Remove what is not needed after table and manifest of the batch are published."""

    def close(self) -> None:
        """Wait until what is kept is on the disk."""


class ScanFiles:
    """Files of each scan that stay after publication; all batches of a data set share the folder.

    Parameters
    ----------
    job : Job
    """

    def __init__(self, job: Job) -> None:
        self.job = job

    def find(self, made_from: Mapping[str, str]) -> dict[str, Entry]:
        """Look for the files of each scan; remove them if they do not count.

        A failure of an earlier run must not be taken for one of this run.
        """
        found = {}
        for scan_id, wanted in made_from.items():
            entry = self._finished(scan_id, wanted)
            if entry is not None and entry.status != "failed":
                found[scan_id] = entry
                continue
            for kind in ("json", "item"):
                self.file_of(scan_id, kind).unlink(missing_ok=True)
        return found

    def _finished(self, scan_id: str, wanted: str) -> Entry | None:
        made_from = self.file_of(scan_id, "item")
        try:
            same = made_from.read_text() == wanted
        except (OSError, UnicodeDecodeError):
            return None
        entry = kept_entry(self.file_of(scan_id, "json")) if same else None
        entry = entry and replace(entry, batch=self.job.batch)  # it may have been in another batch
        if entry is not None and entry.status == "ok":
            rows = pq.read_schema(self.file_of(scan_id, "parquet"))
            return entry if rows.names == self.job.schema.names else None  # of an older version
        return entry

    def file_of(self, scan_id: str, kind: str) -> Path:
        """A scan's rows (parquet), its entry (json), or what it was made from (item)."""
        return self.job.work / f"{quote(scan_id, safe='')}.{kind}"

    def keep(self, entry: Entry, made_from: str, rows: bytes | None) -> None:
        """Write the rows first, then the entry, whose presence means that the scan is finished."""
        sha256 = None
        if rows is not None:
            with atomic_path(self.file_of(entry.scan_id, "parquet")) as path:
                pq.write_table(from_bytes(rows), path, compression="none")
                sha256 = sha256_of(path)
        self.job.work.mkdir(parents=True, exist_ok=True)
        self.file_of(entry.scan_id, "item").write_text(made_from)
        with atomic_path(self.file_of(entry.scan_id, "json")) as path:
            path.write_text(json.dumps(sealed({"entry": plain_entry(entry), "rows": sha256})))

    def rows(self, scan_id: str) -> pa.Table:
        """Rows of a scan, compared with their checksum once more."""
        path = self.file_of(scan_id, "parquet")
        if kept_entry(self.file_of(scan_id, "json")) is None:
            raise ChecksumError(f"{path}: damaged")
        return pq.ParquetFile(path).read()

    def published(self, entries: list[Entry], made_from: Mapping[str, str]) -> None:
        """Nothing is removed."""

    def close(self) -> None:
        """Each file was synced when it was written."""


def kept_entry(file: Path, with_rows: bool = True) -> Entry | None:
    """The outcome of a scan that is kept in files; None if its entry or its rows are damaged.

    Parameters
    ----------
    file : Path
        The scan's entry.
    with_rows : bool
        Compare the rows with their checksum as well.
    """
    try:
        record = json.loads(file.read_text())
        check_seal(record, file)
        if with_rows and record["rows"] is not None:
            check_file(file.with_suffix(".parquet"), record["rows"])
        return Entry(**record["entry"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        log.warning("%s: a kept scan is damaged and counts as not finished: %s", file, error)
        return None
