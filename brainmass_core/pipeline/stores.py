"""The store of each stage: files per scan (`pipeline.kept`), or a journal per batch."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from brainmass_core.checksums import ChecksumError
from brainmass_core.config import Config
from brainmass_core.pipeline.hashing import may_share
from brainmass_core.pipeline.journal import (
    Journal,
    from_bytes,
    read_rows,
    same_columns,
    schema_of,
    whole_records,
)
from brainmass_core.pipeline.kept import (
    Job,
    ScanFiles,
    Store,
    journal_name,
    kept_entry,
    work_folder,
)
from brainmass_core.pipeline.manifest import Entry
from brainmass_core.pipeline.published import Published, link, read_index, rows_of
from brainmass_core.pipeline.stages import STAGES

log = logging.getLogger(__name__)


def open_store(job: Job) -> Store:
    """The store of a job's stage."""
    return ScanFiles(job) if STAGES[job.stage].keeps_work else JournalAndTables(job)


def kept_entries(config: Config, stage: str, dataset: str, batches: set[int]) -> Iterator[Entry]:
    """Entries of scans that are kept for unpublished batches, which may be running.

    Of a stage whose batches share their files, scans of other batches are included.
    """
    if not batches:
        return
    folder, of = work_folder(config, stage, dataset), config.datasets[dataset].batches
    if STAGES[stage].keeps_work:
        files = folder.glob("*.json")
        yield from (e for f in files if (e := kept_entry(f, with_rows=False)) is not None)
        return
    for batch in sorted(batches):
        try:
            with open(folder / journal_name(batch, of), "rb") as file:
                last = {record.entry.scan_id: record.entry for record in whole_records(file)}
        except OSError:  # the batch has not begun, or has just been published
            continue
        yield from last.values()


