"""Label images and their look-up tables."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import as_file, files
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

import brainmass_core.readers.lut as lut_reader
from brainmass_core.readers.files import FileError
from brainmass_core.readers.image import read_image

LARGEST = 2**31 - 1  # largest label, stored as int32
COLUMNS = ["index", "name", "network", "x", "y", "z"]


class AtlasError(ValueError):
    """An atlas is not available or cannot be used."""


def read_labels(path: Path) -> nib.Nifti1Image:
    """Read a label image as int32.

    Raises
    ------
    AtlasError
        If it is unreadable, not 3-D, not of integers, negative or without labels.
    """
    try:
        data, affine = read_image(path)
    except FileError as error:
        raise AtlasError(f"{error}: not a readable label image") from None
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise AtlasError(
            f"{path}: found shape {data.shape}, expected 3 dimensions; probabilistic atlases need "
            "to be made into one label per voxel first"
        )
    labels = np.rint(data)
    if not np.array_equal(labels, data) or labels.min() < 0 or float(labels.max()) > LARGEST:
        odd = data[(labels != data) | (data < 0) | (data > LARGEST)].ravel()[:3].tolist()
        raise AtlasError(
            f"{path}: found values such as {odd}, expected integers from 0 to {LARGEST}; resample "
            "label images with nearest neighbour"
        )
    if np.unique(labels).size < 3:
        raise AtlasError(f"{path}: found fewer than two labels, expected one value per parcel")
    return nib.Nifti1Image(labels.astype(np.int32), affine)


def read_lut(path: Path) -> pd.DataFrame:
    """Read a look-up table of labels, see `readers.lut`.

    Raises
    ------
    AtlasError
        If its format is unknown, or an index or a name is duplicated.
    """
    try:
        return lut_reader.read_lut(Path(path))
    except FileError as error:
        raise AtlasError(str(error)) from None


def complete(lut: pd.DataFrame) -> pd.DataFrame:
    """Add missing columns: networks from the names, and NaN for unknown centroids.

    Parameters
    ----------
    lut : DataFrame (n_rois rows)
        index and name, and optionally network, x, y and z.

    Returns
    -------
    DataFrame (n_rois rows)
        Columns `COLUMNS`; x, y, z in mm.
    """
    lut = lut.assign(name=lut["name"].astype(str))
    if "network" not in lut:
        lut = lut.assign(network=[network_of(n) for n in lut["name"]])
    for axis in "xyz":
        if axis not in lut:
            lut = lut.assign(**{axis: np.nan})
    lut = lut.assign(network=lut["network"].fillna("").astype(str))
    return lut[COLUMNS].reset_index(drop=True)


def network_of(name: str) -> str:
    """Network in a Schaefer-style label, ``7Networks_LH_Vis_1`` -> ``Vis``; empty if none."""
    match = re.match(r"^(?:\d+Networks_)?[LR]H_([A-Za-z]+)", name)
    return match[1] if match else ""


def published_labels() -> pd.DataFrame:
    """Labels, networks and centroids (mm, RAS) of Schaefer-100, 7 networks (CBIG, MIT).

    Returns
    -------
    DataFrame (100 rows)
        index, name, network, x, y and z.
    """
    with as_file(files("brainmass_core") / "data" / "schaefer2018_100_7networks.tsv") as table:
        return lut_reader.read_lut(table)


def digest_of(image: nib.Nifti1Image) -> str:
    """SHA-256 of shape, affine and labels, independent of compression and data type."""
    data = np.ascontiguousarray(np.asarray(image.dataobj), dtype="<i4")
    affine = np.round(image.affine, 4).astype("<f8") + 0.0  # no negative zero
    return digest(repr(data.shape).encode() + affine.tobytes() + data.tobytes())


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
