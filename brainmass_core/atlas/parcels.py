"""Names, networks and places of the parcels of results that are already there."""

from __future__ import annotations

import numpy as np
import pandas as pd

from brainmass_core.atlas import PUBLISHED, VORONOI, AtlasError, published_labels, resolve_atlas
from brainmass_core.config import Config


def parcels(config: Config, atlas: str, n_rois: int) -> pd.DataFrame:
    """Names, networks and centroids (mm, RAS); numbers alone where the atlas is not at hand.

    Parameters
    ----------
    atlas : str
        Name that the series carry, which differs from the configuration's for the approximation.

    Returns
    -------
    DataFrame (n_rois rows)
        name, network (empty where unknown), x, y, z (NaN where unknown).
    """
    labels = None
    if atlas in (VORONOI, PUBLISHED):
        labels = published_labels()
    else:
        try:
            labels = resolve_atlas(config).labels
        except AtlasError:  # the results are complete without: the page says what is missing
            labels = None
    if labels is None or len(labels) != n_rois:
        names = [f"roi-{i}" for i in range(1, n_rois + 1)]
        labels = pd.DataFrame({"name": names, "network": "", "x": np.nan, "y": np.nan, "z": np.nan})
    return labels.reset_index(drop=True)


def network_order(networks: pd.Series) -> np.ndarray:
    """Parcels (n_rois,) network by network, networks as they first appear."""
    first = {n: i for i, n in enumerate(dict.fromkeys(networks))}
    return np.argsort(networks.map(first).to_numpy(), kind="stable")


def same_network(networks: pd.Series) -> np.ndarray | None:
    """Which edges (n_edges,) lie within a network, upper triangle, row-major.

    None where the atlas does not name a network for every parcel, or all edges are of one kind.
    """
    names = networks.to_numpy()
    rows, columns = np.triu_indices(len(names), 1)
    same = np.asarray(names[rows] == names[columns])
    if (networks == "").any() or same.all() or not same.any():
        return None
    return same
