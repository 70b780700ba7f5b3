"""Draw the figures of a task's regions from rows of tables, as PNG bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from brainmass_core.atlas.parcels import network_order, places
from brainmass_core.config import Config
from brainmass_core.drawing import NotAvailableError, draw, new_figure, palette
from brainmass_core.interpret.networks import SOURCES, networks_of
from brainmass_core.interpret.surface import surface
from brainmass_core.pipeline.paths import MAPS
from brainmass_core.quality.matrices import mark_networks

NAMES = {
    "attention": "Attention received, difference of the classes",
    "gradient": "Encoder: integrated gradients",
    "permutation": "Encoder: permutation",
    "fc_pattern": "FC: pattern of the linear SVM",
}
UNITS = {
    "attention": "difference (1: uniform attention)",
    "gradient": "class separation, SD of the score",
    "permutation": "lost class separation, SD of the score",
    "fc_pattern": "mean absolute pattern",
}
NOTHING = "No region was explained: interpret.methods is empty, or the task has not two classes."
Tables = dict[str, list[dict[str, Any]]]


def draw_all(
    config: Config, tables: Tables, labels: pd.DataFrame, classes: list[str]
) -> dict[str, tuple[bytes, str, str]]:
    """PNG, caption and reason if it is missing, for every figure of `paths.MAPS`.

    Parameters
    ----------
    tables : dict
        Rows of ``attention``, ``regions`` and ``stability``.
    labels : DataFrame (n_rois rows)
        name, network, x, y, z.
    """
    regions = pd.DataFrame(tables["regions"])
    top_k = max([row["top_k"] for row in tables["stability"]], default=0)
    makers: dict[str, Callable[[], Figure]] = {
        "attention": partial(attention, tables["attention"], labels, classes),
        "regions": partial(top_regions, regions, top_k),
        "glass_brain": partial(glass_brain, regions, labels, top_k),
        "surface": partial(surface, config, regions, NAMES),
    }
    captions = _captions(labels, [*classes, "", ""], top_k)
    drawn = {name: draw(makers[name]) for name in MAPS}
    return {name: (png, captions[name], missing) for name, (png, missing) in drawn.items()}


def attention(rows: list[dict[str, Any]], labels: pd.DataFrame, classes: list[str]) -> Figure:
    """Attention maps by network: rows are layers, columns are classes and their difference.

    Parameters
    ----------
    rows : list of dict
        layers, group (a class, or ``difference``) and map, n_rois² values in row-major order.
    labels : DataFrame (n_rois rows)
        Labels of the atlas.

    Raises
    ------
    NotAvailableError
        If there are no rows.
    """
    if not rows:
        raise NotAvailableError(
            "No attention: it is not among interpret.methods, or the task has not two classes."
        )
    networks, _ = networks_of(labels)
    order = network_order(pd.Series(networks))
    n = len(order)
    maps = {(r["layers"], r["group"]): np.reshape(r["map"], (n, n)) * n for r in rows}
    layers = list(dict.fromkeys(layer for layer, _ in maps))
    figure = new_figure(10.5, 9.0)
    panels = figure.subplots(len(layers), 3)
    for line, layer in zip(panels, layers, strict=True):
        shown = np.concatenate([maps[layer, c].ravel() for c in classes])
        low, high = (float(q) for q in np.quantile(shown, [0.005, 0.995]))
        apart = max(float(np.quantile(np.abs(maps[layer, "difference"]), 0.995)), 1e-6)
        for axes, group in zip(line, [*classes, "difference"], strict=True):
            signed = group == "difference"
            limits = (-apart, apart) if signed else (low, high)
            image = axes.imshow(
                maps[layer, group][np.ix_(order, order)],
                cmap="RdBu_r" if signed else "viridis",
                vmin=limits[0],
                vmax=limits[1],
                interpolation="nearest",
            )
            figure.colorbar(image, ax=axes, shrink=0.8)
            title = f"{classes[1]} minus {classes[0]}" if signed else group
            axes.set_title(title, fontsize=10)
            _mark(axes, networks[order])
        line[0].set_ylabel(f"{layer} layer" if layer != "mean" else "mean of layers")
    figure.supxlabel("Rows attend, columns are attended to; 1: uniform attention", fontsize=10)
    return figure


def _mark(axes: Any, networks: np.ndarray) -> None:
    if (networks == "").all():
        axes.set(xticks=[], yticks=[])
        return
    mark_networks(axes, networks)
    axes.tick_params(labelsize=6.5)


def top_regions(regions: pd.DataFrame, k: int) -> Figure:
    """The most important regions of every method with 95 % intervals; hollow if not stable.

    Parameters
    ----------
    regions : DataFrame
        `tables.REGIONS`: one row per method and region.
    k : int
        Number of regions per method.

    Raises
    ------
    NotAvailableError
        If no region was explained.
    """
    if regions.empty:
        raise NotAvailableError(NOTHING)
    methods = list(dict.fromkeys(regions["method"]))
    colours = palette(sorted(regions["network"]))
    lines = (len(methods) + 1) // 2
    figure = new_figure(10.5, lines * (0.9 + 0.27 * k))
    panels = figure.subplots(lines, 2, squeeze=False)
    for axes, method in zip(panels.flat, methods, strict=False):
        rows = regions[regions["method"] == method].nsmallest(k, "rank")
        places = np.arange(len(rows))[::-1]
        axes.axvline(0, color="#bbbbbb", linewidth=1)
        for y, row in zip(places, rows.to_dict("records"), strict=True):
            colour = colours[row["network"]]
            axes.plot([row["importance_low"], row["importance_high"]], [y, y], color=colour, lw=2)
            face = colour if row["stable"] else "white"
            axes.plot(row["importance"], y, "o", color=colour, markerfacecolor=face, markersize=7)
        short = [n.removeprefix("7Networks_").removeprefix("17Networks_") for n in rows["name"]]
        names = [f"{n}  {f:.0%}" for n, f in zip(short, rows["frequency"], strict=True)]
        axes.set_yticks(places, names, fontsize=7.5)
        axes.set_title(NAMES[method], fontsize=10, loc="left")
        axes.set_xlabel(UNITS[method], fontsize=9)
        axes.tick_params(axis="x", labelsize=8)
    for axes in panels.flat[len(methods) :]:
        axes.set_visible(False)
    if not (regions["network"] == "").all():
        _legend(figure, colours, "outside lower center")
    return figure


def glass_brain(regions: pd.DataFrame, labels: pd.DataFrame, k: int) -> Figure:
    """The most important regions of every method at their centroids, sized by importance.

    Parameters
    ----------
    regions : DataFrame
        `tables.REGIONS`: one row per method and region.
    labels : DataFrame (n_rois rows)
        Labels of the atlas, with centroids (mm).
    k : int
        Number of regions per method.

    Raises
    ------
    NotAvailableError
        If no region was explained, or centroids are unknown.
    """
    from nilearn.plotting import plot_markers

    if regions.empty:
        raise NotAvailableError(NOTHING)
    xyz = places(labels)
    if not np.isfinite(xyz).all():
        raise NotAvailableError(
            "The atlas has no coordinates; give atlas.path, or columns x, y and z in atlas.labels."
        )
    methods = list(dict.fromkeys(regions["method"]))
    colours = palette(sorted(regions["network"]))
    figure = new_figure(7.6, 2.5 * len(methods) + 0.4, layout=None)
    share = 1 / (len(methods) + 0.16)
    for i, method in enumerate(methods):
        rows = regions[regions["method"] == method].nsmallest(k, "rank")
        size = rows["importance"].abs().to_numpy()
        size = 30 + 120 * size / max(size.max(), 1e-12)
        code = [list(colours).index(n) for n in rows["network"]]
        bottom = 1 - (i + 1) * share
        plot_markers(
            np.array(code, dtype=float),
            xyz[rows["roi"].to_numpy() - 1],
            node_size=size,
            node_cmap=mpl.colors.ListedColormap(list(colours.values())),
            node_vmin=-0.5,
            node_vmax=len(colours) - 0.5,
            display_mode="lzr",
            figure=figure,
            axes=(0, bottom, 1, share * 0.86),
            colorbar=False,
        )
        figure.text(0.01, bottom + share * 0.98, NAMES[method], fontsize=10, va="top")
    if not (regions["network"] == "").all():
        _legend(figure, colours, "lower center")
    return figure


def _legend(figure: Any, colours: dict[str, tuple], place: str) -> None:
    line = partial(mpl.lines.Line2D, [], [], marker="o", linestyle="")
    figure.legend(
        handles=[line(color=c, label=n) for n, c in colours.items()],
        loc=place,
        ncols=min(9, len(colours)),
        fontsize=8.5,
        handletextpad=0.1,
        columnspacing=1.0,
    )


def _captions(labels: pd.DataFrame, classes: list[str], k: int) -> dict[str, str]:
    _, source = networks_of(labels)
    networks = SOURCES[source][:1].upper() + SOURCES[source][1:] + "."
    return {
        "attention": "Head-averaged attention of the pre-trained encoder over the test "
        f"participants: {classes[0]}, {classes[1]} and their difference; mean of all layers, first "
        "and last. A row is how one region spreads its attention; 1 is uniform. Attention is where "
        f"the encoder looks, not why it decides. {networks}",
        "regions": f"The {k} most important regions by each method: mean over folds with its "
        "corrected 95 % interval, and in how many folds the region is among the first "
        f"{k}. Hollow: not stable, see the table.",
        "glass_brain": f"The same {k} regions at their centroids, seen from left, above and "
        "right; larger is more important.",
        "surface": "Importance of all regions as a share of the largest, on the fsaverage5 "
        "surface: parcels of the atlas's image where the surface passes through them, grey where "
        "it meets none. The surface is not in the atlas's space exactly: borders are off by "
        "millimetres.",
    }
