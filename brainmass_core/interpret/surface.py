"""Regions on the cortical surface: the atlas's image projected on nilearn's packaged fsaverage5."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import matplotlib as mpl
import nibabel as nib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from brainmass_core.atlas import AtlasError, resolve_atlas
from brainmass_core.config import Config
from brainmass_core.drawing import NotAvailableError, new_figure

SHOWN = 2  # methods: one of the encoder, the baseline
VIEWS = (("left", "lateral"), ("left", "medial"), ("right", "medial"), ("right", "lateral"))
PREFERRED = ("gradient", "fc_pattern", "permutation", "attention")
ZOOM = 1.45  # of the brains in their panels
SIGNED = ("attention", "gradient", "permutation")


def surface(config: Config, regions: pd.DataFrame, names: dict[str, str]) -> Figure:
    """Importance of all regions on both hemispheres, lateral and medial.

    Raises
    ------
    NotAvailableError
        If the atlas has no label image, or another number of parcels.
    """
    if regions.empty:
        raise NotAvailableError("No region was explained, so there is no surface.")
    try:
        atlas = resolve_atlas(config)
        image, index = atlas.load(), atlas.labels["index"].to_numpy()
    except AtlasError as error:
        raise NotAvailableError(f"No surface: {error}.") from None
    if len(index) != regions["roi"].max():
        raise NotAvailableError(
            f"No surface: the atlas image has {len(index)} parcels, the results "
            f"{regions['roi'].max()}."
        )
    explained = set(regions["method"])
    methods = [m for m in PREFERRED if m in explained][:SHOWN]
    vertices = {side: vertex_parcels(image, side, index) for side in ("left", "right")}
    figure = new_figure(10, 2.6 * len(methods), layout=None)
    for line, method in enumerate(methods):
        values = regions[regions["method"] == method].sort_values("roi")["importance"].to_numpy()
        _draw_line(figure, line, len(methods), method, values, vertices)
        top = 1 - line / len(methods)
        figure.text(0.01, top - 0.01, names[method], fontsize=10, va="top")
    return figure


def vertex_parcels(image: nib.Nifti1Image, side: str, index: np.ndarray) -> np.ndarray:
    """Parcel (n_vertices,) of every vertex as a position in `index`; -1 outside all parcels.

    The most frequent label between the white and the pial surface.
    """
    from nilearn.surface import vol_to_surf

    mesh = _meshes()
    labels = vol_to_surf(
        image,
        mesh[f"pial_{side}"],
        inner_mesh=mesh[f"white_{side}"],
        interpolation="nearest_most_frequent",
    )
    labels = np.nan_to_num(labels).round().astype(int)
    place = np.searchsorted(index, labels).clip(0, len(index) - 1)
    return np.where(index[place] == labels, place, -1)


@lru_cache(maxsize=1)
def _meshes() -> Any:
    from nilearn.datasets import fetch_surf_fsaverage

    return fetch_surf_fsaverage("fsaverage5")  # lies in the package: nothing is fetched


def _draw_line(
    figure: Figure,
    line: int,
    n_lines: int,
    method: str,
    values: np.ndarray,
    vertices: dict[str, np.ndarray],
) -> None:
    from nilearn.plotting import plot_surf_stat_map

    share = values / max(float(np.abs(values).max()), 1e-12)
    signed = method in SIGNED
    cmap = "RdBu_r" if signed else "YlOrRd"
    low = -1.0 if signed else float(share.min())
    for column, (side, view) in enumerate(VIEWS):
        box = (0.225 * column, 1 - (line + 0.97) / n_lines, 0.225, 0.87 / n_lines)
        axes: Any = figure.add_axes(box, projection="3d")
        parcel = vertices[side]
        plot_surf_stat_map(
            _meshes()[f"infl_{side}"],
            np.where(parcel >= 0, share[parcel], np.nan),
            bg_map=_meshes()[f"sulc_{side}"],
            hemi=side,
            view=view,
            cmap=cmap,
            vmin=low,
            vmax=1.0,
            symmetric_cbar=signed,
            colorbar=False,
            axes=axes,
            figure=figure,
        )
        axes.set_box_aspect(None, zoom=ZOOM)
        axes.set_title(f"{side}, {view}", fontsize=8, y=-0.02)
    bar = figure.add_axes((0.92, 1 - (line + 0.85) / n_lines, 0.012, 0.6 / n_lines))
    colours = mpl.cm.ScalarMappable(mpl.colors.Normalize(low, 1), cmap)
    figure.colorbar(colours, cax=bar, label="share of the largest")
