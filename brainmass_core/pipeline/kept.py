"""Finished scans of a batch that is not published yet: each is kept as soon as it is finished."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from brainmass_core.checksums import check_file, check_seal, sealed, sha256_of
from brainmass_core.config import Config
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.manifest import Entry
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pipeline.scan_fingerprint import fingerprint
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
    def work(self) -> Path:
        """Folder of finished scans, see `work_folder`."""
        return work_folder(self.config, self.stage, self.dataset, self.batch)


def work_folder(config: Config, stage: str, dataset: str, batch: int) -> Path:
    """Where finished scans are kept; another configuration has another folder.

    Where they stay after the batch is published, all batches of a data set share one: other
    batches, or another seed or split, find them there.
    """
    paths = Paths(config.results)
    if STAGES[stage].keeps_work:
        return paths.work(stage, dataset, "scans") / stage_hash(config, "estimates", dataset)
    return paths.work(stage, dataset, batch) / stage_hash(config, stage, dataset)


def file_of(job: Job, scan_id: str, kind: str) -> Path:
    """Where a scan is kept: its rows (parquet), its entry (json), what it was made from (item)."""
    return job.work / f"{quote(scan_id, safe='')}.{kind}"


def keep(job: Job, entry: Entry, item: Any, table: pa.Table | None) -> None:
    """Save the rows first, then the entry, whose presence says that the scan is finished."""
    rows = None
    if table is not None:
        with atomic_path(file_of(job, entry.scan_id, "parquet")) as path:
            pq.write_table(table, path, compression="none")
            rows = sha256_of(path)
    file_of(job, entry.scan_id, "item").write_text(fingerprint(item))
    record = json.loads(json.dumps(asdict(entry), default=_plain))
    with atomic_path(file_of(job, entry.scan_id, "json")) as path:
        path.write_text(json.dumps(sealed({"entry": record, "rows": rows})))


def kept_entry(file: Path, with_rows: bool = True) -> Entry | None:
    """What became of a scan that is kept; None if the record or the scan's rows are damaged.

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


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's, anything else as text, for JSON."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)


def finished(job: Job, scan_id: str, item: Any) -> Entry | None:
    made_from = file_of(job, scan_id, "item")
    try:
        same = made_from.read_text() == fingerprint(item)
    except (OSError, UnicodeDecodeError):
        return None
    entry = kept_entry(file_of(job, scan_id, "json")) if same else None
    entry = entry and replace(entry, batch=job.batch)  # it may have been another's
    if entry is not None and entry.status == "ok":
        rows = pq.read_schema(file_of(job, scan_id, "parquet"))
        return entry if rows.names == job.schema.names else None  # of an older version
    return entry
