"""Walk the scans of one batch: in parallel, each kept as soon as it is finished, none lost.

A finished scan is kept in the work folder, which is not a declared output, so that a killed job
resumes where it was (`pipeline.stores`). Workers return the rows of a scan; the job's own process
writes. The batch's table and manifest are written last, atomically. A scan that raises is recorded
with its reason; a worker that dies takes down nobody but its own scan.

A published failure is not tried again by itself, but only when its batch runs again: after a change
of its inputs or settings, or after `brainmass retry` (`pipeline.retry`).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from brainmass_core.checksums import ChecksumError
from brainmass_core.pipeline.attempt import (
    BatchError,
    Outcome,
    Process,
    more_memory,
    no_space,
    work_on,
)
from brainmass_core.pipeline.kept import Job, Store
from brainmass_core.pipeline.manifest import Entry, row_of, write_manifest
from brainmass_core.pipeline.scan_fingerprint import fingerprint
from brainmass_core.pipeline.stores import open_store
from brainmass_core.pipeline.workers import (
    Died,
    TimedOut,
    WorkerError,
    in_processes,
    single_threaded,
)
from brainmass_core.tables import from_rows, remove_abandoned, write_table

__all__ = ["BatchError", "run_batch"]

log = logging.getLogger(__name__)
QUIET_SECONDS = 5.0  # between lines on the terminal; the log file has one per scan
IN_LINE = "BRAINMASS_IN_LINE"  # set it to work in this process, where a debugger can follow


def run_batch(job: Job, items: dict[str, Any], process: Process) -> list[Entry]:
    """Process every scan of a batch and publish its table and manifest.

    Parameters
    ----------
    items : dict
        scan_id to what `process` needs; picklable. A kept scan counts as finished only while its
        item is the same and the files that the item names have not changed.
    process : callable
        Takes one item's value, returns the scan's rows as a table of ``job.schema``. Raises
        `ScanFailed` or `ScanExcluded` for what is wrong with the scan. Picklable.

    Returns
    -------
    list of Entry
        One per scan, ordered by scan_id.

    Raises
    ------
    BatchError
        If the disk is full, workers cannot be started, or more than ``max_failed_fraction`` of the
        scans failed for lack of memory. Finished scans are kept; the same command goes on from
        there.
    """
    with _only_one(job) as killed, _writing(job), closing(open_store(job)) as store:
        _remove_temporary(job, killed)
        # before the work: a file that changes later is noticed, now or by the next run
        made_from = {scan_id: fingerprint(item) for scan_id, item in items.items()}
        done = store.find(made_from)
        if done:
            log.info("%s: %d of %d scans were finished before", job.stage, len(done), len(items))
        todo = {s: v for s, v in items.items() if s not in done}
        entries = list(done.values())
        with closing(_run(job, todo, process)) as outcomes:
            for entry, rows in outcomes:
                store.keep(entry, made_from[entry.scan_id], rows)
                entries.append(entry)
        entries.sort(key=lambda e: e.scan_id)
        _refuse_if_memory_is_short(job, entries)
        _tell_if_many_failed(job, entries)
        _publish(job, entries, store)
        store.published(entries, made_from)
    return entries


@contextmanager
def _writing(job: Job) -> Iterator[None]:
    """Report what the system refuses to write; the outcomes of scans do not pass through here."""
    try:
        yield
    except OSError as error:
        raise no_space(job, error) from None


def _remove_temporary(job: Job, killed: bool) -> None:
    """Remove what a job of this batch left that was killed while it published.

    Derivatives are written by several batches at once, so that theirs must be told apart.
    """
    for path in (job.table, job.manifest):
        for temporary in path.parent.glob(f".{path.name}.*.tmp"):
            temporary.unlink(missing_ok=True)
    if killed:
        remove_abandoned(job.table.parent)


def _run(job: Job, todo: dict[str, Any], process: Process) -> Generator[Outcome, None, None]:
    results = _in_line if os.environ.get(IN_LINE) else _in_workers
    console = Console(stderr=True)
    plain = not console.is_terminal or bool(os.environ.get("BRAINMASS_PLAIN_PROGRESS"))
    columns = (
        TextColumn(f"{job.stage} {job.dataset}/{job.batch}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=plain) as progress:
        bar = progress.add_task("", total=len(todo))
        shown = time.monotonic()
        for n, (entry, rows) in enumerate(results(job, todo, process), 1):
            progress.advance(bar)
            quiet = entry.status == "ok" and time.monotonic() - shown < QUIET_SECONDS
            if not quiet:
                shown = time.monotonic()
            log.log(
                logging.WARNING if entry.status != "ok" else [logging.INFO, logging.DEBUG][quiet],
                "%s %s/%s: %d/%d %s %s %.1f s%s",
                *(job.stage, job.dataset, job.batch, n, len(todo)),
                *(entry.scan_id, entry.status, entry.seconds),
                f": {_told(entry)}" if entry.reason else "",
            )
            yield entry, rows


def _told(entry: Entry) -> str:
    return "; ".join(filter(None, (entry.reason, entry.remedy)))


def _in_line(job: Job, todo: dict[str, Any], process: Process) -> Iterator[Outcome]:
    for scan_id, item in todo.items():
        yield work_on(job, process, scan_id, item)


def _in_workers(job: Job, todo: dict[str, Any], process: Process) -> Iterator[Outcome]:
    """Work in child processes, with one thread as well: native code may crash, or never end.

    A scan whose worker died is tried once more when all others are done, with nothing beside it:
    it may have been killed for the memory of its neighbours.
    """
    died: dict[str, Any] = {}
    for scan_id, outcome in _outcomes(job, todo, process, job.threads):
        if isinstance(outcome, Died):
            log.warning("%s: its worker died (%s); to be tried again", scan_id, outcome.cause)
            died[scan_id] = todo[scan_id]
        else:
            yield _returned(job, scan_id, outcome)
    for scan_id, item in died.items():
        for _, outcome in _outcomes(job, {scan_id: item}, process, 1):
            yield _returned(job, scan_id, outcome)


def _outcomes(
    job: Job, items: dict[str, Any], process: Process, n_workers: int
) -> Iterator[tuple[str, Outcome | Died | TimedOut]]:
    calls = {s: (s, item) for s, item in items.items()}
    stage = getattr(process, "func", process).__module__  # a function or a partial of one
    work = partial(work_on, job, process)
    try:
        with single_threaded():
            yield from in_processes(
                work, calls, n_workers, job.config.scan_timeout, (__name__, stage)
            )
    except WorkerError as error:
        raise BatchError(
            f"{job.stage} {job.dataset}/{job.batch}: {error}; {more_memory(job)}, or look at what "
            "the log says above; finished scans are kept"
        ) from None


def _returned(job: Job, scan_id: str, outcome: Outcome | Died | TimedOut) -> Outcome:
    """What a worker returned, or an entry that says how the worker ended."""
    if isinstance(outcome, tuple):
        return outcome
    if isinstance(outcome, TimedOut):
        reason = f"not finished after {outcome.seconds:g} s (scan_timeout); it was stopped"
        remedy = "look at the scan with a viewer, or raise scan_timeout"
    else:
        reason = (
            f"the worker process died ({outcome.cause}): killed, out of memory, or a crash in "
            "native code"
        )
        remedy = f"{more_memory(job)}, or look at the scan with a viewer"
    return Entry(job.stage, job.dataset, job.batch, scan_id, "failed", reason, remedy=remedy), None


def _refuse_if_memory_is_short(job: Job, entries: list[Entry]) -> None:
    """The machine, not the scans, is to blame: a job with more memory must run instead."""
    short = [e.scan_id for e in entries if e.status == "failed" and more_memory(job) in e.remedy]
    if entries and len(short) / len(entries) > job.config.max_failed_fraction:
        raise BatchError(
            f"{job.stage} {job.dataset}/{job.batch}: {len(short)} of {len(entries)} scans failed "
            f"for lack of memory or because their worker died: {', '.join(short[:10])}; "
            f"{more_memory(job)} (on Slurm each further attempt has twice the memory); finished "
            "scans are kept"
        )


def _tell_if_many_failed(job: Job, entries: list[Entry]) -> None:
    """The data set is judged when all its batches are published, see `failed_fraction`."""
    failed = [e for e in entries if e.status == "failed"]
    limit = job.config.max_failed_fraction
    if entries and len(failed) / len(entries) > limit:
        lines = "\n".join(f"  {e.scan_id}: {_told(e)}" for e in failed[:10])
        log.warning(
            "%s %s/%s: %d of %d scans failed, more than max_failed_fraction %g of this batch:\n%s",
            *(job.stage, job.dataset, job.batch, len(failed), len(entries), limit, lines),
        )


def _publish(job: Job, entries: list[Entry], store: Store) -> None:
    tables = [job.schema.empty_table()]
    for entry in entries:
        if entry.status == "ok":
            tables.append(_rows(store, entry))
        elif "status" in job.schema.names:
            tables.append(from_rows([row_of(entry, job.schema)], job.schema))
    table = pa.concat_tables([t.cast(job.schema) for t in tables])
    write_table(job.table, table, job.stage, job.config_hash, **(job.options or {}))
    write_manifest(job.manifest, entries, job.config_hash)


def _rows(store: Store, entry: Entry) -> pa.Table:
    """The kept rows of a scan, which were compared with their checksum or have just been written.

    Raises
    ------
    BatchError
        If they have become damaged since.
    """
    try:
        return store.rows(entry.scan_id)
    except ChecksumError as error:
        raise BatchError(
            f"{error} while the batch ran; run the same command again: the scan is then "
            "worked on again, all others are kept. If it happens again, check the disk and memory"
        ) from None


@contextmanager
def _only_one(job: Job) -> Iterator[bool]:
    """Wait for a job of the same batch that outlived its Snakemake; the lock dies with it.

    Yields whether an earlier job was killed: it would have removed the file of its lock.
    """
    with _writing(job):
        job.lock.parent.mkdir(parents=True, exist_ok=True)
        killed = job.lock.exists()
        lock = FileLock(job.lock)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.warning("%s is locked by another process; waiting for it", job.lock)
            lock.acquire()
    try:
        yield killed
    finally:
        # removed while it is held: who waits for it finds that it has no name, and makes a new one
        with suppress(OSError):
            job.lock.unlink()
        lock.release()
