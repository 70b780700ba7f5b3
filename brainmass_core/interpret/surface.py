"""Regions on the cortical surface: the atlas's image projected on nilearn's packaged fsaverage5.

fsaverage is in MNI305, 2 mm from FSL's template. Its vertices are transformed to FSL's space by the
affine that FreeSurfer publishes, and from there by a bridge to the atlas's space, where labels are
read.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import matplotlib as mpl
import nibabel as nib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from nibabel.affines import apply_affine

from brainmass_core.atlas import AtlasError, resolve_atlas
from brainmass_core.config import Config
from brainmass_core.drawing import NotAvailableError, new_figure
from brainmass_core.spaces import FSL, SpaceError
from brainmass_core.spaces.bridges import bridge

SHOWN = 2  # number of methods: one of the encoder, and the baseline
VIEWS = (("left", "lateral"), ("left", "medial"), ("right", "medial"), ("right", "lateral"))
PREFERRED = ("gradient", "fc_pattern", "permutation", "attention")
ZOOM = 1.45  # zoom of the brains in their panels
# MNI305 to FSL's MNI152, mm, RAS (surfer.nmr.mgh.harvard.edu/fswiki/CoordinateSystems, case 8)
FROM_MNI305 = np.array(
    [
        [0.9975, -0.0073, 0.0176, -0.0429],
        [0.0146, 1.0009, -0.0024, 1.5496],
        [-0.0130, -0.0093, 0.9971, 1.1840],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
SIGNED = ("attention", "gradient", "permutation")


def surface(config: Config, regions: pd.DataFrame, names: dict[str, str]) -> Figure:
    """Importance of all regions on both hemispheres, lateral and medial.

    Parameters
    ----------
    regions : DataFrame
        `tables.REGIONS`: one row per method and region.
    names : dict
        Method to its title.

    Raises
    ------
    NotAvailableError
        If the atlas has no label image or another number of parcels, or there is no bridge to its
        space.
    """
    if regions.empty:
        raise NotAvailableError("No region was explained, so there is no surface.")
    try:
        atlas = resolve_atlas(config)
        image, index = atlas.load(), atlas.labels["index"].to_numpy()
        if atlas.space is not None:
            bridge(FSL, atlas.space)
    except (AtlasError, SpaceError) as error:
        raise NotAvailableError(f"No surface: {error}.") from None
    if len(index) != regions["roi"].max():
        raise NotAvailableError(
            f"No surface: the atlas image has {len(index)} parcels, the results "
            f"{regions['roi'].max()}."
        )
    explained = set(regions["method"])
    methods = [m for m in PREFERRED if m in explained][:SHOWN]
    vertices = {s: vertex_parcels(image, s, index, atlas.space) for s in ("left", "right")}
    figure = new_figure(10, 2.6 * len(methods), layout=None)
    for line, method in enumerate(methods):
        values = regions[regions["method"] == method].sort_values("roi")["importance"].to_numpy()
        _draw_line(figure, line, len(methods), method, values, vertices)
        top = 1 - line / len(methods)
        figure.text(0.01, top - 0.01, names[method], fontsize=10, va="top")
    return figure


def vertex_parcels(
    image: nib.Nifti1Image, side: str, index: np.ndarray, space: str | None
) -> np.ndarray:
    """Parcel of every vertex of a hemisphere.

    It is the most frequent label between the white and the pial surface.

    Parameters
    ----------
    side : {"left", "right"}
    index : ndarray (n_rois,)
        Label values of the parcels in the image, ascending.
    space : str or None
        Space of the image; None (unknown) is treated as FSL's.

    Returns
    -------
    ndarray (n_vertices,) of int
        Position in `index`; -1 outside all parcels.

    Raises
    ------
    SpaceError
        If there is no bridge to the space.
    """
    from nilearn.surface import load_surf_mesh, vol_to_surf

    def placed(name: str) -> tuple[np.ndarray, np.ndarray]:
        mesh = load_surf_mesh(_meshes()[f"{name}_{side}"])
        return from_mni305(mesh.coordinates, space or FSL), mesh.faces

    labels = vol_to_surf(
        image, placed("pial"), inner_mesh=placed("white"), interpolation="nearest_most_frequent"
    )
    labels = np.nan_to_num(labels).round().astype(int)
    place = np.searchsorted(index, labels).clip(0, len(index) - 1)
    return np.where(index[place] == labels, place, -1)


def from_mni305(points: np.ndarray, space: str) -> np.ndarray:
    """Transform points from MNI305, the space of fsaverage, to another space.

    Parameters
    ----------
    points : ndarray (n, 3)
        In mm, RAS.
    space : str
        TemplateFlow name.

    Returns
    -------
    ndarray (n, 3)
        In mm, RAS.

    Raises
    ------
    SpaceError
        If there is no bridge to the space.
    """
    return bridge(FSL, space)(apply_affine(FROM_MNI305, points))


@lru_cache(maxsize=1)
def _meshes() -> Any:
    from nilearn.datasets import fetch_surf_fsaverage

    return fetch_surf_fsaverage("fsaverage5")  # part of nilearn: nothing is downloaded


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
