"""The scores of a task as tables and as sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from brainmass_core.encoders.registry import encoders, is_pretrained
from brainmass_core.intervals import side_of, span, with_interval
from brainmass_core.report.cells import Cell, number, p_value, score, unscaled
from brainmass_core.report.names import LEADING, METRICS, short_of

SMALL_CLASS = 50
UNSCALED = ("mse", "mae")
Rows = list[dict[str, Any]]


def score_table(metrics: pd.DataFrame, kind: str = "binary") -> Rows:
    """One row per method, one `Cell` per metric; the target's variance next to the MSE.

    Parameters
    ----------
    metrics : DataFrame
        `tables.METRICS`.
    kind : {"binary", "several", "regression"}

    Returns
    -------
    list of dict
        Name of a column to its text or `Cell`.
    """
    rows = []
    for row in metrics.to_dict("records"):
        cells: dict[str, Any] = {"Method": short_of(row["method"])}
        for metric, name in METRICS[kind].items():
            cells[name] = unscaled(row, metric) if metric in UNSCALED else score(row, metric)
            if metric == "mse":
                cells["Target variance"] = unscaled(row, "target_variance")
        rows.append(cells)
    return rows


def comparison_table(metrics: pd.DataFrame, kind: str = "binary") -> Rows:
    """Comparison of each method with the best baseline and with chance.

    Parameters
    ----------
    metrics : DataFrame
        `tables.METRICS`.
    kind : {"binary", "several", "regression"}

    Returns
    -------
    list of dict
        Name of a column to its text or `Cell`.
    """
    leading = LEADING[kind]
    rows = []
    for row in metrics.to_dict("records"):
        base = row.get("best_baseline")
        cells: dict[str, Any] = {
            "Method": short_of(row["method"]),
            "Best baseline": short_of(base) if isinstance(base, str) else "",
            f"{leading} minus its": score(row, "minus_best", sign="+"),
            "p of the difference": p_value(row.get("p_minus_best")),
            f"{leading}, other training sets": _other_training_sets(row),
            "p, shuffled labels": p_value(row.get("p_permutation")),
        }
        if kind == "binary":
            cells["AUC minus FC's"] = score(row, "auc_minus_fc_svm", sign="+")
        rows.append(cells)
    return rows


def _other_training_sets(row: Mapping[Any, Any]) -> Cell:
    """The corrected interval without a value: its centre is the mean over folds, not the score."""
    low, high = row.get("corrected_low"), row.get("corrected_high")
    shown = number(low)
    return Cell(span(low, high), "", shown.sort)


def summary_table(metrics: pd.DataFrame, kind: str) -> Rows:
    """The scores for the front page, with few columns.

    Parameters
    ----------
    metrics : DataFrame
        `tables.METRICS`.
    kind : {"binary", "several", "regression"}

    Returns
    -------
    list of dict
        Name of a column to its text or `Cell`.
    """
    leading = {"binary": ("auc", "balanced_accuracy"), "regression": ("r2", "pearson_r")}
    chosen = leading.get(kind, ("auc", "balanced_accuracy"))
    rows = []
    for row in metrics.to_dict("records"):
        cells: dict[str, Any] = {"Method": short_of(row["method"])}
        cells |= {METRICS[kind][m]: score(row, m) for m in chosen}
        cells[f"{LEADING[kind]} minus best baseline's"] = score(row, "minus_best", sign="+")
        if kind == "regression":
            cells["MSE"] = unscaled(row, "mse")
            cells["Target variance"] = unscaled(row, "target_variance")
        rows.append(cells)
    return rows


def highlight(metrics: pd.DataFrame) -> list[str]:
    """The best pre-trained method and the best other one, by the leading metric.

    Figures with room for few methods show these. Each is the best of several on the same scans,
    so both scores are biased upwards.

    Parameters
    ----------
    metrics : DataFrame
        `tables.METRICS`.

    Returns
    -------
    list of str
        At most two methods.
    """
    leading = str(metrics["leading"].iloc[0])
    ranked = metrics.dropna(subset=[leading]).sort_values(leading, ascending=False, kind="stable")
    ours = ranked["method"].map(is_pretrained).astype(bool)
    others = ranked[~ours & (ranked["method"] != "chance")]
    return [*ranked.loc[ours, "method"].head(1), *others["method"].head(1)]


def verdict(metrics: pd.DataFrame) -> list[str]:
    """Summary of the scores of a task with two classes, in sentences.

    Parameters
    ----------
    metrics : DataFrame
        `tables.METRICS`.
    """
    rows = {r["method"]: r for r in metrics.to_dict("records")}
    said = []
    encoder = next((e for e in encoders() if e.pages.headline in rows), None)
    model = rows[encoder.pages.headline] if encoder else None
    base = rows.get("fc_svm")
    if encoder and model and base:
        low, high = model["auc_minus_fc_svm_low"], model["auc_minus_fc_svm_high"]
        said.append(
            f"The {encoder.label} embedding has an AUC of {_with_interval(model, 'auc')}; the FC "
            f"baseline {_with_interval(base, 'auc')}. On the same participants the model "
            f"{_against(low, high)} the baseline "
            f"(difference {_with_interval(model, 'auc_minus_fc_svm', '+')})."
        )
    elif model or base:
        row = model or base or {}
        said.append(f"{short_of(row['method'])} has an AUC of {_with_interval(row, 'auc')}.")
    said += _against_best(rows)
    confounds = rows.get("confounds_svm")
    if confounds and side_of(confounds["auc_low"], confounds["auc_high"], 0.5) == "above":
        said.append(
            "Confounds alone (site, age, sex, motion) predict the diagnosis, with an AUC of "
            f"{_with_interval(confounds, 'auc')}: part of any score here may come from them."
        )
    return said


def _against_best(rows: Mapping[str, Mapping[Any, Any]]) -> list[str]:
    """The best pre-trained method against the best baseline, unless this was already compared."""
    ours = [r for m, r in rows.items() if is_pretrained(m) and "minus_best" in r]
    ours = [r for r in ours if isinstance(r.get("best_baseline"), str)]
    if not ours:
        return []
    best = max(ours, key=lambda r: r["auc"])
    said = {(encoder.pages.headline, "fc_svm") for encoder in encoders()}
    if (best["method"], best["best_baseline"]) in said:
        return []
    low, high = best["minus_best_low"], best["minus_best_high"]
    return [
        f"The best of the pre-trained methods ({short_of(best['method'])}) {_against(low, high)} "
        f"the best baseline ({short_of(best['best_baseline'])}): difference in AUC "
        f"{_with_interval(best, 'minus_best', '+')}. Both were selected by these scores."
    ]


def _against(low: Any, high: Any) -> str:
    return {
        "above": "is better than",
        "below": "is worse than",
        "around": "is not distinguishable from",
        "unknown": "cannot be compared with",  # neither better nor equal
    }[side_of(low, high, 0)]


def warnings_of(metrics: pd.DataFrame, permuted: bool, kind: str = "binary") -> list[str]:
    """Warnings that a reader needs before the scores.

    Parameters
    ----------
    metrics : DataFrame
        `tables.METRICS`; not empty.
    permuted : bool
        Whether the labels were shuffled.
    """
    first = metrics.iloc[0]
    said = []
    if permuted:
        said.append(
            "The labels were shuffled (finetune.permute_labels): this page is a check of the "
            "procedure, and every score must be at chance."
        )
    if kind != "binary":
        return said
    positive = int(first["n_positive"])
    smallest = min(positive, int(first["n_participants"]) - positive)
    if smallest < SMALL_CLASS:
        said.append(
            f"Small sample: {int(first['n_participants'])} participants are tested, {smallest} in "
            "the smaller class. Intervals are wide, and intervals from so few tend to be too "
            "narrow; differences between methods are not evidence."
        )
    return said


def _with_interval(row: Mapping[Any, Any], metric: str, sign: str = "") -> str:
    value, low, high = (row[metric + s] for s in ("", "_low", "_high"))
    return with_interval(value, low, high, 2, sign)
