"""Log the size of a task's cohort and the reasons for exclusions."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from brainmass_core.config.tasks import Task
from brainmass_core.reasons import reasons_of

log = logging.getLogger(__name__)
MAX_LINES = 10  # per stage


def say_who_takes_part(
    cohort: pd.DataFrame, task: Task, name: str, table: Path, listed: bool
) -> None:
    """Log one line with the numbers; if `listed`, one for each reason why scans were dropped.

    Parameters
    ----------
    cohort : DataFrame
        Columns of `tables.COHORT`.
    table : Path
        File that lists the reason of each scan.
    """
    used, dropped = cohort[cohort["used"]], cohort[~cohort["used"]]
    sizes = ", ".join(f"{c} {int((used['class_name'] == c).sum())}" for c in task.classes)
    sizes = sizes or f"{task.label} {pd.to_numeric(used['label']).mean():.3g} on average"
    log.info("%s: %d of %d scans take part (%s)", name, len(used), len(cohort), sizes)
    if not listed or dropped.empty:
        return
    for stage, scans in dropped.groupby("stage"):
        for reason in reasons_of(scans["reason"], MAX_LINES, scans["scan_id"]):
            log.warning("%s: dropped at %s: %s", name, stage, reason.line())
    log.info("%s: reasons of all scans: %s", name, table)
