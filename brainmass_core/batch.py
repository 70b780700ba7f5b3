"""Walk the scans of one batch: in parallel, each kept as soon as it is finished, none lost.

A finished scan lies in the work folder, which is no declared output, so that a killed job goes on
where it was. The batch's table and manifest are written last, atomically. A scan that raises is
recorded with its reason; a worker that dies takes down nobody but its own scan.
"""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from brainmass_core.config import Config, stage_hash
from brainmass_core.manifest import Entry, ScanFailed, write_manifest
from brainmass_core.paths import Paths
from brainmass_core.tables import atomic_path, from_rows, write_table

log = logging.getLogger(__name__)
Process = Callable[[Any], pa.Table]
STOP = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # the machine's fault, not the scan's
SINGLE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


class BatchError(RuntimeError):
    """A batch that cannot be published."""


@dataclass(frozen=True)
class Job:
    """One batch of one stage.

    Attributes
    ----------
    options : dict
        Options of the Parquet writer, such as ``row_group_size``.
    isolate : bool
        Always work in child processes, because native code may crash.
    """

    config: Config
    stage: str
    dataset: str
    batch: int
    schema: pa.Schema
    threads: int = 1
    isolate: bool = False
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
    def work(self) -> Path:
        """Folder of finished scans; another configuration has another folder."""
        return self.paths.work(self.stage, self.dataset, self.batch) / self.config_hash


def run_batch(job: Job, items: dict[str, Any], process: Process) -> list[Entry]:
    """Process every scan of a batch and publish its table and manifest.

    Parameters
    ----------
    items : dict
        scan_id to what `process` needs; picklable.
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
        If the disk is full or more than ``max_failed_fraction`` of the scans failed. Finished
        scans are kept; the same command goes on from there.
    """
    job.work.mkdir(parents=True, exist_ok=True)
    with _only_one(job):
        done = {s: e for s in items if (e := _finished(job, s)) and e.status != "failed"}
        if done:
            log.info("%s: %d of %d scans were finished before", job.stage, len(done), len(items))
        todo = {s: v for s, v in items.items() if s not in done}
        entries = sorted([*done.values(), *_run(job, todo, process)], key=lambda e: e.scan_id)
        _refuse_if_too_many_failed(job, entries)
        _publish(job, entries)
    return entries


def _run(job: Job, todo: dict[str, Any], process: Process) -> Iterator[Entry]:
    results = _in_pool if (job.threads > 1 and len(todo) > 1) or job.isolate else _in_line
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
        for n, entry in enumerate(results(job, todo, process), 1):
            progress.advance(bar)
            log.log(
                logging.INFO if entry.status == "ok" else logging.WARNING,
                "%s %s/%s: %d/%d %s %s %.1f s%s",
                *(job.stage, job.dataset, job.batch, n, len(todo)),
                *(entry.scan_id, entry.status, entry.seconds),
                f": {entry.reason}" if entry.reason else "",
            )
            yield entry


def _in_line(job: Job, todo: dict[str, Any], process: Process) -> Iterator[Entry]:
    for scan_id, item in todo.items():
        yield _work(job, scan_id, item, process)


def _in_pool(job: Job, todo: dict[str, Any], process: Process) -> Iterator[Entry]:
    """Run in child processes; after a crash, each scan that was in flight gets its own."""
    left = dict(todo)
    for name in SINGLE_THREAD:  # read by the children when they start
        os.environ[name] = "1"
    try:
        for scan_id, future in _submit(job, left, process, min(job.threads, len(left) or 1)):
            entry = future.result()
            del left[scan_id]
            yield entry
    except BrokenProcessPool:
        log.warning("a worker died; going on with one process per scan")
        for scan_id, item in left.items():
            if entry := _finished(job, scan_id):
                yield entry
                continue
            try:
                pairs = list(_submit(job, {scan_id: item}, process, 1))
                yield pairs[0][1].result()
            except BrokenProcessPool:
                yield _record_death(job, scan_id)


