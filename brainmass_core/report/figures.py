"""The figures of a task's page: arrays and tables in, matplotlib figures out."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from brainmass_core.atlas.parcels import places
from brainmass_core.drawing import NotAvailableError, new_figure, palette
from brainmass_core.encoders.registry import encoders
from brainmass_core.quality.matrices import mark_networks
from brainmass_core.report.connectome import Connectome
from brainmass_core.report.names import METRICS, colour_of, line_of, sees, short_of

CLASS_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MAX_POINTS = 2000  # per class; if there are more, a sample evenly spaced by rank
MAX_CURVES = 8
SMOOTHING = 50  # window of a curve's running mean: its number of points / SMOOTHING
N_EDGES = 80


def scores(metrics: pd.DataFrame, kind: str = "binary") -> Figure:
    """Two scores of every method with 95 % intervals; dashed is chance.

    Parameters
    ----------
    metrics : DataFrame
        `tables.METRICS`: one row per method.
    kind : {"binary", "several", "regression"}
    """
    shown = ("r2", "pearson_r") if kind == "regression" else ("auc", "balanced_accuracy")
    chance = 0.0 if kind == "regression" else 0.5
    layout = ConstrainedLayoutEngine(wspace=0.1)
    figure = new_figure(5.2, 1.3 + 0.42 * len(metrics), layout)
    panels = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(metrics))[::-1]
    for axes, metric in zip(panels, shown, strict=True):
        if kind != "several" or metric == "auc":
            axes.axvline(chance, color="#bbbbbb", linewidth=1, linestyle="--")
        for y, row in zip(rows, metrics.to_dict("records"), strict=True):
            colour = colour_of(row["method"])
            span = [row[f"{metric}_low"], row[f"{metric}_high"]]
            axes.plot(span, [y, y], color=colour, linewidth=2.5, solid_capstyle="round")
            axes.plot(row[metric], y, "o", color=colour, markersize=7)
        lowest = 0.25 * np.floor(4 * min(chance - 0.1, metrics[f"{metric}_low"].min()))
        lowest = max(lowest, -1.0)  # R2 has no lower limit
        ticks = np.arange(lowest, 1.01, 0.25 if lowest >= -0.25 else 0.5)
        title = METRICS[kind][metric].split(",")[0]
        axes.set(title=title, xlim=(lowest, 1.02), ylim=(-0.6, len(metrics) - 0.4))
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks], fontsize=9)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(rows, [short_of(m) for m in metrics["method"]])
    return figure


def roc(curves: pd.DataFrame, metrics: pd.DataFrame, banded: list[str]) -> Figure:
    """ROC curves of at most `MAX_CURVES` methods without chance.

    Parameters
    ----------
    curves : DataFrame
        `tables.ROC`.
    metrics : DataFrame
        `tables.METRICS`.
    banded : list of str
        Methods whose bootstrap band is drawn.

    Raises
    ------
    NotAvailableError
        If there are no curves.
    """
    if curves.empty:
        raise NotAvailableError("Drawn for tasks of two classes.")
    figure = new_figure(5.2, 5.4)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle="--")
    auc = metrics.set_index("method")["auc"].drop("chance", errors="ignore")
    kept = set(auc.index) if len(auc) <= MAX_CURVES else _best_of_each(auc)
    for method, curve in curves.groupby("method", sort=False):
        if method not in kept:
            continue
        colour = colour_of(str(method))
        label = f"{short_of(str(method))}, AUC {auc[method]:.2f}"
        axes.plot(
            curve["fpr"],
            curve["tpr"],
            color=colour,
            linestyle=line_of(str(method)),
            linewidth=1.8,
            label=label,
        )
        if method in banded:
            axes.fill_between(
                curve["fpr"], curve["tpr_low"], curve["tpr_high"], color=colour, alpha=0.15, lw=0
            )
    axes.set(
        xlabel="False positive rate (1 - specificity)",
        ylabel="True positive rate (sensitivity)",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        aspect="equal",
    )
    axes.legend(loc="lower right", fontsize=9)
    return figure


def _best_of_each(auc: pd.Series) -> set[str]:
    """The method with the highest AUC for each kind of features."""
    ranked = auc.sort_values(ascending=False, kind="stable")
    return set(ranked.groupby(ranked.index.map(sees), sort=False).head(1).index)


def motion(cohort: pd.DataFrame, classes: list[str]) -> Figure:
    """Mean framewise displacement of the used scans by class, or of all scans without classes.

    Parameters
    ----------
    cohort : DataFrame
        `tables.COHORT`.

    Raises
    ------
    NotAvailableError
        If the displacement of no scan is known.
    """
    used = cohort[cohort["used"]]
    parts = [used[used["class_name"] == c] for c in classes] if classes else [used]
    groups = [np.sort(part["mean_fd"].dropna().to_numpy()) for part in parts]
    if not sum(map(len, groups)):
        raise NotAvailableError("No mean framewise displacement is known for these scans.")
    figure = new_figure(5.2, 3.6)
    axes = figure.subplots()
    named = classes or ["all"]
    names = [f"{c}\n({len(g)} scans)" for c, g in zip(named, groups, strict=True)]
    axes.boxplot(
        groups, widths=0.5, showfliers=False, tick_labels=names, medianprops={"color": "black"}
    )
    for k, values in enumerate(groups):
        # horizontal positions evenly spaced by rank: no random numbers in a figure
        places = np.unique(np.linspace(0, max(len(values) - 1, 0), MAX_POINTS).round().astype(int))
        shown = values[places[places < len(values)]]
        jitter = (np.arange(len(shown)) * 0.618034) % 1 - 0.5
        size = 22 if len(shown) < 100 else 8
        colour = CLASS_COLOURS[k % len(CLASS_COLOURS)]
        axes.scatter(k + 1 + 0.4 * jitter, shown, s=size, color=colour, alpha=0.6, linewidths=0)
    axes.set_ylabel("Mean framewise displacement (mm)")
    axes.set_ylim(0, 1.08 * max(axes.get_ylim()[1], 1e-3))
    return figure


def fc_matrix(connectome: Connectome | None, difference: bool = False) -> Figure:
    """Mean FC, or the difference between the classes, ordered by network."""
    if connectome is None:
        raise NotAvailableError("No scan was used, so there is no mean FC.")
    if difference and not connectome.two_classes:
        raise NotAvailableError("Drawn for tasks of two classes.")
    from nilearn.plotting import plot_matrix

    order = connectome.order()
    matrix = (connectome.difference if difference else connectome.mean)[np.ix_(order, order)]
    off = matrix[~np.eye(len(matrix), dtype=bool)]
    limit = max(float(np.quantile(np.abs(off), 0.995)), 1e-6)
    np.fill_diagonal(matrix, 0)  # a diagonal of ones carries no information
    figure = new_figure(5.2, 4.5)
    axes = figure.subplots()
    # nilearn's own colour bar is outside the figure
    image = plot_matrix(matrix, axes=axes, colorbar=False, cmap="RdBu_r", vmin=-limit, vmax=limit)
    figure.colorbar(image, ax=axes, shrink=0.85, label="difference" if difference else "FC")
    axes.spines[["top", "right"]].set_visible(True)
    if connectome.has_networks:
        mark_networks(axes, connectome.labels["network"].to_numpy()[order])
    else:
        axes.set_xlabel("Parcels in the order of the atlas, which names no networks")
        axes.set(xticks=[], yticks=[])
    return figure


def glass_brain(connectome: Connectome | None) -> Figure:
    """The strongest edges of the mean FC between the parcels' centroids."""
    if connectome is None:
        raise NotAvailableError("No scan was used, so there is no mean FC.")
    if not connectome.has_coordinates:
        raise NotAvailableError(
            f"The atlas {connectome.atlas} has no coordinates; give atlas.path, or columns x, y "
            "and z in atlas.labels."
        )
    from nilearn.plotting import plot_connectome

    matrix = strongest_edges(connectome.mean, N_EDGES)
    xyz = places(connectome.labels)
    linked = np.abs(matrix).sum(0) > 0
    limit = float(np.abs(matrix).max()) or 1.0
    figure = new_figure(7.2, 2.9, layout=None)
    plot_connectome(
        matrix,
        xyz,
        node_color=_network_colours(connectome.labels["network"]),
        node_size=np.where(linked, 26.0, 5.0),
        edge_vmin=-limit,
        edge_vmax=limit,
        edge_kwargs={"linewidth": 1.2},
        display_mode="lzr",
        figure=figure,
        axes=(0, 0.12, 1, 0.88),
        annotate=True,
    )
    if connectome.has_networks:
        _network_legend(figure, connectome.labels["network"])
    return figure


