"""The figures of the stage: rows of its tables in, matplotlib figures out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from brainmass_core.series_model.names import METHODS

SHOWN = (0.9, 0.5, 0.1)  # parcels of an example: quantiles of the correlation with the truth
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Example:
    """A recording and its prediction.

    Attributes
    ----------
    true, predicted : ndarray (n_rois, n_timepoints)
        Scaled; what is predicted was hidden, wherever it is.
    t_r : float or None
        In seconds.
    """

    scan_id: str
    true: np.ndarray
    predicted: np.ndarray
    t_r: float | None


def reconstruction(rows: Rows, example: Example) -> Figure:
    """Predicted against true series of three parcels, and R2 of every method by data set."""
    figure = _figure(10.5, 5.2)
    grid = figure.add_gridspec(len(SHOWN), 2, width_ratios=(2.2, 1))
    with np.errstate(invalid="ignore"):
        pairs = zip(example.true, example.predicted, strict=True)
        r = np.array([np.corrcoef(a, b)[0, 1] for a, b in pairs])
    order = np.argsort(np.nan_to_num(r, nan=-1.0), kind="stable")
    time = np.arange(example.true.shape[1]) * (example.t_r or 1)
    for i, q in enumerate(SHOWN):
        axes, parcel = figure.add_subplot(grid[i, 0]), order[round(q * (len(order) - 1))]
        axes.plot(time, example.true[parcel], color="#999999", lw=1, label="recorded")
        axes.plot(time, example.predicted[parcel], color="tab:blue", lw=1, label="predicted")
        axes.set_title(
            f"parcel {parcel + 1}, r = {round(r[parcel], 2) + 0:.2f}", fontsize=9, loc="left"
        )
        axes.tick_params(labelsize=8)
        if i == 0:
            axes.legend(fontsize=8, ncols=2, loc="lower right", bbox_to_anchor=(1, 0.98))
    axes.set_xlabel(f"{example.scan_id}, {'s' if example.t_r else 'timepoints'}", fontsize=9)
    bars(figure.add_subplot(grid[:, 1]), pd.DataFrame(rows), "R2 of hidden values")
    return figure


def bars(axes: Any, table: pd.DataFrame, label: str) -> None:
    """R2 (columns r2, r2_low, r2_high) of methods side by side, by data set."""
    datasets, methods = (list(dict.fromkeys(table[c])) for c in ("dataset", "method"))
    width = 0.8 / len(methods)
    for i, method in enumerate(methods):
        part = table[table["method"] == method].set_index("dataset").reindex(datasets)
        places = np.arange(len(datasets)) + (i - (len(methods) - 1) / 2) * width
        axes.bar(places, part["r2"], width * 0.92, label=METHODS[method])
        if "r2_low" in part:
            axes.vlines(places, part["r2_low"], part["r2_high"], color="black", lw=1)
    axes.axhline(0, color="black", lw=0.8)
    axes.set_xticks(np.arange(len(datasets)), datasets, fontsize=8)
    axes.set_ylabel(label, fontsize=9)
    axes.tick_params(axis="y", labelsize=8)
    axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1))


def _figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure
