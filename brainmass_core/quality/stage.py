"""The stage `quality`: page and measures of each scan of a batch. It does not exclude scans."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa

from brainmass_core.config import Config
from brainmass_core.pipeline.batch import run_batch
from brainmass_core.pipeline.kept import Job
from brainmass_core.pipeline.paths import Paths
from brainmass_core.quality.inputs import QualityInput, list_items
from brainmass_core.quality.measures import flags
from brainmass_core.quality.page import scan_page
from brainmass_core.tables import QUALITY, atomic_path, from_rows

log = logging.getLogger(__name__)


def run(config: Config, dataset: str, batch: int, threads: int = 1) -> None:
    """Write the pages and the quality table of one batch.

    Raises
    ------
    TableError
        If a table of an earlier stage cannot be read.
    BatchError
        If the disk is full or workers cannot be started.
    """
    items = list_items(config, dataset, batch)
    job = Job(config, "quality", dataset, batch, QUALITY, threads)
    entries = run_batch(job, items, process)
    pages = config.quality.with_page
    log.info("quality %s/%s: %d scans, pages: %s", dataset, batch, len(entries), pages)


def process(item: QualityInput) -> pa.Table:
    """Make the row of one scan, and write its page.

    Returns
    -------
    Table
        One row of `tables.QUALITY`.
    """
    found = flags(item.row, item.config, item.others)
    path = Paths(item.results).scan_page(item.scan["dataset"], item.scan["scan_id"])
    wanted = {
        "all": True,
        "flagged": bool(found) or item.fate["status"] != "ok",
        "none": False,
    }[item.config.quality.with_page]
    page: Path | None = path if wanted else None
    if wanted:
        html = scan_page(item, path)
        with atomic_path(path) as temporary:
            temporary.write_text(html, encoding="utf-8")
    else:
        path.unlink(missing_ok=True)  # remove a page of an earlier configuration
    shown = str(page.relative_to(item.results)) if page else None
    return from_rows([item.row | {"flags": found, "page": shown}], QUALITY)