def strongest_edges(matrix: np.ndarray, n: int) -> np.ndarray:
    """Keep the `n` entries above the diagonal with the largest absolute values, and set others to
    0.

    Parameters
    ----------
    matrix : ndarray (n_rois, n_rois)
        Symmetric.

    Returns
    -------
    ndarray (n_rois, n_rois)
        Symmetric, with a diagonal of 0.
    """
    rows, columns = np.triu_indices(len(matrix), 1)
    keep = np.argsort(-np.abs(matrix[rows, columns]), kind="stable")[:n]
    kept = np.zeros_like(matrix)
    kept[rows[keep], columns[keep]] = matrix[rows[keep], columns[keep]]
    return kept + kept.T


def _network_colours(networks: pd.Series) -> list[tuple]:
    colours = palette(networks)
    return [colours[n] for n in networks]


def _network_legend(figure: Figure, networks: pd.Series) -> None:
    handles = [
        mpl.lines.Line2D([], [], marker="o", linestyle="", color=c, label=n)
        for n, c in palette(networks).items()
    ]
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=min(8, len(handles)),
        handletextpad=0.1,
        columnspacing=1,
    )


def carpet(series: list[tuple[str, np.ndarray]], order: np.ndarray) -> Figure:
    """Parcel series of single scans as grey-scale images, parcels by network.

    Parameters
    ----------
    series : list of (title, ndarray (n_timepoints, n_rois))
    """
    if not series:
        raise NotAvailableError(
            "None is shown: report.max_figures is 0, or the series are missing."
        )
    rows = (len(series) + 1) // 2
    figure = new_figure(5.6, 0.5 + 1.5 * rows)
    panels = figure.subplots(rows, 2, squeeze=False)
    for axes, (title, bold) in zip(panels.flat, series, strict=False):
        spread = bold.std(axis=0, keepdims=True)
        z = (bold - bold.mean(axis=0, keepdims=True)) / np.where(spread > 0, spread, 1)
        ordered = z.T[order] if len(order) == z.shape[1] else z.T
        axes.imshow(ordered, aspect="auto", cmap="gray", vmin=-2.5, vmax=2.5)
        axes.set_title(title, fontsize=7)
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
    for axes in panels.flat[len(series) :]:
        axes.set_visible(False)
    figure.supxlabel("Volume", fontsize=9)
    figure.supylabel("Parcels", fontsize=9)
    return figure


