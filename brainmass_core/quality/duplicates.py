"""Duplicate recordings in a data set."""

from __future__ import annotations

import logging
from typing import Any

from brainmass_core.config import Config
from brainmass_core.pipeline.paths import Paths
from brainmass_core.scans.copies import MARKS, duplicates
from brainmass_core.tables import read_table
from brainmass_core.timeseries.identity import MARKED, with_marks

log = logging.getLogger(__name__)
SHOWN = 10


def duplicate_rows(config: Config, dataset: str) -> list[dict[str, Any]]:
    """Groups of scans with the same recording, for the cohort page; also logged.

    Returns
    -------
    list of dict
        ``scans`` (names), ``people`` (participants) and ``shared``: the common property.

    Raises
    ------
    TableError
        If a table cannot be read.
    """
    scans = read_table(Paths(config.results).scans(dataset), "scans", MARKED).to_pandas()
    scans = with_marks(config, scans)
    who = dict(zip(scans["scan_id"], scans["participant_id"], strict=True))
    rows = []
    for mark, ids in duplicates(scans):
        people = sorted({who[i] for i in ids})
        rows.append({"scans": ids, "people": people, "shared": MARKS[mark]})
    for row in rows[:SHOWN]:
        log.warning(
            "%s: %s are the same recording (%s) of participants %s; find out whose it is and "
            "remove the others",
            *(dataset, ", ".join(row["scans"]), row["shared"], ", ".join(row["people"])),
        )
    if len(rows) > SHOWN:
        log.warning("%s: %d more groups of copies", dataset, len(rows) - SHOWN)
    return rows
