"""All results of a task that its page shows, read once."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from brainmass_core.config import Config
from brainmass_core.pipeline.paths import Paths
from brainmass_core.report.few_shot import read_curves, read_transfer
from brainmass_core.report.names import kind_of
from brainmass_core.report.scores import highlight
from brainmass_core.report.sites import site_results
from brainmass_core.report.streams import read_predictions, tested_scans
from brainmass_core.tables import read_table


@dataclass(frozen=True)
class Results:
    """Tables of one task.

    Attributes
    ----------
    kind : str
        ``binary``, ``several`` or ``regression``.
    shown : list of str
        Methods in figures that show only a few.
    predictions : DataFrame
        Of the methods `shown`.
    tested : set of str
        scan_id of all scans that are tested.
    sites : DataFrame
        See `sites.site_results`.
    curves, transfer : DataFrame, optional
        `tables.LEARNING_CURVE` and `tables.ZERO_SHOT`; None if they are not requested.
    """

    config: Config
    name: str
    classes: list[str]
    kind: str
    cohort: pd.DataFrame
    codings: pd.DataFrame
    metrics: pd.DataFrame
    roc: pd.DataFrame
    calibration: pd.DataFrame
    shown: list[str]
    predictions: pd.DataFrame
    tested: set[str]
    sites: pd.DataFrame
    curves: pd.DataFrame | None
    transfer: pd.DataFrame | None


def read_results(config: Config, name: str) -> Results:
    """Read the tables of a task.

    Raises
    ------
    TableError
        If one is missing, damaged or of another version.
    """
    folder = Paths(config.results).finetune(name)
    tables = {
        t: read_table(folder / f"{t}.parquet", t).to_pandas()
        for t in ("cohort", "codings", "metrics", "roc", "calibration")
    }
    classes = list(config.tasks[name].classes)
    kind, shown = kind_of(classes), highlight(tables["metrics"])
    path = folder / "predictions.parquet"
    predictions = read_predictions(path, shown)
    return Results(
        config,
        name,
        classes,
        kind,
        **tables,
        shown=shown,
        predictions=predictions,
        tested=tested_scans(path),
        sites=site_results(predictions, kind),
        curves=read_curves(config, name),
        transfer=read_transfer(config, name),
    )
