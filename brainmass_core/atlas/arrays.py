"""An atlas as arrays, for use from Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainmass_core.atlas import atlas_from_image, published_labels, read_lut
from brainmass_core.atlas.labels import AtlasError, complete
from brainmass_core.spaces import FSL, SpaceError, space_name

__all__ = ["AtlasArrays", "load_atlas"]


@dataclass(frozen=True)
class AtlasArrays:
    """The parcels of an atlas, in the order of the columns of time series and the rows of FC.

    Attributes
    ----------
    index : ndarray (n_rois,) of int
        Value of each parcel in the label image.
    names, networks : ndarray (n_rois,) of str
        Empty where the network is not known.
    centres : ndarray (n_rois, 3)
        Millimetres, RAS, in `space`; NaN where they are not known.
    space : str or None
        TemplateFlow name of the space of image and centres; None where nothing says it.
    """

    index: np.ndarray
    names: np.ndarray
    networks: np.ndarray
    centres: np.ndarray
    space: str | None

    def __len__(self) -> int:
        return len(self.index)


def load_atlas(
    image: str | Path | None = None,
    labels: str | Path | None = None,
    space: str | None = None,
) -> AtlasArrays:
    """Read the parcels of an atlas from its label image, its look-up table, or both.

    Parameters
    ----------
    image : path, optional
        3-D image of integers, 0 outside the parcels.
    labels : path, optional
        Look-up table, as atlases are published with: index, name, and if known network and
        centroid. Default: parcels are called ``roi-1`` and so on; without an image, those of
        Schaefer2018-100-7networks, which come with the package.
    space : str, optional
        Space of the image, or of the centroids of the table. Default: what the checksum or the name
        of the image says (``tpl-``, ``space-``).

    Returns
    -------
    AtlasArrays
        Centroids are those of the table, else centres of mass of the image.

    Raises
    ------
    AtlasError
        If a file cannot be read or is no label image or table, if a label of the image has no row
        in the table, or if sources contradict each other on the space. Messages call `labels` and
        `space` ``atlas.labels`` and ``atlas.space``, as in a configuration.

    Examples
    --------
    >>> atlas = load_atlas()  # Schaefer, 100 parcels, 7 networks
    >>> atlas.names[0], atlas.networks[0], atlas.space
    ('7Networks_LH_Vis_1', 'Vis', 'MNI152NLin6Asym')
    """
    lut = None if labels is None else read_lut(Path(labels))
    if image is not None:
        found = atlas_from_image(Path(image), "atlas", space, lut, placed=False)
        table, there = found.labels, found.space
    elif lut is not None:
        table, there = complete(lut.sort_values("index")), _named(space)
    else:
        table, there = complete(published_labels()), FSL
    return AtlasArrays(
        index=table["index"].to_numpy(np.int64),
        names=table["name"].to_numpy(str),
        networks=table["network"].to_numpy(str),
        centres=table[["x", "y", "z"]].to_numpy(float),
        space=there,
    )


def _named(space: str | None) -> str | None:
    try:
        return None if space is None else space_name(space)
    except SpaceError as error:
        raise AtlasError(f"space: {error}") from None
