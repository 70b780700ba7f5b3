"""Outcome of each scan of a batch: ok, failed or excluded, with reason and remedy."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from brainmass_core.pipeline.paths import Paths
from brainmass_core.tables import MANIFEST, from_rows, read_table, write_table

log = logging.getLogger(__name__)
Status = Literal["ok", "failed", "excluded"]


class ScanFailed(ValueError):  # noqa: N818 - it names an outcome, not a programming error
    """A scan could not be processed; it is recorded and the batch continues.

    Parameters
    ----------
    reason : str
        Path of the file, what was found and what was expected.
    step : str
        Step of the stage.
    remedy : str
        What the user can do.
    measured : dict, optional
        Measures computed up to then: columns of the stage's table, such as ``mean_fd``, and their
        values. They are written to the scan's row together with the reason.
    """

    status: Status = "failed"

    def __init__(
        self,
        reason: str,
        step: str = "",
        remedy: str = "",
        measured: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason, self.step, self.remedy = reason, step, remedy
        self.measured = dict(measured or {})

    def __reduce__(self) -> tuple:
        return type(self), (self.reason, self.step, self.remedy, self.measured)


class ScanExcluded(ScanFailed):
    """A scan was processed but does not meet a criterion, such as the motion threshold."""

    status: Status = "excluded"


@contextmanager
def measured_so_far(known: dict[str, Any]) -> Iterator[None]:
    """Add known measures to exceptions raised in the block.

    Parameters
    ----------
    known : dict
        Columns of the stage's table and their values. It is read when an error passes, so entries
        added inside the block are included. Values that the error already has take precedence.
    """
    try:
        yield
    except Exception as error:
        # for all errors, also those raised by libraries
        error.measured = dict(known) | getattr(error, "measured", {})  # type: ignore[attr-defined]
        raise


@dataclass(frozen=True)
class Entry:
    """One scan in one stage.

    Attributes
    ----------
    seconds : float
        Wall time.
    peak_rss_mb : float
        Peak resident memory of the worker in MB while processing this scan.
    measured : dict
        Measures of a scan that failed or was excluded; written to its row in the stage's table, not
        to the manifest.
    """

    stage: str
    dataset: str
    batch: int
    scan_id: str
    status: Status
    reason: str = ""
    step: str = ""
    remedy: str = ""
    log: str = ""
    seconds: float = 0.0
    peak_rss_mb: float = 0.0
    measured: dict[str, Any] = field(default_factory=dict, hash=False)


def row_of(entry: Entry, schema: pa.Schema) -> dict[str, Any]:
    """The row, in a stage's table, of a scan that failed or was excluded.

    Returns
    -------
    dict
        Reason, step, duration and known measures, as far as `schema` has columns for them. A value
        that its column cannot store is omitted with a warning, so that the table can be written.
    """
    row = {"step": entry.step, "seconds": entry.seconds, "peak_rss": entry.peak_rss_mb}
    row |= entry.measured
    row |= {"scan_id": entry.scan_id, "status": entry.status, "reason": entry.reason}
    kept = {}
    for column in schema:
        value = row.get(column.name)
        if pa.types.is_map(column.type) and isinstance(value, list):
            value = [tuple(pair) for pair in value]  # JSON converted tuples to lists
        try:
            pa.array([value], type=column.type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            what = f"measured {column.name} = {value!r} is omitted"
            log.warning("%s: %s: %s", entry.scan_id, what, error)
        else:
            kept[column.name] = value
    return kept


def write_manifest(path: Path, entries: list[Entry], config_hash: str) -> None:
    """Publish the manifest of a batch, ordered by scan."""
    entries = sorted(entries, key=lambda e: e.scan_id)
    rows = [{k: v for k, v in asdict(e).items() if k != "measured"} for e in entries]
    write_table(path, from_rows(rows, MANIFEST), "manifest", config_hash)


def read_manifest(path: Path) -> list[Entry]:
    """Read the manifest of a batch."""
    return [Entry(**row) for row in read_table(path, "manifest").to_pylist()]


def read_manifests(paths: Paths) -> pa.Table:
    """All published manifests of a results folder, in one table."""
    files = sorted((paths.results / "manifest").glob("*/*/*.parquet"))
    tables = [read_table(f, "manifest") for f in files]
    return pa.concat_tables(tables) if tables else MANIFEST.empty_table()
