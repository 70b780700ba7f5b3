"""Label images and their look-up tables."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
import pandas as pd

COLUMNS = ["index", "name", "network", "x", "y", "z"]


class AtlasError(ValueError):
    """An atlas that cannot be had or cannot be used."""


def read_labels(path: Path) -> nib.Nifti1Image:
    """Read a label image as int32.

    Raises
    ------
    AtlasError
        If it is unreadable, not 3-D, not of integers, negative or without labels.
    """
    try:
        image = cast(nib.Nifti1Image, nib.load(path))
        data = np.asanyarray(image.dataobj)
    except Exception as error:
        raise AtlasError(f"{path}: not a readable label image ({error}); check the file") from None
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise AtlasError(
            f"{path}: found shape {data.shape}, expected 3 dimensions; probabilistic atlases need "
            "to be made into one label per voxel first"
        )
    labels = np.rint(data)
    if not np.array_equal(labels, data) or labels.min() < 0:
        odd = data[(labels != data) | (data < 0)].ravel()[:3].tolist()
        raise AtlasError(
            f"{path}: found values such as {odd}, expected integers from 0; resample label images "
            "with nearest neighbour"
        )
    if np.unique(labels).size < 3:
        raise AtlasError(f"{path}: found fewer than two labels, expected one value per parcel")
    return nib.Nifti1Image(labels.astype(np.int32), image.affine)


def read_lut(path: Path) -> pd.DataFrame:
    """Read a look-up table of labels.

    Raises
    ------
    AtlasError
        If the columns ``index`` and ``name`` are missing, or an index stands twice.
    """
    lut = pd.read_csv(path, sep="," if Path(path).suffix == ".csv" else "\t")
    if not {"index", "name"} <= set(lut.columns):
        raise AtlasError(
            f"{path}: found columns {list(lut.columns)}, expected index and name, optionally "
            "network, x, y, z; rename the columns"
        )
    lut = lut[[c for c in COLUMNS if c in lut]]
    lut = lut[lut["index"] != 0].reset_index(drop=True)  # row 0 is the background
    double = lut["index"][lut["index"].duplicated()]
    if not double.empty:
        raise AtlasError(f"{path}: the index {double.tolist()} stands twice; keep one row of each")
    return lut


def complete(lut: pd.DataFrame) -> pd.DataFrame:
    """All columns: networks from the names and unknown centroids NaN where they are not given."""
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
    """Labels, networks and centroids (mm, RAS) of Schaefer-100, 7 networks (CBIG, MIT)."""
    table = files("brainmass_core") / "data" / "schaefer2018_100_7networks.tsv"
    with table.open() as file:
        return pd.read_csv(file, sep="\t")


def digest_of(image: nib.Nifti1Image) -> str:
    """SHA-256 of shape, affine and labels, whatever the file's compression and data type."""
    data = np.ascontiguousarray(np.asarray(image.dataobj), dtype="<i4")
    affine = np.round(image.affine, 4).astype("<f8") + 0.0  # no negative zero
    return digest(repr(data.shape).encode() + affine.tobytes() + data.tobytes())


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
