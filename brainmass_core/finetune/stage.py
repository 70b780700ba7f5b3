"""The stage `finetune`: assemble the cohort, make folds, fit and score every method."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from brainmass_core.config import Config
from brainmass_core.encoders.registry import METHODS
from brainmass_core.finetune.cohort.coding import doubtful_codings
from brainmass_core.finetune.cohort.labels import TaskError
from brainmass_core.finetune.evaluation import Evaluation
from brainmass_core.finetune.methods.fitting import predict_folds
from brainmass_core.finetune.statistics.permutation import refit_p_values
from brainmass_core.finetune.statistics.scoring import Scored, score_methods
from brainmass_core.intervals import with_interval
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.paths import Paths
from brainmass_core.scans.units import joins
from brainmass_core.tables import (
    CALIBRATION,
    CODINGS,
    COHORT,
    JOINED_COHORT,
    METRICS,
    PREDICTIONS,
    ROC,
    from_rows,
    write_table,
)

log = logging.getLogger(__name__)


def run(config: Config, task: str) -> None:
    """Evaluate a task; write cohort, doubtful codings, predictions, ROC, calibration and metrics.

    Raises
    ------
    TaskError
        If the label, the classes, the number of participants, the protocol or the model do not
        allow it.
    LeakError
        If training or pre-training used a test participant.
    """
    e = Evaluation.load(config, task, listed=True)
    codings = doubtful_codings(e.data.cohort, config.tasks[task], task)
    left, methods = e.unadjusted, methods_of(config, task)
    predictions = [_predict(e, method) for method in methods]
    p_refit = refit_p_values(e, methods)
    more = {
        m: {
            "p_permutation_refit": p_refit.get(m),
            "n_unadjusted": len(left) if left is not None and METHODS[m].features.brain else None,
        }
        for m in methods
    }
    _publish(e, codings, predictions, more)


def methods_of(config: Config, task: str) -> list[str]:
    """Methods that apply to the task, in the order of the configuration.

    Raises
    ------
    TaskError
        If none does.
    """
    kind = config.tasks[task].kind
    names: list[str] = [m for m in config.finetune.methods if kind in METHODS[m].kinds]
    if not names:
        raise TaskError(
            f"task {task}: none of finetune.methods {list(config.finetune.methods)} can do a "
            f"{kind}; there are {sorted(m for m, k in METHODS.items() if kind in k.kinds)}"
        )
    return names


def _predict(e: Evaluation, method: str) -> pd.DataFrame:
    """Rows of `tables.PREDICTIONS` of one method."""
    scans, shown = e.data.scans, e.features[METHODS[method].given]
    found = predict_folds(method, shown, e.design, e.folds, e.seed % 2**31)
    tested = scans.iloc[found["row"]].reset_index(drop=True)
    columns = tested[["scan_id", "dataset", "participant_id", "site"]]
    rows = pd.concat([found.drop(columns="row"), columns], axis=1)
    log.info("%s: %s fitted on %d folds", e.task, method, len(e.folds))
    return rows.assign(task=e.task, method=method, y_true=tested["y"].astype(float))


def _publish(
    e: Evaluation,
    codings: pd.DataFrame,
    predictions: list[pd.DataFrame],
    more: dict[str, dict[str, Any]],
) -> None:
    config, task = e.config, e.task
    folder, made_by = Paths(config.results).finetune(task), stage_hash(config, "finetune", task)
    scored: Scored = score_methods(config, task, predictions, e.seed)
    for row in scored.metrics:
        leading = row["leading"]
        triple = (row[leading], row[f"{leading}_low"], row[f"{leading}_high"])
        log.info("%s: %s: %s %s", task, row["method"], leading, with_interval(*triple, 3))
    order = ["method", "repeat", "fold", "scan_id"]
    table = pd.concat(predictions).sort_values(order)
    rows_of = JOINED_COHORT if joins(config) else COHORT
    write_frame(folder, "cohort", e.data.cohort, rows_of, made_by)
    write_frame(folder, "codings", codings, CODINGS, made_by)
    write_frame(folder, "roc", scored.roc, ROC, made_by)
    write_frame(folder, "calibration", scored.calibration, CALIBRATION, made_by)
    write_frame(folder, "predictions", table, PREDICTIONS, made_by)
    # missing scores, such as the Brier score of an SVM, are null, because NaN is not equal to NaN
    scores = [row | more[row["method"]] for row in scored.metrics]
    rows = [{k: None if v != v else v for k, v in row.items()} for row in scores]
    write_table(folder / "metrics.parquet", from_rows(rows, METRICS), "metrics", made_by)


def write_frame(
    folder: Path, name: str, frame: pd.DataFrame, schema: pa.Schema, made_by: str
) -> None:
    """Write a table of a task from a DataFrame, with NaN as null.

    Parameters
    ----------
    frame : DataFrame
        Columns of the schema that it lacks are null.
    made_by : str
        Hash of the configuration, for the metadata.
    """
    absent = {c: pd.Series(None, frame.index, dtype=object) for c in schema.names if c not in frame}
    frame = frame.assign(**absent)[schema.names]
    table = pa.Table.from_pandas(frame, schema, preserve_index=False)
    write_table(folder / f"{name}.parquet", table, name, made_by)
