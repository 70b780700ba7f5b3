"""Charts of correlations of confounds, FC of parcels, and coverage of parcels."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brainmass_core.atlas.parcels import network_order, same_network
from brainmass_core.connectivity import unvectorise
from brainmass_core.drawing import NotAvailableError
from brainmass_core.quality.embed import ACCENT, COOL, INK, WARM, new_figure

CONFOUNDS = (
    *(f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"),
    *("framewise_displacement", "rmsd", "std_dvars", "global_signal", "white_matter", "csf"),
    *(f"a_comp_cor_{i:02d}" for i in range(6)),
)
SHORT = {
    "framewise_displacement": "FD",
    "std_dvars": "DVARS",
    "global_signal": "global",
    "white_matter": "white",
}


def confound_chart(confounds: pd.DataFrame) -> Figure:
    """Correlations between the confounds of a run.

    Parameters
    ----------
    confounds : DataFrame (n_volumes rows)
    """
    names = [n for n in CONFOUNDS if n in confounds]
    values = confounds[names].apply(pd.to_numeric, errors="coerce")
    values = values.loc[:, values.std(ddof=0) > 0]
    if values.shape[1] < 2:
        raise NotAvailableError("The confounds table has fewer than two of the columns drawn here.")
    r = values.corr().to_numpy()
    figure, axes = new_figure(5.0, 4.4)
    image = axes.imshow(r, cmap="RdBu_r", vmin=-1, vmax=1)
    short = [SHORT.get(n, n.replace("a_comp_cor_", "CompCor ")) for n in values]
    axes.set_xticks(range(len(short)), short, rotation=90, fontsize=7.5)
    axes.set_yticks(range(len(short)), short, fontsize=7.5)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, shrink=0.8, label="correlation")
    return figure


def fc_chart(fc: np.ndarray, labels: pd.DataFrame) -> Figure:
    """FC matrix ordered by network, and the distribution of its values.

    Parameters
    ----------
    fc : ndarray (n_edges,)
        Upper triangle, row-major.
    labels : DataFrame (n_rois rows)
        With ``network``.
    """
    order = network_order(labels["network"])
    matrix = unvectorise(fc, diagonal=0.0)[np.ix_(order, order)]
    figure, (left, right) = new_figure(9.2, 4.2, ncols=2, width_ratios=[1.25, 1])
    image = left.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    figure.colorbar(image, ax=left, shrink=0.85, label="FC")
    same = same_network(labels["network"])
    if same is None:
        left.set_xlabel("parcels in the order of the atlas")
        left.set(xticks=[], yticks=[])
    else:
        mark_networks(left, labels["network"].to_numpy()[order])
    _histogram(right, fc, same)
    return figure


def mark_networks(axes: Axes, networks: np.ndarray) -> None:
    """Draw lines between networks (n_rois, ordered) and their names along both axes.

    Parameters
    ----------
    networks : ndarray (n_rois,) of str
    """
    starts = np.flatnonzero(np.r_[True, networks[1:] != networks[:-1]])
    ends = np.r_[starts[1:], len(networks)]
    for edge in starts[1:]:
        axes.axhline(edge - 0.5, color="black", linewidth=0.8)
        axes.axvline(edge - 0.5, color="black", linewidth=0.8)
    centres, names = (starts + ends - 1) / 2, networks[starts]
    axes.set_xticks(centres, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(centres, names, rotation=0)
    axes.tick_params(length=0)


def _histogram(axes: Axes, fc: np.ndarray, same: np.ndarray | None) -> None:
    bins = np.linspace(-1, 1, 61).tolist()
    groups = {"all edges": fc} if same is None else {"between": fc[~same], "within": fc[same]}
    for (name, values), colour in zip(groups.items(), (COOL, WARM), strict=False):
        label = f"{name}, mean {values.mean():.2f}"
        axes.hist(values, bins=bins, density=True, color=colour, alpha=0.6, label=label)
    axes.axvline(0, color=INK, lw=0.8)
    axes.set(xlabel="FC", ylabel="density", xlim=(-1, 1), xticks=[-1, -0.5, 0, 0.5, 1])
    axes.legend(loc="upper left", title=None if same is None else "edges of networks")


def coverage_chart(coverage: np.ndarray, labels: pd.DataFrame, limit: float) -> Figure:
    """Covered fraction of each parcel, by network.

    Parameters
    ----------
    coverage : ndarray (n_rois,)
    limit : float
        Parcels with a smaller coverage count as empty.
    """
    order = network_order(labels["network"])
    networks = labels["network"].to_numpy()[order]
    names = list(dict.fromkeys(networks))
    colours = mpl.colormaps["tab10" if len(names) <= 10 else "tab20"]
    bars = [colours(names.index(n) % colours.N) for n in networks]
    figure, axes = new_figure(9.2, 1.9)
    axes.bar(range(len(order)), coverage[order], width=1.0, color=bars)
    axes.axhline(limit, color=ACCENT, lw=1.0, ls="--")
    axes.set(ylim=(0, 1.02), xlim=(-0.5, len(order) - 0.5), ylabel="coverage")
    starts = np.flatnonzero(np.r_[True, networks[1:] != networks[:-1]])
    centres = (starts + np.r_[starts[1:], len(networks)] - 1) / 2
    axes.set_xticks(centres, networks[starts] if len(names) > 1 else ["parcels"] * len(starts))
    axes.tick_params(axis="x", length=0)
    return figure
