"""What happened to each scan of a batch: ok, failed or excluded, why, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from brainmass_core.paths import Paths
from brainmass_core.tables import MANIFEST, from_rows, read_table, write_table

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
    """

    status: Status = "failed"

    def __init__(self, reason: str, step: str = "", remedy: str = "") -> None:
        super().__init__(reason)
        self.reason, self.step, self.remedy = reason, step, remedy

    def __reduce__(self) -> tuple:
        return type(self), (self.reason, self.step, self.remedy)


class ScanExcluded(ScanFailed):
    """A scan that is sound but does not meet a criterion, such as the motion threshold."""

    status: Status = "excluded"


@dataclass(frozen=True)
class Entry:
    """One scan in one stage.

    Attributes
    ----------
    seconds : float
        Wall time.
    peak_rss_mb : float
        Peak resident memory of the worker in MB.
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


def write_manifest(path: Path, entries: list[Entry], config_hash: str) -> None:
    """Publish the manifest of a batch, ordered by scan."""
    rows = [asdict(e) for e in sorted(entries, key=lambda e: e.scan_id)]
    write_table(path, from_rows(rows, MANIFEST), "manifest", config_hash)


def read_manifest(path: Path) -> list[Entry]:
    """Read the manifest of a batch."""
    return [Entry(**row) for row in read_table(path, "manifest").to_pylist()]


def read_manifests(paths: Paths) -> pa.Table:
    """All published manifests of a results folder, in one table."""
    files = sorted((paths.results / "manifest").glob("*/*/*.parquet"))
    tables = [read_table(f, "manifest") for f in files]
    return pa.concat_tables(tables) if tables else MANIFEST.empty_table()
