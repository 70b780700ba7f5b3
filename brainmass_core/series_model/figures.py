"""Draw the figures of the stage from rows of its tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from brainmass_core.atlas.parcels import places
from brainmass_core.drawing import NotAvailableError, new_figure
from brainmass_core.series_model.names import METHODS

# quantiles of the correlation with the truth, for the parcels of an example
SHOWN = (
    0.9,
    0.5,
    0.1,
)
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Example:
    """A recording and its prediction.

    Attributes
    ----------
    true, predicted : ndarray (n_rois, n_timepoints)
        Scaled series; every predicted value was hidden.
    t_r : float or None
        In seconds.
    """

    scan_id: str
    true: np.ndarray
    predicted: np.ndarray
    t_r: float | None


def reconstruction(rows: Rows, example: Example) -> Figure:
    """Predicted against true series of three parcels, and R2 of every method by data set."""
    figure = new_figure(10.5, 5.2)
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
    """Bar chart of R2 (columns r2, r2_low, r2_high) by data set and method.

    Parameters
    ----------
    table : DataFrame
        One row per data set and method: dataset, method, r2, and optionally r2_low and r2_high.
    label : str
        Of the vertical axis.
    """
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


def forecast(table: pd.DataFrame, t_r: float | None) -> Figure:
    """R2 of each predicted timepoint by method, with one panel per data set.

    Parameters
    ----------
    table : DataFrame
        Rows of the table `forecast`.
    t_r : float or None
        In seconds.
    """
    table = table[table["step"] > 0]
    datasets = list(dict.fromkeys(table["dataset"]))
    figure = new_figure(max(6.5, 4.4 * len(datasets)), 4.2)
    panels = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
    for axes, dataset in zip(panels, datasets, strict=True):
        part = table[table["dataset"] == dataset]
        for method in dict.fromkeys(part["method"]):
            rows = part[part["method"] == method]
            style = {"color": "black", "lw": 2, "zorder": 3} if method == "model" else {"lw": 1.2}
            axes.plot(rows["step"], rows["r2"], marker=".", label=METHODS[method], **style)
            if method == "model" and rows["r2_low"].notna().all():
                low, high = rows["r2_low"].astype(float), rows["r2_high"].astype(float)
                axes.fill_between(rows["step"], low, high, color="black", alpha=0.15, lw=0)
        axes.axhline(0, color="#999999", lw=0.8)
        axes.set_title(f"{dataset}, {part['n_participants'].iloc[0]} participants", fontsize=9)
        axes.set_xlabel(f"timepoints ahead{f' of {t_r:g} s' if t_r else ''}", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelsize=8)
    panels[0].set_ylim(max(-1.5, float(table["r2"].min()) - 0.1), 1.02)
    panels[0].set_ylabel("R2", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    return figure


def networks(table: pd.DataFrame) -> Figure:
    """Balanced accuracy of every method with its interval, and that of shuffled labels.

    Parameters
    ----------
    table : DataFrame
        Rows of the table `networks`.
    """
    schemes = list(dict.fromkeys(table["scheme"]))
    figure = new_figure(9.0, 3.4)
    panels = figure.subplots(1, len(schemes), sharey=True, sharex=True, squeeze=False)[0]
    for axes, scheme in zip(panels, schemes, strict=True):
        part = table[table["scheme"] == scheme]
        places = np.arange(len(part))[::-1]
        for y, row in zip(places, part.to_dict("records"), strict=True):
            if row["n_permutations"]:
                chance = row["chance_high"] - row["chance_low"]
                axes.barh(
                    y, chance, 0.6, row["chance_low"], color="#cccccc", label="labels shuffled"
                )
            colour = "tab:blue" if row["method"] == "attention" else "black"
            ends = [row["balanced_accuracy_low"], row["balanced_accuracy_high"]]
            axes.plot(ends, [y, y], color=colour, lw=1.5)
            axes.plot(row["balanced_accuracy"], y, "o", color=colour, markersize=6)
        axes.set_yticks(places, [METHODS[m] for m in part["method"]], fontsize=8)
        axes.set_ylim(-0.6, len(part) - 0.4)
        axes.set_title(f"{scheme} recordings", fontsize=9, loc="left")
        axes.set_xlabel("balanced accuracy", fontsize=9)
        axes.tick_params(axis="x", labelsize=8)
    handles, names = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles[:1], names[:1], fontsize=8, loc="outside upper right")
    return figure


def attention(table: pd.DataFrame, labels: pd.DataFrame) -> Figure:
    """Attention to the parcels at their centroids, and the contrast of the classes if there is one.

    Parameters
    ----------
    table : DataFrame
        Rows of the table `attention`.
    labels : DataFrame (n_rois rows)
        x, y, z (mm).
    """
    maps = [("Attention (1: uniform)", table["attention"].to_numpy(float), False)]
    if "t" in table:
        first, second = table["first"].iloc[0], table["second"].iloc[0]
        maps.append((f"{second} against {first}, t", table["t"].to_numpy(float), True))
    return glass_brains(maps, labels)


def glass_brains(maps: list[tuple[str, np.ndarray, bool]], labels: pd.DataFrame) -> Figure:
    """All parcels at their centroids, seen from left, above and right, one row per map.

    Parameters
    ----------
    maps : list of (title, values (n_rois,), whether colours part at 0)

    Raises
    ------
    NotAvailableError
        If the atlas has no coordinates.
    """
    from nilearn.plotting import plot_markers

    xyz = places(labels)
    if not np.isfinite(xyz).all():
        raise NotAvailableError(
            "The atlas has no coordinates; give atlas.path, or columns x, y and z in atlas.labels."
        )
    figure, share = new_figure(8.4, 2.7 * len(maps), layout=None), 1 / len(maps)
    for i, (title, values, signed) in enumerate(maps):
        low, high = float(values.min()), float(values.max())
        cmap, bottom = "RdBu_r" if signed else "viridis", 1 - (i + 1) * share
        high = max(high, low + 1e-9)
        if signed:
            high = max(abs(low), abs(high))
            low = -high
        size = np.abs(values) / max(np.abs(values).max(), 1e-12)
        plot_markers(
            values,
            xyz,
            node_size=15 + 60 * size,
            node_cmap=cmap,
            node_vmin=low,
            node_vmax=high,
            display_mode="lzr",
            figure=figure,
            axes=(0, bottom, 0.88, share * 0.88),
            colorbar=False,
        )
        # nilearn's colour bar rounds its limits, which can become equal
        scale = ScalarMappable(Normalize(low, high), cmap)
        bar = figure.colorbar(
            scale, cax=figure.add_axes((0.9, bottom + 0.1 * share, 0.015, 0.7 * share))
        )
        bar.ax.tick_params(labelsize=8)
        figure.text(0.01, 1 - i * share - 0.02, title, fontsize=10, va="top")
    return figure


def perturbation(table: pd.DataFrame, labels: pd.DataFrame) -> Figure:
    """The perturbation of parcels at their centroids: mean over time, and size.

    Parameters
    ----------
    table : DataFrame
        Rows of the table `perturbation`.
    labels : DataFrame (n_rois rows)
        x, y, z (mm).
    """
    first, second = table["first"].iloc[0], table["second"].iloc[0]
    added, size = (table[c].to_numpy(float) for c in ("added", "magnitude"))
    title = f"Added to {first} towards {second}, scaled unit"
    return glass_brains([(title, added, True), ("Size", size, False)], labels)
