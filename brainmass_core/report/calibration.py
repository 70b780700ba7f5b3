"""Calibration of probabilities: reliability curves from `tables.CALIBRATION`."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brainmass_core.drawing import NotAvailableError, new_figure
from brainmass_core.report.names import colour_of, line_of, short_of

MAX_PANELS = 4


def draw_calibration(
    calibration: pd.DataFrame, metrics: pd.DataFrame, classes: list[str]
) -> Figure:
    """Observed frequency of a class by its predicted probability; one panel per class.

    With two classes only the second is drawn. The area of a point grows with the number of
    predictions.

    Parameters
    ----------
    calibration : DataFrame
        `tables.CALIBRATION`.
    metrics : DataFrame
        `tables.METRICS`.

    Raises
    ------
    NotAvailableError
        If no method gives probabilities.
    """
    calibration = calibration[calibration["method"] != "chance"]
    if calibration.empty:
        raise NotAvailableError("No method gives probabilities (support vector machines do not).")
    numbers = sorted(calibration["class_number"].unique())[:MAX_PANELS]
    columns = min(2, len(numbers))
    rows = -(-len(numbers) // columns)
    figure = new_figure(5.2, (4.6 if columns == 1 else 2.9) * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    brier = metrics.set_index("method")["brier"]
    for axes, number in zip(panels.flat, numbers, strict=False):
        axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle="--")
        here = calibration[calibration["class_number"] == number]
        for method, curve in here.groupby("method", sort=False):
            _curve(axes, curve, str(method), brier)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        if len(numbers) > 1:
            axes.set_title(classes[int(number)], fontsize=10)
    for axes in panels.flat[len(numbers) :]:
        axes.set_visible(False)
    figure.supxlabel("Probability given", fontsize=10)
    figure.supylabel("Observed frequency", fontsize=10)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", fontsize=8, ncols=1)
    return figure


def _curve(axes: Axes, curve: pd.DataFrame, method: str, brier: pd.Series) -> None:
    curve = curve.sort_values("predicted")
    colour, n = colour_of(method), curve["n"].to_numpy(float)
    label = f"{short_of(method)}, Brier {brier[method]:.3f}"
    axes.plot(
        curve["predicted"],
        curve["observed"],
        color=colour,
        linestyle=line_of(method),
        linewidth=1.6,
        label=label,
    )
    axes.scatter(
        curve["predicted"], curve["observed"], s=6 + 60 * np.sqrt(n / n.sum()), color=colour, lw=0
    )


def without_probabilities(metrics: pd.DataFrame) -> list[str]:
    """Names of the methods without a Brier score.

    Parameters
    ----------
    metrics : DataFrame
        `tables.METRICS`.
    """
    return [short_of(m) for m in metrics.loc[metrics["brier"].isna(), "method"]]
