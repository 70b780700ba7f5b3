"""The scores of a task as a table and as sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from brainmass_core.report.names import METHODS, METRICS

SMALL_CLASS = 50


@dataclass(frozen=True)
class Cell:
    """A score with its interval.

    Attributes
    ----------
    sort : float
        What the column is sorted by.
    """

    text: str
    interval: str
    sort: float


def score_table(metrics: pd.DataFrame) -> list[dict[str, Any]]:
    """One row per method, one `Cell` per metric."""
    rows = []
    for row in metrics.to_dict("records"):
        cells: dict[str, Any] = {"Method": METHODS[row["method"]].short}
        for metric, name in METRICS.items():
            cells[name] = _cell(row, metric)
        rows.append(cells)
    return rows


def _cell(row: Mapping[Any, Any], metric: str) -> Cell:
    value, low, high = (row[metric + s] for s in ("", "_low", "_high"))
    if pd.isna(value):
        return Cell("", "", float("-inf"))
    sign = "+" if metric == "auc_minus_fc_svm" else ""
    text, low_text, high_text = (_number(v, sign) for v in (value, low, high))
    return Cell(text, f"{low_text} to {high_text}", round(float(value), 6))


def _number(value: float, sign: str) -> str:
    """Two decimals, without a sign on zero."""
    rounded = round(float(value), 2)
    return f"{rounded:{sign}.2f}" if rounded else "0.00"


def verdict(metrics: pd.DataFrame) -> list[str]:
    """What the scores say, in sentences."""
    rows = {r["method"]: r for r in metrics.to_dict("records")}
    said = []
    model, base = rows.get("brainmass_svm"), rows.get("fc_svm")
    if model and base:
        low, high = model["auc_minus_fc_svm_low"], model["auc_minus_fc_svm_high"]
        against = (
            "better than" if low > 0 else "worse than" if high < 0 else "not distinguishable from"
        )
        said.append(
            f"The BrainMass embedding has an AUC of {_with_interval(model, 'auc')}; the FC "
            f"baseline {_with_interval(base, 'auc')}. On the same participants the model is "
            f"{against} the baseline (difference {_with_interval(model, 'auc_minus_fc_svm', '+')})."
        )
    elif model or base:
        row = model or base or {}
        said.append(f"{METHODS[row['method']].short} has an AUC of {_with_interval(row, 'auc')}.")
    confounds = rows.get("confounds_svm")
    if confounds and confounds["auc_low"] > 0.5:
        said.append(
            "Confounds alone (site, age, sex, motion) predict the diagnosis, with an AUC of "
            f"{_with_interval(confounds, 'auc')}: part of any score here may be theirs."
        )
    return said


def warnings_of(metrics: pd.DataFrame, permuted: bool) -> list[str]:
    """What a reader must know before the scores."""
    first = metrics.iloc[0]
    positive = int(first["n_positive"])
    smallest = min(positive, int(first["n_participants"]) - positive)
    said = []
    if permuted:
        said.append(
            "The labels were shuffled (finetune.permute_labels): this page is a check of the "
            "procedure, every score must lie at chance."
        )
    if smallest < SMALL_CLASS:
        said.append(
            f"Small sample: {int(first['n_participants'])} participants are tested, {smallest} in "
            "the smaller class. Intervals are wide, and intervals from so few tend to be too "
            "narrow; differences between methods are not evidence."
        )
    return said


def _with_interval(row: Mapping[Any, Any], metric: str, sign: str = "") -> str:
    value, low, high = (row[metric + s] for s in ("", "_low", "_high"))
    return f"{_number(value, sign)} (95 % interval {_number(low, sign)} to {_number(high, sign)})"
