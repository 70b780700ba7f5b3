"""Charts over time: motion, displacement, DVARS, mean signals, and carpet plots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import label

from brainmass_core.drawing import NotAvailableError
from brainmass_core.quality.embed import ACCENT, INK, SERIES, new_figure

SIGNALS = {"global_signal": "brain", "white_matter": "white matter", "csf": "CSF"}
TISSUES = {1: "Grey", 2: "White", 3: "CSF"}
WIDTH = 9.2  # inches
CARPET_LIMIT = 2.0  # percent that is displayed as black or white


@dataclass(frozen=True)
class Timeline:
    """Data for the charts over time.

    Attributes
    ----------
    confounds : DataFrame (n_volumes rows)
        With fMRIPrep's names; any columns.
    censored : ndarray (n_volumes,) of bool
    fd_threshold : float
        mm.
    dvars_threshold : float or None
    t_r : float
        s.
    """

    confounds: pd.DataFrame
    censored: np.ndarray
    fd_threshold: float
    dvars_threshold: float | None
    t_r: float


def motion_chart(shown: Timeline) -> Figure:
    """Translation, rotation, displacement, DVARS and mean signals in a column of panels."""
    rows = (_translation, _rotation, _displacement, _dvars, _signals)
    present = [row for row in rows if row(None, shown)]
    if not present:
        raise NotAvailableError("The confounds table has none of the columns that are drawn here.")
    figure, panels = new_figure(
        WIDTH, 0.35 + 1.05 * len(present), nrows=len(present), sharex=True, squeeze=False
    )
    for axes, row in zip(panels[:, 0], present, strict=True):
        row(axes, shown)
        shade(axes, shown.censored)
        axes.margins(x=0)
    panels[-1, 0].set_xlabel(f"volume (repetition time {shown.t_r:g} s)")
    panels[-1, 0].set_xlim(0, len(shown.confounds) - 1)
    figure.align_ylabels()
    return figure


def shade(axes: Axes, censored: np.ndarray) -> None:
    """Shade the censored volumes.

    Parameters
    ----------
    censored : ndarray (n_volumes,) of bool
    """
    stretches, n = label(censored)
    for k in range(1, n + 1):
        at = np.flatnonzero(stretches == k)
        axes.axvspan(at[0] - 0.5, at[-1] + 0.5, color=ACCENT, alpha=0.22, lw=0)


def _column(shown: Timeline, name: str) -> np.ndarray | None:
    if name not in shown.confounds:
        return None
    values = pd.to_numeric(shown.confounds[name], errors="coerce").to_numpy(dtype=float)
    return values if np.isfinite(values).any() else None


def _lines(axes: Axes, lines: dict[str, np.ndarray], y_label: str) -> None:
    for (name, values), colour in zip(lines.items(), SERIES, strict=False):
        axes.plot(values, color=colour, label=name)
    if len(lines) > 1:
        axes.legend(ncols=3, loc="upper right", bbox_to_anchor=(1, 1.18), handlelength=1.2)
    axes.set_ylabel(y_label)


def _parameters(axes: Axes | None, shown: Timeline, kind: str, scale: float, text: str) -> bool:
    lines = {a: _column(shown, f"{kind}_{a}") for a in "xyz"}
    known = {a: scale * v for a, v in lines.items() if v is not None}
    if axes is not None:
        _lines(axes, known, text)
    return bool(known)


def _translation(axes: Axes | None, shown: Timeline) -> bool:
    return _parameters(axes, shown, "trans", 1.0, "shift (mm)")


def _rotation(axes: Axes | None, shown: Timeline) -> bool:
    return _parameters(axes, shown, "rot", 180 / np.pi, "turn (°)")


def _displacement(axes: Axes | None, shown: Timeline) -> bool:
    values = _column(shown, "framewise_displacement")
    if values is not None and axes is not None:
        _limited(axes, values, shown.fd_threshold, "FD (mm)")
    return values is not None


def _dvars(axes: Axes | None, shown: Timeline) -> bool:
    values = _column(shown, "std_dvars")
    if values is not None and axes is not None:
        _limited(axes, values, shown.dvars_threshold, "std. DVARS")
    return values is not None


def _limited(axes: Axes, values: np.ndarray, limit: float | None, text: str) -> None:
    axes.plot(values, color=SERIES[0])
    top = 1.1 * np.nanmax(values)
    # a limit far above the values would flatten the curve
    if limit is not None and limit < 3 * top:
        axes.axhline(limit, color=ACCENT, lw=0.9, ls="--")
        top = max(top, 1.15 * limit)
    elif limit is not None:
        axes.set_title(f"threshold {limit:g}, above the axis", loc="right", fontsize=8)
    axes.set_ylim(0, top)
    axes.set_ylabel(text)


def _signals(axes: Axes | None, shown: Timeline) -> bool:
    lines = {text: _column(shown, name) for name, text in SIGNALS.items()}
    known = {}
    for text, values in lines.items():
        if values is not None and np.nanmean(values) != 0:
            known[text] = 100 * (values / np.nanmean(values) - 1)
    if axes is not None:
        _lines(axes, known, "signal (%)")
    return bool(known)


def carpet_chart(
    before: np.ndarray, after: np.ndarray | None, tissue: np.ndarray, censored: np.ndarray
) -> Figure:
    """Carpet plot of voxels before and after denoising.

    Parameters
    ----------
    before : ndarray (n_volumes, n_voxels)
        Percent change.
    after : ndarray (n_volumes, n_voxels) or None
        Cleaned; NaN for removed volumes.
    tissue : ndarray (n_voxels,)
        1 grey matter, 2 white matter, 3 CSF, ascending.
    censored : ndarray (n_volumes,) of bool
    """
    pictures = [("Before denoising", before)]
    if after is not None:
        pictures.append(("After: cleaned with the regressors and filter of the time series", after))
    figure, panels = new_figure(
        WIDTH, 0.4 + 2.5 * len(pictures), nrows=len(pictures), sharex=True, squeeze=False
    )
    for axes, (title, values) in zip(panels[:, 0], pictures, strict=True):
        axes.imshow(
            values.T,
            **{"aspect": "auto", "cmap": "gray", "interpolation": "antialiased"},
            vmin=-CARPET_LIMIT,
            vmax=CARPET_LIMIT,
        )
        shade(axes, censored)
        _sections(axes, tissue)
        axes.set_title(title, loc="left")
    panels[-1, 0].set_xlabel("volume")
    return figure


def _sections(axes: Axes, tissue: np.ndarray) -> None:
    ticks = []
    for value, name in TISSUES.items():
        rows = np.flatnonzero(tissue == value)
        if len(rows):
            ticks.append((rows.mean(), name))
            axes.axhline(rows[0] - 0.5, color=SERIES[1], lw=1.0)
    axes.set_yticks([t for t, _ in ticks], [n for _, n in ticks], rotation=90, va="center")
    axes.tick_params(axis="y", length=0)


def parcel_carpet_chart(bold: np.ndarray, order: np.ndarray, n_networks: int) -> Figure:
    """Carpet plot of clean, standardised parcel series, if no voxel sample was stored.

    Parameters
    ----------
    bold : ndarray (n_timepoints, n_rois)
    order : ndarray (n_rois,)
    """
    figure, axes = new_figure(WIDTH, 2.8)
    spread = np.nanstd(bold, axis=0)
    z = (bold - np.nanmean(bold, axis=0)) / np.where(spread > 0, spread, 1)
    axes.imshow(
        z.T[order],
        **{"aspect": "auto", "cmap": "gray", "interpolation": "antialiased"},
        vmin=-2.5,
        vmax=2.5,
    )
    axes.set_xlabel("timepoint")
    axes.set_ylabel("parcels" + (", by network" if n_networks > 1 else ""), color=INK)
    axes.set_yticks([])
    return figure
