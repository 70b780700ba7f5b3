"""Compute the tables of scores from the predictions of all methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from brainmass_core.config import Config
from brainmass_core.encoders.registry import METHODS
from brainmass_core.finetune.statistics import metrics, regression
from brainmass_core.finetune.statistics.inference import (
    best_baseline,
    corrected_interval,
    fold_values,
    permutation_p,
    reliability,
)
from brainmass_core.finetune.statistics.metrics import LEVELS, Predictions, paired_gain
from brainmass_core.finetune.statistics.roc import roc_band

FC = "fc_svm"
# protocols with random training sets, which the corrected interval assumes
RESAMPLED = ("repeated_kfold", "fixed_split")


@dataclass(frozen=True)
class Scored:
    """Rows of `tables.METRICS`, and the tables `tables.ROC` and `tables.CALIBRATION`."""

    metrics: list[dict[str, Any]]
    roc: pd.DataFrame
    calibration: pd.DataFrame


def score_methods(config: Config, task: str, predictions: list[pd.DataFrame], seed: int) -> Scored:
    """Score every method, and compare it with the baselines, with the same bootstrap draws.

    Parameters
    ----------
    predictions : list of DataFrame
        Rows of `tables.PREDICTIONS`, one table per method, all on the same folds.
    """
    kind, protocol = config.tasks[task].kind, config.tasks[task].protocol
    leading = "r2" if kind == "regression" else "auc"
    scores: Any = regression if kind == "regression" else metrics
    complete = protocol.kind != "fixed_split"
    arrays = {str(t["method"].iloc[0]): Predictions.from_table(t, complete) for t in predictions}
    draws = {m: scores.bootstrap(p, config.finetune.n_bootstrap, seed) for m, p in arrays.items()}
    rows = [
        {"task": task, "method": m, "kind": kind, "leading": leading}
        | _sizes(p, kind)
        | scores.summarise(p, draws[m])
        for m, p in arrays.items()
    ]
    points = {row["method"]: row[leading] for row in rows}
    share = _test_to_train(predictions[0]) if protocol.kind in RESAMPLED else None
    for row in rows:
        method = row["method"]
        p = arrays[method]
        row["p_permutation"] = permutation_p(p, leading, config.finetune.n_permutations, seed)
        if kind == "classification" and FC in arrays and method != FC:
            row |= paired_gain(p, draws[method], arrays[FC], draws[FC])
        if share is not None:
            row |= _corrected(fold_values(p, leading), share)
        base = best_baseline(points, {m for m in points if METHODS[m].baseline}, method)
        if base:
            row |= _gain(row, base, points, draws, leading)
            if share is not None:
                difference = fold_values(p, leading) - fold_values(arrays[base], leading)
                found = corrected_interval(difference, share)
                row["p_minus_best"] = found[2] if found else None
    return Scored(rows, _roc(config, task, arrays, seed), _calibration(task, arrays, kind))


def _gain(
    row: dict[str, Any],
    base: str,
    points: dict[str, float],
    draws: dict[str, dict[str, np.ndarray]],
    leading: str,
) -> dict[str, Any]:
    """Leading metric minus that of the best baseline, with the interval over the same draws."""
    method = row["method"]
    low, high = np.quantile(draws[method][leading] - draws[base][leading], LEVELS)
    return {
        "best_baseline": base,
        "minus_best": points[method] - points[base],
        "minus_best_low": float(low),
        "minus_best_high": float(high),
    }


def _corrected(values: np.ndarray, share: float) -> dict[str, Any]:
    found = corrected_interval(values, share)
    return {"corrected_low": found[0], "corrected_high": found[1]} if found else {}


def _test_to_train(table: pd.DataFrame) -> float:
    """Ratio of test to training scans, mean over the folds."""
    folds = table.groupby(["repeat", "fold"])["n_train"].agg(["size", "first"])
    return float((folds["size"] / folds["first"]).mean())


def _sizes(p: Predictions, kind: str) -> dict[str, Any]:
    n = int(p.who.max()) + 1
    positive = int((p.label_of == 1).sum()) if kind == "classification" else None
    return {
        "n_participants": n,
        "n_positive": positive,
        "n_scans": len(p.y),
        "n_repeats": len(p.score),
    }


def _roc(config: Config, task: str, arrays: dict[str, Predictions], seed: int) -> pd.DataFrame:
    """ROC curves, for tasks with two classes only."""
    if len(config.tasks[task].classes) != 2:
        return pd.DataFrame()
    n_draws = config.finetune.n_bootstrap
    curves = [roc_band(p, n_draws, seed).assign(task=task, method=m) for m, p in arrays.items()]
    return pd.concat(curves)


def _calibration(task: str, arrays: dict[str, Predictions], kind: str) -> pd.DataFrame:
    if kind == "regression":
        return pd.DataFrame()
    tables = [reliability(p).assign(task=task, method=m) for m, p in arrays.items()]
    filled = [t for t in tables if len(t)]
    return pd.concat(filled) if filled else pd.DataFrame()
