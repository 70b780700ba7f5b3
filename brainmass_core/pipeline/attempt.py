"""Work on one scan of a batch; runs in a worker.

What is wrong with the scan becomes an entry of the manifest, what is wrong with the machine an
error of the batch.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from brainmass_core.pipeline.disk import STOP
from brainmass_core.pipeline.journal import to_bytes
from brainmass_core.pipeline.kept import Job
from brainmass_core.pipeline.manifest import Entry, ScanFailed
from brainmass_core.pipeline.peak import peak_memory
from brainmass_core.pipeline.scan_fingerprint import named_files

Process = Callable[[Any], pa.Table]
Outcome = tuple[Entry, bytes | None]  # what became of a scan, and its rows as by `to_bytes`


class BatchError(RuntimeError):
    """A batch that cannot be published."""


def work_on(job: Job, process: Process, scan_id: str, item: Any) -> Outcome:
    """Process one scan; runs in the worker."""
    start = time.perf_counter()
    try:
        files = named_files(item)
        with peak_memory() as peak:
            entry, rows = _attempt(job, scan_id, item, process)
        if later := dict(named_files(item).items() - files.items()):
            entry, rows = _changed_meanwhile(entry, sorted(later)), None
    except OSError as error:
        raise no_space(job, error) from None
    return replace(entry, seconds=time.perf_counter() - start, peak_rss_mb=peak.mb), rows


def _attempt(job: Job, scan_id: str, item: Any, process: Process) -> Outcome:
    """The scan's outcome and rows; raises only for what is the machine's fault."""
    entry = Entry(job.stage, job.dataset, job.batch, scan_id, "ok")
    try:
        return entry, to_bytes(process(item).cast(job.schema))
    except ScanFailed as outcome:
        names = ("status", "reason", "step", "remedy", "measured")
        return replace(entry, **{name: getattr(outcome, name) for name in names}), None
    except (Exception, SystemExit) as error:  # a library that calls exit must not end the batch
        if isinstance(error, OSError) and error.errno in STOP:
            raise
        return _unexpected(job, entry, error), None


def _changed_meanwhile(entry: Entry, files: list[str]) -> Entry:
    """Nobody knows which state of the files was read; a failed scan is made again."""
    return replace(
        entry,
        status="failed",
        reason=f"{', '.join(files)}: changed while the scan was worked on",
        step="read",
        remedy="wait until nothing writes to the data set, then run the same command",
    )


def _unexpected(job: Job, entry: Entry, error: BaseException) -> Entry:
    file = job.paths.log(job.stage, job.dataset, f"{quote(entry.scan_id, safe='')}.log")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(traceback.format_exception(error)))
    reason = f"{type(error).__name__}: {error}"
    entry = replace(entry, status="failed", reason=reason, log=str(file), step=_where(error))
    entry = replace(entry, measured=getattr(error, "measured", {}))
    return replace(entry, remedy=more_memory(job)) if isinstance(error, MemoryError) else entry


def _where(error: BaseException) -> str:
    """The innermost function of this package in the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        f
        for f in frames
        if "brainmass_core" in f.filename and Path(f.filename).name != "attempt.py"
    ]
    return ours[-1].name if ours else ""


def more_memory(job: Job) -> str:
    return f"raise resources.{job.stage}.mem_mb"


def no_space(job: Job, error: OSError) -> BatchError:
    return BatchError(
        f"{job.stage} {job.dataset}/{job.batch}: cannot write below {job.config.results}: {error}; "
        "free space or mend the permissions, then run the same command: finished scans are kept"
    )
