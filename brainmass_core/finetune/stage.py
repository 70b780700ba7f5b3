"""The stage: assemble, fold, fit every method on the same folds, score, publish."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from brainmass_core.config import Config
from brainmass_core.config.methods import METHODS as KNOWN
from brainmass_core.finetune.cohort.dataset import TaskData, TaskError, assemble
from brainmass_core.finetune.cohort.leaks import refuse_leaks, scans_shown
from brainmass_core.finetune.confounds import left_by_combat, say_unadjusted
from brainmass_core.finetune.folds.participants import Fold, permute_labels
from brainmass_core.finetune.folds.protocols import protocol_folds
from brainmass_core.finetune.methods.features import Features
from brainmass_core.finetune.methods.fitting import Design, predict_folds
from brainmass_core.finetune.statistics.permutation import refit_p_values
from brainmass_core.finetune.statistics.scoring import Scored, score_methods
from brainmass_core.intervals import with_interval
from brainmass_core.pipeline.hashing import stable_hash, stage_hash
from brainmass_core.pipeline.paths import Paths
from brainmass_core.scans.units import joins
from brainmass_core.tables import (
    CALIBRATION,
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
    """Evaluate a task and write cohort, predictions, ROC, calibration and metrics.

    Raises
    ------
    TaskError
        If the label, the classes, the number of participants, the protocol or the model do not
        allow it.
    LeakError
        If training or pre-training has seen a test participant.
    """
    settings = config.tasks[task]
    data = assemble(config, task, listed=True)
    seed = task_seed(config, task)
    if config.finetune.permute_labels:
        log.warning("%s: finetune.permute_labels is set: labels are shuffled", task)
        data.scans["y"] = permute_labels(data.scans, seed)
    folds = protocol_folds(data.scans, settings.protocol, seed, task)
    refuse_leaks(data.scans, folds, scans_shown(config))
    left = left_by_combat(settings, data.scans, folds)
    say_unadjusted(task, left)
    features = Features(config, data)
    design = Design.of(settings, data.scans, config.finetune.inner_splits, config, task)
    methods = methods_of(config, task)
    predictions = [_predict(task, m, features, design, data, folds, seed) for m in methods]
    p_refit = refit_p_values(config, task, data, features, methods, seed)
    more = {
        m: {
            "p_permutation_refit": p_refit.get(m),
            "n_unadjusted": len(left) if left is not None and KNOWN[m].features.brain else None,
        }
        for m in methods
    }
    _publish(config, task, data, predictions, seed, more)


def methods_of(config: Config, task: str) -> list[str]:
    """Methods that can do the task, in the order of the configuration.

    Raises
    ------
    TaskError
        If none can.
    """
    kind = config.tasks[task].kind
    names: list[str] = [m for m in config.finetune.methods if kind in KNOWN[m].kinds]
    if not names:
        raise TaskError(
            f"task {task}: none of finetune.methods {list(config.finetune.methods)} can do a "
            f"{kind}; there are {sorted(m for m, k in KNOWN.items() if kind in k.kinds)}"
        )
    return names


def task_seed(config: Config, task: str) -> int:
    """Seed of folds, permutation and bootstrap; another task has another."""
    sequence = np.random.SeedSequence([config.seed, stable_hash(task)])
    return int(sequence.generate_state(1)[0] >> 1)


def _predict(
    task: str,
    method: str,
    features: Features,
    design: Design,
    data: TaskData,
    folds: list[Fold],
    seed: int,
) -> pd.DataFrame:
    """Rows of `tables.PREDICTIONS` of one method."""
    scans = data.scans
    found = predict_folds(method, features[KNOWN[method].given], design, folds, seed % 2**31)
    tested = scans.iloc[found["row"]].reset_index(drop=True)
    columns = tested[["scan_id", "dataset", "participant_id", "site"]]
    rows = pd.concat([found.drop(columns="row"), columns], axis=1)
    log.info("%s: %s fitted on %d folds", task, method, len(folds))
    return rows.assign(task=task, method=method, y_true=tested["y"].astype(float))


def _publish(
    config: Config,
    task: str,
    data: TaskData,
    predictions: list[pd.DataFrame],
    seed: int,
    more: dict[str, dict[str, Any]],
) -> None:
    folder, made_by = Paths(config.results).finetune(task), stage_hash(config, "finetune", task)
    scored: Scored = score_methods(config, task, predictions, seed)
    for row in scored.metrics:
        leading = row["leading"]
        triple = (row[leading], row[f"{leading}_low"], row[f"{leading}_high"])
        log.info("%s: %s: %s %s", task, row["method"], leading, with_interval(*triple, 3))
    order = ["method", "repeat", "fold", "scan_id"]
    table = pd.concat(predictions).sort_values(order)
    rows_of = JOINED_COHORT if joins(config) else COHORT
    _write(folder, "cohort", data.cohort, rows_of, made_by)
    _write(folder, "roc", scored.roc, ROC, made_by)
    _write(folder, "calibration", scored.calibration, CALIBRATION, made_by)
    _write(folder, "predictions", table, PREDICTIONS, made_by)
    # what a method has not, such as the Brier score of an SVM, is null: NaN does not equal itself
    scores = [row | more[row["method"]] for row in scored.metrics]
    rows = [{k: None if v != v else v for k, v in row.items()} for row in scores]
    write_table(folder / "metrics.parquet", from_rows(rows, METRICS), "metrics", made_by)


def _write(folder: Path, name: str, frame: pd.DataFrame, schema: pa.Schema, made_by: str) -> None:
    absent = {c: pd.Series(None, frame.index, dtype=object) for c in schema.names if c not in frame}
    frame = frame.assign(**absent)[schema.names]
    table = pa.Table.from_pandas(frame, schema, preserve_index=False)
    write_table(folder / f"{name}.parquet", table, name, made_by)
