"""The network of every region, from the atlas or from the nearest Schaefer-100 parcel."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

from brainmass_core.atlas import published_labels
from brainmass_core.atlas.parcels import places
from brainmass_core.atlas.schaefer import MAX_DISTANCE
from brainmass_core.spaces import FSL

NO_NETWORK = "none"
SOURCES = {
    "atlas": "networks as the atlas names them",
    "nearest": "the atlas names no networks: each region has that of the nearest of the "
    f"Schaefer-100 parcels within {MAX_DISTANCE:g} mm, else {NO_NETWORK!r}",
    "": "the atlas names no networks and its labels have no coordinates, so there is no summary "
    "by network; give atlas.path, or columns network or x, y and z in atlas.labels",
}


def networks_of(labels: pd.DataFrame) -> tuple[np.ndarray, str]:
    """Network of each region and its source.

    Parameters
    ----------
    labels : DataFrame (n_rois rows)
        network (empty if unknown), x, y, z (mm, RAS; NaN if unknown).

    Returns
    -------
    ndarray (n_rois,) of str
        Empty strings if no networks are known.
    str
        A key of `SOURCES`.
    """
    named = labels["network"].fillna("").astype(str).to_numpy(dtype=object)
    if (named != "").any():
        return np.where(named == "", NO_NETWORK, named).astype(str), "atlas"
    xyz = places(labels, FSL)  # the space of the published centroids
    if not np.isfinite(xyz).all():
        return named.astype(str), ""
    known = published_labels()
    distance, nearest = KDTree(known[["x", "y", "z"]].to_numpy(float)).query(xyz)
    names = known["network"].to_numpy(dtype=object)[nearest]
    return np.where(distance <= MAX_DISTANCE, names, NO_NETWORK).astype(str), "nearest"
