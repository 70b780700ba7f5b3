"""Images of voxels on a grid, NIfTI or another format that nibabel reads: one way in for all."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

from brainmass_core.readers.files import (
    FileError,
    check_capacity,
    check_length,
    check_regular,
    check_whole,
)

SINGLE_FILE = 352  # bytes of a NIfTI-1 header; voxels of a single file begin after them


class ImageError(FileError):
    """A file without an image on a grid; the message gives its name and the remedy."""


class Voxels(NamedTuple):
    """Content of an image.

    Attributes
    ----------
    data : ndarray
        Real numbers in the type that is stored, scale factors applied.
    affine : ndarray (4, 4)
        Voxel to mm; each axis has a length and a separate direction.
    """

    data: np.ndarray
    affine: np.ndarray


def open_image(path: Path) -> Any:
    """The nibabel image of a file; its voxels are not read.

    Raises
    ------
    FileError
        If it is no regular file.
    ImageError
        If its header cannot be read, or states that voxels begin inside it.
    """
    check_regular(path)
    try:
        image: Any = nib.load(path)
    except Exception as error:  # nibabel lets many kinds through, of many libraries
        raise ImageError(
            f"{path}: unreadable NIfTI header ({type(error).__name__}: {error}), expected an "
            "image; copy the file again or convert it again"
        ) from None
    single = isinstance(image, nib.Nifti1Image) and image.header.is_single
    if single and image.dataobj.offset < SINGLE_FILE:
        raise ImageError(
            f"{path}: its header states that voxels begin at byte {image.dataobj.offset}, expected "
            f"{SINGLE_FILE} or more; it is damaged: copy or convert the file again"
        )
    return image


def read_image(path: Path) -> Voxels:
    """Voxels and affine of a file.

    Raises
    ------
    FileError
        If it is not a regular file, or contains less or more than its header gives.
    ImageError
        If it is no image of real numbers on a grid, is damaged, or its voxels have no place.
    """
    image = open_image(path)
    shape = getattr(image, "shape", ())
    if not isinstance(image, nib.spatialimages.SpatialImage) or len(shape) < 3:
        raise ImageError(f"{path}: found {_kind(image)}, expected a grid of voxels")
    dtype = image.get_data_dtype()
    if dtype.kind not in "iuf" or 0 in shape:
        raise ImageError(
            f"{path}: found voxels of type {dtype} and shape {shape}, expected real numbers; "
            "convert the image again, as magnitude"
        )
    if not has_place(image.affine):
        raise ImageError(
            f"{path}: found the affine {np.asarray(image.affine).tolist()}, which gives voxels no "
            "size or no direction, expected voxel axes in mm; convert the image again"
        )
    stored: Any = image.dataobj
    if path.name.endswith((".nii", ".nii.gz")):
        n_bytes = math.prod(shape) * dtype.itemsize
        check_capacity(path, n_bytes)
        check_length(path, stored.offset + n_bytes, math.prod(shape[:2]) * dtype.itemsize)
    check_whole(path)
    try:
        data = np.asanyarray(stored)
    except Exception as error:
        raise ImageError(
            f"{path}: truncated or damaged image ({type(error).__name__}: {error}); copy or "
            "download the file again and compare its checksum"
        ) from None
    return Voxels(data, np.asarray(image.affine, dtype=np.float64))


def has_place(affine: np.ndarray) -> bool:
    """Whether an affine gives each axis of the voxels a length and a separate direction."""
    if not np.isfinite(affine).all() or not abs(np.linalg.det(affine[:3, :3])) > 1e-6:
        return False
    with np.errstate(all="ignore"):
        return bool(np.isfinite(nib.io_orientation(affine)).all())


def _kind(image: Any) -> str:
    kinds = {nib.Cifti2Image: "CIFTI", nib.GiftiImage: "GIFTI"}
    return kinds.get(type(image), f"{len(getattr(image, 'shape', ()))} dimensions")
