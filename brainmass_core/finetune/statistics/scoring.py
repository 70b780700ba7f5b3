"""Compute the tables of scores from the predictions of all methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
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
from brainmass_core.finetune.statistics.metrics import Predictions
from brainmass_core.finetune.statistics.roc import roc_band
from brainmass_core.finetune.statistics.spread import HalfScores, Spread

FC = "fc_svm"
CHANCE = {"auc": 0.5, "r2": 0.0}
# protocols with random training sets, which the corrected interval assumes
RESAMPLED = ("repeated_kfold", "fixed_split")


@dataclass(frozen=True)
class Scored:
    """Rows of `tables.METRICS`, and the tables `tables.ROC` and `tables.CALIBRATION`."""

    metrics: list[dict[str, Any]]
    roc: pd.DataFrame
    calibration: pd.DataFrame


def score_methods(
    config: Config,
    task: str,
    predictions: list[pd.DataFrame],
    seed: int,
    halves: Mapping[str, HalfScores] | None = None,
) -> Scored:
    """Score every method, and compare it with the baselines.

    Parameters
    ----------
    predictions : list of DataFrame
        Rows of `tables.PREDICTIONS`, one table per method, all on the same folds.
    halves : mapping of str to dict, optional
        Methods' scores in the same halves of the participants, see `halving.half_scores`.
    """
    kind, protocol = config.tasks[task].kind, config.tasks[task].protocol
    leading = "r2" if kind == "regression" else "auc"
    scores: Any = regression if kind == "regression" else metrics
    complete = protocol.kind != "fixed_split"
    arrays = {str(t["method"].iloc[0]): Predictions.from_table(t, complete) for t in predictions}
    spreads = Spreads(arrays, halves or {}, scores, config.finetune.n_bootstrap, seed)
    rows = [
        {"task": task, "method": m, "kind": kind, "leading": leading}
        | _sizes(p, kind)
        | scores.summarise(p, spreads.of(m))
        for m, p in arrays.items()
    ]
    points = {row["method"]: row[leading] for row in rows}
    share = _test_to_train(predictions[0]) if protocol.kind in RESAMPLED else None
    for row in rows:
        method, p = row["method"], arrays[row["method"]]
        spread = spreads.of(method)
        row["interval"] = spread.how
        row["p_chance"] = spread.p_value(row[leading] - CHANCE[leading], leading)
        row["p_permutation"] = permutation_p(p, leading, config.finetune.n_permutations, seed)
        if kind == "classification" and FC in arrays and method != FC:
            row |= _minus("auc_minus_fc_svm", method, FC, points, spreads, leading)
        if share is not None:
            row |= _corrected(fold_values(p, leading), share)
        base = best_baseline(points, {m for m in points if METHODS[m].baseline}, method)
        if base:
            row |= {"best_baseline": base}
            row |= _minus("minus_best", method, base, points, spreads, leading)
            difference = points[method] - points[base]
            row["p_minus_best"] = spreads.of(method, base).p_value(difference, leading)
    return Scored(rows, _roc(config, task, arrays, seed), _calibration(task, arrays, kind))


@dataclass(frozen=True)
class Spreads:
    """Standard errors of all methods: from halves, otherwise of the bootstrap, doubled.

    Attributes
    ----------
    scores : module
        `metrics` or `regression`.
    """

    arrays: Mapping[str, Predictions]
    halves: Mapping[str, HalfScores]
    scores: Any
    n_bootstrap: int
    seed: int

    def of(self, method: str, base: str | None = None) -> Spread:
        """Of a method, or of its difference from another one."""
        both = (method,) if base is None else (method, base)
        if all(m in self.halves for m in both):
            found = [Spread("halves", self.halves[m]) for m in both]
        else:
            found = [Spread("doubled", self._draws[m]) for m in both]
        return found[0] if base is None else found[0].minus(found[1])

    @cached_property
    def _draws(self) -> dict[str, dict[str, np.ndarray]]:
        """Of each method and metric, (n_repeats, n_draws)."""
        return {m: self._of_repeats(p) for m, p in self.arrays.items()}

    def _of_repeats(self, p: Predictions) -> dict[str, np.ndarray]:
        repeats = [p.of_repeat(r) for r in range(len(p.score))]
        drawn = [self.scores.bootstrap(r, self.n_bootstrap, self.seed) for r in repeats]
        return {m: np.stack([d[m] for d in drawn]) for m in self.scores.METRICS}


def _minus(
    name: str,
    method: str,
    base: str,
    points: Mapping[str, float],
    spreads: Spreads,
    leading: str,
) -> dict[str, float]:
    """Leading metric minus that of another method, with its interval, in columns of this name."""
    value = points[method] - points[base]
    low, high = spreads.of(method, base).interval(value, leading)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


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