def _curve(axes: Axes, steps: pd.Series, values: pd.Series, color: str, label: str) -> None:
    """Draw values; if there are many, also their running mean over a fiftieth of them."""
    window = len(values) // SMOOTHING
    if window > 1:
        axes.plot(steps, values, color=color, linewidth=0.5, alpha=0.25)
        values = values.rolling(window, center=True, min_periods=1).mean()
    axes.plot(steps, values, color=color, linewidth=1.4, label=label)


LOSSES = ("black", "#0072B2", "#E69F00", "#009E73", "#56B4E9")  # the total loss and its components


def loss(history: pd.DataFrame | None) -> Figure:
    """Losses of pre-training, and the effective rank, which shows a collapse.

    Parameters
    ----------
    history : DataFrame, optional
        Table of the model's pre-training, one row per step.

    Raises
    ------
    NotAvailableError
        If there is no history.
    """
    if history is None or history.empty:
        raise NotAvailableError("There is no pre-training history.")
    figure = new_figure(5.2, 4.6)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    parts = next((e.pages.losses for e in encoders() if set(e.pages.losses) & set(history)), {})
    labels = {"loss": "total", **parts}
    for (column, label), colour in zip(labels.items(), LOSSES, strict=False):
        _curve(top, history["step"], history[column], color=colour, label=label)
    top.set_ylabel("Loss (parts unweighted)" if len(parts) > 1 else "Loss")
    top.set_ylim(bottom=0)
    top.legend(fontsize=8, ncols=2)
    measured = history.dropna(subset=["effective_rank"])
    bottom.plot(measured["step"], measured["effective_rank"], ".-", color="#CC79A7")
    bottom.set(xlabel="Step", ylabel="Effective rank\nof embedding")
    bottom.set_ylim(0, 1.15 * max(1.0, measured["effective_rank"].max()))
    return figure