class JournalAndTables:
    """The journal of the batch, and published tables of the data set.

    A scan is looked for in the journal of the batch, in its table of the last run, and in journals
    and tables of other numbers of batches. A running job has a lock, a journal and at most one
    temporary file. After publication the journal is deleted.

    Parameters
    ----------
    job : Job

    Raises
    ------
    OSError
        If the journal cannot be read.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.batches = job.config.datasets[job.dataset].batches
        self.folder = job.work
        self.journal = Journal(self.folder / journal_name(job.batch, self.batches))
        self.index = self.journal.path.with_suffix(".json")
        self._taken: dict[str, bytes] = {}

    def find(self, made_from: Mapping[str, str]) -> dict[str, Entry]:
        """Look in the journal first, then in published tables, each of which is read once."""
        self._remove_outdated()
        found: dict[str, Entry] = {}
        for scan_id, wanted in made_from.items():
            record = self.journal.records.get(scan_id)
            if record is None or not _counts(record.made_from, record.entry, wanted):
                continue
            if record.entry.status != "ok" or self._sound(scan_id):
                found[scan_id] = record.entry
        own = read_index(self.index)
        if own is not None:
            self._take(own, made_from, found)
        if len(found) < len(made_from):
            for path in self._of_other_deals(".json"):
                if len(found) < len(made_from) and (other := read_index(path)) is not None:
                    self._take(other, made_from, found)
            for path in self._of_other_deals(".journal"):
                if len(found) < len(made_from):
                    self._take_recorded(path, made_from, found)
        return {s: replace(e, batch=self.job.batch) for s, e in found.items()}

    def _sound(self, scan_id: str) -> bool:
        """Whether the recorded rows of a scan are whole and have the columns of the table."""
        try:
            found = schema_of(self.journal.rows(scan_id))
        except (ChecksumError, pa.ArrowException) as error:
            log.warning("%s; the scan is processed again", error)
            return False
        if not same_columns(found, self.job.schema):
            what = f"the rows of {scan_id} have other columns than this version writes"
            log.warning("%s: %s; the scan is processed again", self.journal.path, what)
            return False
        return True

    def _take(
        self, batch: Published, made_from: Mapping[str, str], found: dict[str, Entry]
    ) -> None:
        """Add the scans of a published batch that are still missing."""
        wanted = {
            scan_id: entry
            for scan_id, (of, entry) in batch.scans.items()
            if scan_id not in found and _counts(of, entry, made_from.get(scan_id))
        }
        with_rows = {s for s, e in wanted.items() if e.status == "ok"}
        if with_rows:
            rows = rows_of(batch, self.job.stage, self.job.schema, with_rows)
            self._taken |= rows
            wanted = {s: e for s, e in wanted.items() if s in rows or s not in with_rows}
        found |= wanted

    def _take_recorded(
        self, path: Path, made_from: Mapping[str, str], found: dict[str, Entry]
    ) -> None:
        """Add the scans of another journal, of a killed run, that are still missing."""
        try:
            with open(path, "rb") as file:
                for record in list(whole_records(file)):
                    entry, scan_id = record.entry, record.entry.scan_id
                    if not _counts(record.made_from, entry, made_from.get(scan_id)):
                        continue
                    if scan_id in found:
                        continue
                    if entry.status == "ok":
                        rows = read_rows(file, record)
                        if not same_columns(schema_of(rows), self.job.schema):
                            continue
                        self._taken[scan_id] = rows
                    found[scan_id] = entry
        except (OSError, ChecksumError, pa.ArrowException) as error:
            log.warning("%s: not all of its scans can be read: %s", path, error)

    def _of_other_deals(self, suffix: str) -> list[Path]:
        """Files of other numbers of batches that can contain scans of this batch."""
        return [
            path
            for path in sorted(self.folder.glob(f"*-of-*{suffix}"))
            if (deal := _deal(path)) is not None
            and deal[1] != self.batches
            and may_share(self.job.batch, self.batches, *deal)
        ]

    def keep(self, entry: Entry, made_from: str, rows: bytes | None) -> None:
        """Append the scan to the journal."""
        self._taken.pop(entry.scan_id, None)
        self.journal.append(entry, made_from, rows)

    def rows(self, scan_id: str) -> pa.Table:
        """Rows from the table that the scan was taken from, or from the journal."""
        taken = self._taken.get(scan_id)
        return from_bytes(self.journal.rows(scan_id) if taken is None else taken)

    def published(self, entries: list[Entry], made_from: Mapping[str, str]) -> None:
        """Keep the table for later runs, delete the journal, and what no batch needs any more."""
        if STAGES[self.job.stage].of_scan:
            try:
                link(self.index, self.job.table, entries, made_from)
            except OSError as error:
                log.info("%s: not kept for other batches: %s", self.job.table, error)
        self.journal.remove()
        self._remove_other_deals()

    def _remove_other_deals(self) -> None:
        """Remove tables and journals of other numbers of batches after the last batch of this."""
        deals = {path: _deal(path) for path in self.folder.glob("*-of-*")}
        others = [path for path, deal in deals.items() if deal and deal[1] != self.batches]
        if not others:
            return
        published = {d[0] for p, d in deals.items() if d and p not in others and _is_index(p)}
        if len(published) == self.batches:
            for path in others:
                path.unlink(missing_ok=True)

    def _remove_outdated(self) -> None:
        """Remove what other settings left, and temporary files of a killed job of this batch.

        Files of other settings would not only take space: derivatives are overwritten, so that rows
        of earlier settings would no longer belong to the files that exist.
        """
        for folder in self.job.paths.work(self.job.stage, self.job.dataset).iterdir():
            if folder.is_dir() and folder != self.folder:
                shutil.rmtree(folder, ignore_errors=True)
        for temporary in self.folder.glob(f".{self.index.stem}.*tmp"):
            temporary.unlink(missing_ok=True)

    def close(self) -> None:
        """Sync and close the journal."""
        self.journal.close()


def _counts(made_from: str, entry: Entry, wanted: str | None) -> bool:
    """Whether a kept scan is finished and made from what it would be made from now."""
    return made_from == wanted and entry.status != "failed"


def _deal(path: Path) -> tuple[int, int] | None:
    """Batch and number of batches in the name of a file, which may be a temporary one."""
    found = re.match(r"\.?(\d+)-of-(\d+)\.", path.name)
    return (int(found[1]), int(found[2])) if found else None


def _is_index(path: Path) -> bool:
    return path.suffix == ".json" and not path.name.startswith(".")
