"""Names, networks and positions of the parcels of existing results."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from brainmass_core.atlas import PUBLISHED, VORONOI, AtlasError, published_labels, resolve_atlas
from brainmass_core.atlas.schaefer import VORONOI_SPACE
from brainmass_core.config import Config
from brainmass_core.spaces import FSL, ICBM_2009A, SpaceError
from brainmass_core.spaces.bridges import bridge

log = logging.getLogger(__name__)
FIGURES = ICBM_2009A  # nilearn draws brains on its own template


def parcels(config: Config, atlas: str, n_rois: int) -> pd.DataFrame:
    """Names, networks and centroids (mm, RAS); only numbers if the atlas is not available.

    Parameters
    ----------
    atlas : str
        Name in the time-series table, which differs from the configuration's for the approximation.

    Returns
    -------
    DataFrame (n_rois rows)
        name, network (empty if unknown), x, y, z (NaN if unknown), space (of x, y, z; empty if
        unknown).
    """
    labels, space = None, None
    if atlas in (VORONOI, PUBLISHED):
        labels, space = published_labels(), VORONOI_SPACE if atlas == VORONOI else FSL
    else:
        try:
            found = resolve_atlas(config)
            labels, space = found.labels, found.space
        except AtlasError:  # results are complete without it; the page says what is missing
            labels = None
    if labels is None or len(labels) != n_rois:
        names = [f"roi-{i}" for i in range(1, n_rois + 1)]
        labels = pd.DataFrame({"name": names, "network": "", "x": np.nan, "y": np.nan, "z": np.nan})
    return labels.reset_index(drop=True).assign(space=space or "")


def places(labels: pd.DataFrame, space: str = FIGURES) -> np.ndarray:
    """Centroids (n_rois, 3) of the parcels in a space, mm, RAS.

    Parameters
    ----------
    labels : DataFrame (n_rois rows)
        Result of `parcels`. If the space is unknown, x, y and z are used unchanged.
    space : str
        Default: that of nilearn's template, the background of figures.

    Returns
    -------
    ndarray (n_rois, 3)
        NaN for parcels without coordinates, and for all parcels if there is no bridge.
    """
    xyz = labels[["x", "y", "z"]].to_numpy(float)
    own = labels["space"].iloc[0] if "space" in labels and len(labels) else ""
    if not own or own == space:
        return xyz
    try:
        lead = bridge(own, space)
    except SpaceError as error:
        log.warning("the parcels are not drawn: %s", error)
        return np.full_like(xyz, np.nan)
    known = np.isfinite(xyz).all(axis=1)
    there = np.full_like(xyz, np.nan)
    there[known] = lead(xyz[known])
    return there


def network_order(networks: pd.Series) -> np.ndarray:
    """Indices of parcels (n_rois,) sorted by network, in the order of first appearance.

    Parameters
    ----------
    networks : Series (n_rois,)
        Names of networks.

    Returns
    -------
    ndarray (n_rois,) of int
    """
    first = {n: i for i, n in enumerate(dict.fromkeys(networks))}
    return np.argsort(networks.map(first).to_numpy(), kind="stable")


def same_network(networks: pd.Series) -> np.ndarray | None:
    """Whether edges (n_edges,) are within a network, upper triangle, row-major.

    None if a parcel has no network, or all edges are of the same kind.

    Parameters
    ----------
    networks : Series (n_rois,)
        Names of networks; empty if unknown.

    Returns
    -------
    ndarray (n_edges,) of bool, or None
    """
    names = networks.to_numpy()
    rows, columns = np.triu_indices(len(names), 1)
    same = np.asarray(names[rows] == names[columns])
    if (networks == "").any() or same.all() or not same.any():
        return None
    return same
