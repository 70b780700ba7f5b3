"""Predicted against true values of a regression."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from brainmass_core.drawing import NotAvailableError, new_figure
from brainmass_core.report.names import colour_of, short_of

MAX_POINTS = 2000  # if there are more, the density is drawn instead of points


def mean_predictions(predictions: pd.DataFrame) -> pd.DataFrame:
    """True value and mean prediction over repeats of every scan: method, y_true, y_pred.

    Parameters
    ----------
    predictions : DataFrame
        `tables.PREDICTIONS`.

    Returns
    -------
    DataFrame
        One row per method and scan.
    """
    return predictions.groupby(["method", "scan_id"], observed=True, as_index=False)[
        ["y_true", "y_pred"]
    ].mean()


def draw_predicted(
    predictions: pd.DataFrame, metrics: pd.DataFrame, label: str, methods: list[str]
) -> Figure:
    """One panel per method: predicted against true values, with the identity line and the mean.

    Parameters
    ----------
    predictions : DataFrame
        `tables.PREDICTIONS`, of these methods.
    metrics : DataFrame
        `tables.METRICS`.
    label : str
        Name of the target.

    Raises
    ------
    NotAvailableError
        If the task is no regression, or nothing was predicted.
    """
    if metrics["kind"].iloc[0] != "regression":
        raise NotAvailableError("Drawn for regressions only.")
    if predictions.empty:
        raise NotAvailableError("No method but chance was fitted.")
    table = mean_predictions(predictions)
    rows = metrics.set_index("method")
    low = float(table[["y_true", "y_pred"]].min().min())
    high = float(table[["y_true", "y_pred"]].max().max())
    pad = 0.03 * (high - low) or 1.0
    figure = new_figure(4.2 * len(methods) + 0.4, 4.9)
    panels = figure.subplots(1, len(methods), sharey=True, squeeze=False)
    for axes, method in zip(panels.flat, methods, strict=True):
        here = table[table["method"] == method]
        axes.plot([low, high], [low, high], color="#888888", linewidth=1, linestyle="--")
        axes.axhline(here["y_true"].mean(), color="#cccccc", linewidth=1)
        if len(here) > MAX_POINTS:
            axes.hexbin(here["y_true"], here["y_pred"], gridsize=40, bins="log", cmap="Blues", lw=0)
        else:
            axes.scatter(
                here["y_true"], here["y_pred"], s=14, alpha=0.6, color=colour_of(method), lw=0
            )
        axes.set_title(f"{short_of(method)}\n{_numbers(rows.loc[[method]].iloc[0])}", fontsize=9)
        axes.set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad), aspect="equal")
        axes.set_xlabel(f"{label}, true")
    panels.flat[0].set_ylabel(f"{label}, predicted")
    return figure


def _numbers(row: pd.Series) -> str:
    variance = float(row["target_variance"])
    ratio = f", {row['mse'] / variance:.2f} of it" if np.isfinite(variance) and variance else ""
    return (
        f"MSE {row['mse']:.3g} (target variance {variance:.3g}{ratio})\n"
        f"R2 {row['r2']:.2f}, r {row['pearson_r']:.2f}"
    )
