"""The stage: assemble, fold, fit every method on the same folds, score, publish."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from brainmass_core.config import Config, stable_hash, stage_hash
from brainmass_core.finetune.dataset import TaskData, assemble
from brainmass_core.finetune.embedding import pretrained_embedding, untrained_embedding
from brainmass_core.finetune.folds import Fold, make_folds, permute_labels, refuse_leaks
from brainmass_core.finetune.methods import confounds_of, predict_folds
from brainmass_core.finetune.metrics import (
    Predictions,
    bootstrap,
    paired_gain,
    roc_band,
    summarise,
)
from brainmass_core.paths import Paths
from brainmass_core.pretrain.data import scans_seen
from brainmass_core.tables import (
    COHORT,
    METRICS,
    PREDICTIONS,
    ROC,
    from_rows,
    write_table,
)

log = logging.getLogger(__name__)
BASELINE = "fc_svm"


def run(config: Config, task: str) -> None:
    """Evaluate a task and write cohort, predictions, ROC and metrics.

    Raises
    ------
    TaskError
        If the label, the classes, the number of participants or the model do not allow it.
    LeakError
        If training or pre-training has seen a test participant.
    """
    protocol = config.tasks[task].protocol
    data = assemble(config, task)
    seed = task_seed(config, task)
    if config.finetune.permute_labels:
        log.warning("%s: finetune.permute_labels is set: labels are shuffled", task)
        data.scans["y"] = permute_labels(data.scans, seed)
    folds = make_folds(data.scans, protocol.n_splits, protocol.n_repeats, seed, task)
    refuse_leaks(data.scans, folds, scans_in_shards(config, task))
    predictions = [
        _predict(config, task, method, data, folds, seed) for method in config.finetune.methods
    ]
    _publish(config, task, data, predictions, seed)


def task_seed(config: Config, task: str) -> int:
    """Seed of folds, permutation and bootstrap; another task has another."""
    sequence = np.random.SeedSequence([config.seed, stable_hash(task)])
    return int(sequence.generate_state(1)[0] >> 1)


def scans_in_shards(config: Config, task: str) -> set[str]:
    """scan_id of all scans of the task's data sets that pre-training was given."""
    return set().union(*(scans_seen(config, name) for name in config.tasks[task].datasets))


def features_of(config: Config, method: str, data: TaskData) -> Any:
    """What a method sees of each scan: ndarray (n_scans, n_features) or DataFrame."""
    makers = {
        "chance": lambda: np.zeros((len(data.scans), 1)),
        "confounds_svm": lambda: confounds_of(data.scans),
        "fc_svm": lambda: data.fc,
        "untrained_svm": lambda: untrained_embedding(config, data),
        "brainmass_svm": lambda: pretrained_embedding(config, data),
    }
    return makers[method]()


def _predict(
    config: Config, task: str, method: str, data: TaskData, folds: list[Fold], seed: int
) -> pd.DataFrame:
    """Rows of `tables.PREDICTIONS` of one method."""
    scans = data.scans
    features = features_of(config, method, data)
    found = predict_folds(method, features, scans["y"].to_numpy(), folds, seed % 2**31)
    tested = scans.iloc[found["row"]].reset_index(drop=True)
    columns = tested[["scan_id", "dataset", "participant_id", "site"]]
    rows = pd.concat([found.drop(columns="row"), columns], axis=1)
    log.info("%s: %s fitted on %d folds", task, method, len(folds))
    return rows.assign(task=task, method=method, y_true=tested["y"])


def _publish(
    config: Config, task: str, data: TaskData, predictions: list[pd.DataFrame], seed: int
) -> None:
    folder, made_by = Paths(config.results).finetune(task), stage_hash(config, "finetune", task)
    n_draws = config.finetune.n_bootstrap
    arrays = {str(t["method"].iloc[0]): Predictions.from_table(t) for t in predictions}
    draws = {method: bootstrap(p, n_draws, seed) for method, p in arrays.items()}
    rows, curves = [], []
    for method, p in arrays.items():
        row = {"task": task, "method": method, **_sizes(p), **summarise(p, draws[method])}
        if BASELINE in arrays and method != BASELINE:
            row |= paired_gain(p, draws[method], arrays[BASELINE], draws[BASELINE])
        rows.append(row)
        curves.append(roc_band(p, n_draws, seed).assign(task=task, method=method))
        log.info("%s: %s AUC %.3f [%.3f, %.3f]", task, method, *_triple(row, "auc"))
    _write(folder, "cohort", data.cohort, COHORT, made_by)
    _write(folder, "roc", pd.concat(curves), ROC, made_by)
    order = ["method", "repeat", "fold", "scan_id"]
    _write(folder, "predictions", pd.concat(predictions).sort_values(order), PREDICTIONS, made_by)
    write_table(folder / "metrics.parquet", from_rows(rows, METRICS), "metrics", made_by)


def _write(folder: Path, name: str, frame: pd.DataFrame, schema: pa.Schema, made_by: str) -> None:
    table = pa.Table.from_pandas(frame[schema.names], schema, preserve_index=False)
    write_table(folder / f"{name}.parquet", table, name, made_by)


def _sizes(p: Predictions) -> dict[str, int]:
    return {
        "n_participants": len(p.label_of),
        "n_positive": int(p.label_of.sum()),
        "n_scans": len(p.y),
        "n_repeats": len(p.score),
    }


def _triple(row: dict[str, Any], metric: str) -> tuple[float, float, float]:
    return row[metric], row[f"{metric}_low"], row[f"{metric}_high"]
