"""Few-shot learning curves and zero-shot transfer of a task, if requested."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brainmass_core.config import Config
from brainmass_core.drawing import NotAvailableError, new_figure
from brainmass_core.encoders.registry import FEATURES
from brainmass_core.pipeline.paths import Paths
from brainmass_core.report.cells import score
from brainmass_core.report.names import FEW_ESTIMATORS, colour_of, few_shot_parts
from brainmass_core.tables import read_table

Rows = list[dict[str, Any]]


def read_curves(config: Config, task: str) -> pd.DataFrame | None:
    """`tables.LEARNING_CURVE` of a task; None if the configuration does not request it.

    Raises
    ------
    TableError
        If it is requested but missing.
    """
    if not config.few_shot.shots or not config.tasks[task].classes:
        return None
    return _read(config, task, "learning_curve")


def read_transfer(config: Config, task: str) -> pd.DataFrame | None:
    """`tables.ZERO_SHOT` of a task; None if the configuration does not request it.

    Returns
    -------
    DataFrame or None
    """
    return _read(config, task, "zero_shot") if config.tasks[task].zero_shot_from else None


def _read(config: Config, task: str, name: str) -> pd.DataFrame:
    path = Paths(config.results).finetune(task) / f"{name}.parquet"
    return read_table(path, name).to_pandas()


def split_method(method: str) -> tuple[str, str]:
    """Name of the features and of the classifier."""
    features, classifier = few_shot_parts(method)
    return FEATURES[features].label, FEW_ESTIMATORS[classifier]


def curve_table(curves: pd.DataFrame) -> Rows:
    """One row per method and k.

    Parameters
    ----------
    curves : DataFrame
        `tables.LEARNING_CURVE`.

    Returns
    -------
    list of dict
        Name of a column to its text or `Cell`.
    """
    rows = []
    for row in curves.sort_values(["k", "method"]).to_dict("records"):
        features, estimator = split_method(row["method"])
        drawn = {f"auc{end}": row[f"auc_draw{end}"] for end in ("_low", "_high")}
        rows.append(
            {
                "Per class": int(row["k"]),
                "Features": features,
                "Classifier": estimator,
                "AUC": score(row, "auc"),
                "of single draws": score({"auc": row["auc"]} | drawn, "auc"),
                "Balanced accuracy": score(row, "balanced_accuracy"),
                "Draws": int(row["n_draws"]),
                "Folds": int(row["n_folds"]),
            }
        )
    return rows


def transfer_table(found: pd.DataFrame) -> Rows:
    """One row per method: source, target and scores.

    Parameters
    ----------
    found : DataFrame
        `tables.ZERO_SHOT`.

    Returns
    -------
    list of dict
        Name of a column to its text or `Cell`.
    """
    rows = []
    for row in found.sort_values("method").to_dict("records"):
        features, estimator = split_method(row["method"])
        rows.append(
            {
                "Features": features,
                "Classifier": estimator,
                "AUC": score(row, "auc"),
                "Balanced accuracy": score(row, "balanced_accuracy"),
                "Learned on": row["source"],
                "Participants there": int(row["n_train_participants"]),
                "Tested here": int(row["n_test_participants"]),
                "Scans here": int(row["n_test_scans"]),
                "Harmonised by": str(row["harmonise"]).replace("_", " "),
            }
        )
    return rows


def draw_curves(curves: pd.DataFrame | None) -> Figure:
    """AUC by participants per class on a logarithmic axis, one panel per classifier.

    Bars: 95 % intervals of the mean over draws; thin lines: range of 95 % of single draws.

    Parameters
    ----------
    curves : DataFrame, optional
        `tables.LEARNING_CURVE`.

    Raises
    ------
    NotAvailableError
        If there are no curves.
    """
    if curves is None:
        raise NotAvailableError("No few-shot curves were requested (few_shot.shots).")
    if curves.empty:
        raise NotAvailableError("The training parts have too few participants of each class.")
    pairs = [few_shot_parts(method) for method in curves["method"]]
    table = curves.assign(features=[f for f, _ in pairs], estimator=[e for _, e in pairs])
    estimators = [e for e in FEW_ESTIMATORS if e in set(table["estimator"])]
    columns = min(2, len(estimators))
    rows = -(-len(estimators) // columns)
    figure = new_figure(4.0 * columns + 0.6, 2.9 * rows + 0.7)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, estimator in zip(panels.flat, estimators, strict=False):
        for features, curve in table[table["estimator"] == estimator].groupby("features"):
            _curve(axes, curve.sort_values("k"), str(features))
        shots = sorted(table["k"].unique())
        axes.axhline(0.5, color="#bbbbbb", linewidth=1, linestyle="--")
        axes.set_xscale("log", base=2)
        axes.set_xticks(shots, [str(k) for k in shots])
        axes.minorticks_off()
        axes.set_title(FEW_ESTIMATORS[estimator], fontsize=10)
    for axes in panels.flat[len(estimators) :]:
        axes.set_visible(False)
    figure.supxlabel("Labelled participants per class", fontsize=10)
    figure.supylabel("AUC", fontsize=10)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=9)
    return figure


def _curve(axes: Axes, curve: pd.DataFrame, features: str) -> None:
    colour, k = colour_of(features), curve["k"]
    axes.fill_between(k, curve["auc_low"], curve["auc_high"], color=colour, alpha=0.2, lw=0)
    label = FEATURES[features].label
    axes.plot(k, curve["auc"], ".-", color=colour, linewidth=1.6, label=label)
    for end in ("auc_draw_low", "auc_draw_high"):
        axes.plot(k, curve[end], ":", color=colour, linewidth=0.8)
