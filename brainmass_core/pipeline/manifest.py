"""What happened to each scan of a batch: ok, failed or excluded, why, and what to do about it."""

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
    """A scan that could not be processed; it is recorded and the batch goes on.

    Parameters
    ----------
    reason : str
        What was found and what was expected, with the file's path.
    step : str
        The step at which it happened.
    remedy : str
        What the user can do.
    measured : dict, optional
        What was known by then: columns of the stage's table, such as ``mean_fd``, and their
        values. They stand in the scan's row beside the reason.
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
    """A scan that is sound but does not meet a criterion, such as the motion threshold."""

    status: Status = "excluded"


@contextmanager
def measured_so_far(known: dict[str, Any]) -> Iterator[None]:
    """Whatever is raised from here on says what was measured before.

    Parameters
    ----------
    known : dict
        Columns of the stage's table and their values. It is read when the error passes, so what
        is added to it inside the block counts. Numbers that the error has itself go first.
    """
    try:
        yield
    except Exception as error:
        # any error: a scan that a library broke on has moved no less than one that we refused
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
        Peak resident memory of the worker in MB while it worked on this scan.
    measured : dict
        What was known of a scan that failed or was excluded; goes to its row in the stage's table,
        not to the manifest.
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
        Why, where, how long, and what was known by then, as far as `schema` has columns for it.
        A value that its column cannot hold is left out with a warning: one bad number must not
        cost the batch its table.
    """
    row = {"step": entry.step, "seconds": entry.seconds, "peak_rss": entry.peak_rss_mb}
    row |= entry.measured
    row |= {"scan_id": entry.scan_id, "status": entry.status, "reason": entry.reason}
    kept = {}
    for column in schema:
        value = row.get(column.name)
        if pa.types.is_map(column.type) and isinstance(value, list):
            value = [tuple(pair) for pair in value]  # JSON made lists of them
        try:
            pa.array([value], type=column.type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            what = f"measured {column.name} = {value!r} is left out"
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
