"""Charts of the cohort page: distributions of measures, and QC-FC."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from brainmass_core.quality.embed import ACCENT, COOL, INK, WARM, new_figure
from brainmass_core.quality.measures import Measure, Reference
from brainmass_core.quality.motion import MotionInFc

MAX_POINTS = 1500  # per chart; more are thinned evenly by rank
GOLDEN = 0.618034
SIZE = (3.6, 2.0)


def thinned(values: np.ndarray, limit: int = MAX_POINTS) -> np.ndarray:
    """At most `limit` values, evenly spaced by rank, including minimum and maximum.

    Parameters
    ----------
    values : ndarray (n,)

    Returns
    -------
    ndarray (min(n, limit),)
        Sorted.
    """
    ordered = np.sort(values)
    if len(ordered) <= limit:
        return ordered
    return ordered[np.linspace(0, len(ordered) - 1, limit).round().astype(int)]


def distribution_chart(
    measure: Measure,
    values: np.ndarray,
    lost: np.ndarray,
    limit: float | None,
    reference: Reference | None,
    outlier_z: float,
) -> Figure:
    """Distribution of one measure: density, individual scans, threshold and outlier limit.

    Parameters
    ----------
    values, lost : ndarray (n,)
        Values of scans that were kept, and of those that failed or were excluded.
    """
    figure, axes = new_figure(*SIZE)
    kept, gone = thinned(measure.scale * values), thinned(measure.scale * lost)
    everything = np.concatenate([kept, gone])
    if len(kept) > 4 and np.ptp(kept) > 1e-9:
        grid = np.linspace(everything.min(), everything.max(), 200)
        density = stats.gaussian_kde(kept)(grid)
        axes.fill_between(grid, 0.5 + density / density.max(), 0.5, color=COOL, alpha=0.25, lw=0)
    for sample, colour in ((kept, COOL), (gone, ACCENT)):
        # evenly spaced by rank: no random numbers in a figure
        height = 0.45 * ((np.arange(len(sample)) * GOLDEN) % 1)
        axes.scatter(sample, height, s=9, color=colour, alpha=0.55, linewidths=0)
    if limit is not None:
        axes.axvline(measure.scale * limit, color=ACCENT, lw=1.0, ls="--")
    if reference is not None:
        side = 1 if measure.bad == "high" else -1
        bound = reference.median + side * outlier_z * reference.spread
        axes.axvline(measure.scale * bound, color=WARM, lw=1.0, ls=":")
    axes.set(yticks=[], ylim=(-0.05, 1.6), xlabel=measure.unit or " ")
    axes.spines["left"].set_visible(False)
    axes.set_title(measure.label, loc="left")
    return figure


def qcfc_histogram(result: MotionInFc) -> Figure:
    """Distribution of QC-FC over edges, with the expected distribution without motion effects."""
    r = result.found.r[np.isfinite(result.found.r)]
    top = max(0.2, 1.05 * float(np.abs(r).max()))
    bins = np.linspace(-top, top, 61)
    figure, axes = new_figure(4.6, 2.9)
    axes.hist(r, bins=bins.tolist(), density=True, color=COOL, alpha=0.6, label="edges")
    # null distribution of r, from Student's t
    dof, grid = result.found.dof, np.linspace(-top, top, 300)
    inside = np.abs(grid) < 1
    t = grid[inside] * np.sqrt(dof / (1 - grid[inside] ** 2))
    slope = np.sqrt(dof) / (1 - grid[inside] ** 2) ** 1.5
    axes.plot(grid[inside], stats.t.pdf(t, dof) * slope, color=INK, label="expected without motion")
    axes.axvline(float(np.median(r)), color=ACCENT, lw=1.0, ls="--", label="median")
    axes.set(xlabel="QC-FC (correlation of motion and FC)", ylabel="density", yticks=[])
    axes.legend(loc="upper left")
    return figure


def distance_chart(result: MotionInFc) -> Figure:
    """QC-FC against the length of edges, with the median in bins of equal size."""
    assert result.length is not None
    known = np.isfinite(result.found.r)
    length, r = result.length[known], result.found.r[known]
    figure, axes = new_figure(4.6, 2.9)
    axes.hexbin(length, r, gridsize=45, cmap="Blues", mincnt=1, linewidths=0.1, bins="log")
    bins = pd.qcut(length, min(20, max(2, len(length) // 20)), duplicates="drop")
    middle = pd.DataFrame({"x": length, "y": r}).groupby(bins, observed=True).median()
    axes.plot(middle["x"], middle["y"], color=ACCENT, lw=1.6, label="median")
    axes.axhline(0, color=INK, lw=0.8)
    axes.set(xlabel="distance between parcels (mm)", ylabel="QC-FC")
    axes.legend(loc="upper right")
    return figure


def freedom_chart(motion: np.ndarray, dof: np.ndarray) -> Figure:
    """Residual degrees of freedom against motion, to show the effect of censoring.

    Parameters
    ----------
    motion : ndarray (n_scans,)
        Mean framewise displacement, mm.
    dof : ndarray (n_scans,)
    """
    figure, axes = new_figure(4.6, 2.9)
    order = np.argsort(motion, kind="stable")
    if len(order) > MAX_POINTS:
        order = order[np.linspace(0, len(order) - 1, MAX_POINTS).round().astype(int)]
    axes.scatter(motion[order], dof[order], s=9, color=COOL, alpha=0.55, linewidths=0)
    axes.set(xlabel="mean framewise displacement (mm)", ylabel="residual degrees of freedom")
    axes.set_ylim(bottom=0)
    return figure
