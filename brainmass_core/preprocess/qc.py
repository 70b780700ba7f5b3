"""One picture per scan: is the brain found, does the BOLD lie on it, did the head lie still?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from nibabel.affines import apply_affine

from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.segmentation import WHITE
from brainmass_core.preprocess.template import Template
from brainmass_core.preprocess.transforms import ScanTransforms
from brainmass_core.tables import atomic_path

N_SLICES = 7
DPI = 80
BRAIN, WHITE_MATTER, TRACE = "#e41a1c", "#ffd92f", "#1f78b4"


@dataclass(frozen=True)
class Pictured:
    """What the picture shows.

    Attributes
    ----------
    title : str
    t1w, tissue : Volume (x, y, z)
        On one grid.
    boldref : Volume (x, y, z)
    template : Template
    transforms : ScanTransforms
    confounds : DataFrame (n_volumes rows)
    fd_threshold : float
        mm.
    """

    title: str
    t1w: Volume
    tissue: Volume
    boldref: Volume
    template: Template
    transforms: ScanTransforms
    confounds: pd.DataFrame
    fd_threshold: float


def qc_figure(path: Path, shown: Pictured) -> None:
    """Draw and write the picture (PNG)."""
    figure = Figure(figsize=(14, 13.5), facecolor="white")
    FigureCanvasAgg(figure)
    rows = figure.add_gridspec(5, N_SLICES, height_ratios=[2, 2, 2, 0.9, 0.9], hspace=0.22)
    images = [
        ("T1w: brain (red), white matter (yellow)", *_on_t1w(shown)),
        ("BOLD reference with the T1w's contours", *_on_bold(shown)),
        ("T1w in template space with the template's contours", *_in_template(shown)),
    ]
    for row, (title, background, brain, white) in enumerate(images):
        for column, (axis, share) in enumerate(_cuts()):
            axes = figure.add_subplot(rows[row, column])
            _draw(axes, background, brain, white, axis, share)
            if column == 0:
                axes.set_title(title, loc="left", fontsize=10)
    _trace(figure.add_subplot(rows[3, :]), shown.confounds, "framewise_displacement", "FD (mm)")
    figure.axes[-1].axhline(shown.fd_threshold, color=BRAIN, lw=0.8, ls="--")
    _trace(figure.add_subplot(rows[4, :]), shown.confounds, "std_dvars", "std. DVARS")
    figure.axes[-1].set_xlabel("volume")
    figure.suptitle(shown.title, x=0.12, y=0.92, ha="left", fontsize=11)
    with atomic_path(path) as temporary:
        figure.savefig(
            temporary, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None}
        )


def _cuts() -> list[tuple[int, float]]:
    """Four axial, two sagittal and one coronal cut: axis, and place between 0 and 1."""
    return [(2, 0.25), (2, 0.42), (2, 0.58), (2, 0.75), (0, 0.35), (0, 0.53), (1, 0.5)]


def _on_t1w(shown: Pictured) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    tissue = shown.tissue.data
    return _square(
        shown.t1w, shown.t1w.data, (tissue > 0).astype(float), (tissue == WHITE).astype(float)
    )


def _on_bold(shown: Pictured) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """BOLD pulled onto the T1w's grid, where contours are finer than BOLD voxels."""
    points = apply_affine(shown.transforms.t1w_to_boldref, shown.t1w.points())
    bold = shown.boldref.at(points).reshape(shown.t1w.data.shape)
    tissue = shown.tissue.data
    return _square(shown.t1w, bold, (tissue > 0).astype(float), (tissue == WHITE).astype(float))


def _in_template(shown: Pictured) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    grid, mask = shown.template.brain, shown.template.mask
    points = shown.transforms.normalisation.template_to_t1w(grid.points())
    t1w = shown.t1w.at(points).reshape(mask.shape)
    white = shown.template.priors[..., 2] * mask
    return _square(grid, t1w, mask.astype(float), white)


def _square(grid: Volume, *images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images that share a grid, unchanged: their voxels are cubes already."""
    assert np.allclose(grid.voxel_size, grid.voxel_size[0])
    background, brain, white = images
    return background, brain, white


def _draw(
    axes: Axes,
    background: np.ndarray,
    brain: np.ndarray,
    white: np.ndarray,
    axis: int,
    share: float,
) -> None:
    """One cut; left of the picture is left of the head."""
    occupied = np.flatnonzero(brain.any(axis=tuple({0, 1, 2} - {axis})))
    index = int(occupied[0] + share * (occupied[-1] - occupied[0]))
    cut = np.take(background, index, axis=axis).T
    top = np.percentile(background[brain > 0.5], 99.5)
    axes.imshow(cut, origin="lower", cmap="gray", vmin=0, vmax=max(float(top), 1e-6))
    for outline, color, width in ((white, WHITE_MATTER, 0.5), (brain, BRAIN, 0.9)):
        layer = np.take(outline, index, axis=axis).T
        if layer.min() < 0.5 < layer.max():
            axes.contour(layer, [0.5], colors=color, linewidths=width)
    axes.set_axis_off()


def _trace(axes: Axes, confounds: pd.DataFrame, column: str, label: str) -> None:
    axes.plot(confounds[column].to_numpy(), color=TRACE, lw=0.9)
    axes.set_ylabel(label, fontsize=9)
    axes.set_xlim(0, len(confounds) - 1)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