def _submit(
    job: Job, items: dict[str, Any], process: Process, workers: int
) -> Iterator[tuple[str, Future]]:
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context)
    try:
        futures = {pool.submit(_work, job, s, v, process): s for s, v in items.items()}
        for future in as_completed(futures):
            yield futures[future], future
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _work(job: Job, scan_id: str, item: Any, process: Process) -> Entry:
    """Process one scan and keep the result; runs in the worker."""
    start = time.perf_counter()
    entry = Entry(job.stage, job.dataset, job.batch, scan_id, "ok")
    table = None
    try:
        table = process(item).cast(job.schema)
    except ScanFailed as outcome:
        entry = replace(
            entry,
            status=outcome.status,
            reason=outcome.reason,
            step=outcome.step,
            remedy=outcome.remedy,
        )
    except Exception as error:
        if isinstance(error, OSError) and error.errno in STOP:
            raise _no_space(job, error) from None
        entry = _unexpected(job, entry, error)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_mb = peak / (1024 if sys.platform != "darwin" else 1024**2)
    entry = replace(entry, seconds=time.perf_counter() - start, peak_rss_mb=peak_mb)
    try:
        _keep(job, entry, table)
    except OSError as error:
        raise _no_space(job, error) from None
    return entry


def _keep(job: Job, entry: Entry, table: pa.Table | None) -> None:
    """Save the rows first, then the entry, whose presence says that the scan is finished."""
    if table is not None:
        with atomic_path(job.work / f"{entry.scan_id}.parquet") as path:
            pq.write_table(table, path, compression="none")
    with atomic_path(job.work / f"{entry.scan_id}.json") as path:
        path.write_text(json.dumps(asdict(entry)))


def _finished(job: Job, scan_id: str) -> Entry | None:
    file = job.work / f"{scan_id}.json"
    return Entry(**json.loads(file.read_text())) if file.exists() else None


def _unexpected(job: Job, entry: Entry, error: Exception) -> Entry:
    file = job.paths.log(job.stage, job.dataset, f"{entry.scan_id}.log")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(traceback.format_exception(error)))
    reason = f"{type(error).__name__}: {error}"
    return replace(entry, status="failed", reason=reason, log=str(file), step=_where(error))


def _where(error: Exception) -> str:
    """The innermost function of this package in the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "brainmass_core" in f.filename and f.name != "_work"]
    return ours[-1].name if ours else ""


def _record_death(job: Job, scan_id: str) -> Entry:
    entry = Entry(
        *(job.stage, job.dataset, job.batch, scan_id, "failed"),
        reason="the worker process died (killed, out of memory, or a crash in native code)",
        remedy=f"raise resources.{job.stage}.mem_mb, or look at the scan with a viewer",
    )
    _keep(job, entry, None)
    return entry


def _no_space(job: Job, error: OSError) -> BatchError:
    return BatchError(
        f"{job.stage} {job.dataset}/{job.batch}: cannot write below {job.config.results}: {error}; "
        "free space or mend the permissions, then run the same command: finished scans are kept"
    )


def _refuse_if_too_many_failed(job: Job, entries: list[Entry]) -> None:
    failed = [e for e in entries if e.status == "failed"]
    limit = job.config.max_failed_fraction
    if entries and len(failed) / len(entries) > limit:
        lines = "\n".join(f"  {e.scan_id}: {e.reason} {e.remedy}".rstrip() for e in failed[:10])
        raise BatchError(
            f"{job.stage} {job.dataset}/{job.batch}: {len(failed)} of {len(entries)} scans failed, "
            f"more than max_failed_fraction {limit}:\n{lines}"
        )


def _publish(job: Job, entries: list[Entry]) -> None:
    tables = [job.schema.empty_table()]
    for entry in entries:
        if entry.status == "ok":
            tables.append(pq.ParquetFile(job.work / f"{entry.scan_id}.parquet").read())
        elif "status" in job.schema.names:
            row = {"scan_id": entry.scan_id, "status": entry.status, "reason": entry.reason}
            tables.append(from_rows([row], job.schema))
    table = pa.concat_tables([t.cast(job.schema) for t in tables])
    try:
        path = job.paths.batch(job.stage, job.dataset, job.batch)
        write_table(path, table, job.stage, job.config_hash, **(job.options or {}))
        manifest = job.paths.manifest(job.stage, job.dataset, job.batch)
        write_manifest(manifest, entries, job.config_hash)
    except OSError as error:
        raise _no_space(job, error) from None


def _only_one(job: Job) -> FileLock:
    """Wait for a job of the same batch that outlived its Snakemake; the lock dies with it."""
    lock = FileLock(job.work / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("%s is being worked on by another process; waiting for it", job.work)
        return lock
    lock.release()
    return lock
