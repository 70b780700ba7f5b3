"""Files of the transforms of a scan.

Displacements are rounded, because unrounded ones cannot be compressed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.transforms import Distortion, Normalisation, ScanTransforms
from brainmass_core.tables import atomic_path

FIELD_LEVEL = 0.01  # mm, rounding of displacements in files


def save_normalisation(path: Path, normalisation: Normalisation) -> None:
    """Write a normalisation as .npz, with a precision of 0.005 mm for the field."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            affine=normalisation.affine.astype(np.float64),
            field_steps=_packed(normalisation.field),
            field_affine=normalisation.field_affine.astype(np.float64),
        )


def load_normalisation(path: Path) -> Normalisation:
    """Read a normalisation written by `save_normalisation`."""
    with np.load(path, allow_pickle=False) as file:
        return Normalisation(
            affine=file["affine"],
            field=_unpacked(file["field_steps"]),
            field_affine=file["field_affine"],
        )


def _packed(field: np.ndarray) -> np.ndarray:
    """Pack a field as int16 differences (3, nx, ny, nz) between neighbours along each axis.

    Differences of a smooth field are small: compressed they take a third of the size of float16.
    """
    steps = np.clip(np.rint(np.moveaxis(field, -1, 0) / FIELD_LEVEL), -32768, 32767)
    packed = steps.astype(np.int16)
    for axis in (1, 2, 3):  # int16 overflow wraps around, and is reversed by `_unpacked`
        packed = np.diff(packed, axis=axis, prepend=np.int16(0))
    return packed


def _unpacked(packed: np.ndarray) -> np.ndarray:
    """Inverse of `_packed`: a field (nx, ny, nz, 3) of float32, mm."""
    if packed.dtype != np.int16 or packed.ndim != 4:
        raise ValueError(f"found a field of {packed.dtype} {packed.shape}, expected int16, 4-D")
    steps = packed
    for axis in (3, 2, 1):
        steps = np.cumsum(steps, axis=axis, dtype=np.int16)
    return np.moveaxis(steps * np.float32(FIELD_LEVEL), 0, -1)


def save_distortion(path: Path, distortion: Distortion) -> None:
    """Write a distortion as .npz, rounded to 1/64 mm for compression."""
    rounded = np.rint(distortion.displacement.astype(np.float64) * 64) / 64
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            displacement=rounded.astype(np.float16),
            affine=distortion.affine.astype(np.float64),
            direction=distortion.direction.astype(np.float64),
        )


def load_distortion(path: Path) -> Distortion:
    """Read a distortion written by `save_distortion`."""
    with np.load(path, allow_pickle=False) as file:
        return Distortion(
            displacement=file["displacement"].astype(np.float32),
            affine=file["affine"],
            direction=file["direction"],
        )


def save_affine(path: Path, affine: np.ndarray) -> None:
    """Write one transform (4, 4) as text.

    Parameters
    ----------
    affine : ndarray (4, 4)
        mm.
    """
    with atomic_path(path) as temporary:
        np.savetxt(temporary, affine, fmt="%.17g")


def save_motion(path: Path, motion: np.ndarray) -> None:
    """Write transforms (n_volumes, 4, 4) as .npy.

    Parameters
    ----------
    motion : ndarray (n_volumes, 4, 4)
        mm.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, np.asarray(motion, dtype=np.float64), allow_pickle=False)


def load_transforms(
    results_root: str | os.PathLike[str], outputs: Mapping[str, str] | list[tuple[str, str]]
) -> ScanTransforms:
    """Read the transforms of one scan.

    Parameters
    ----------
    results_root : path
        Results folder, which contains the paths.
    outputs : mapping, or list of pairs as pyarrow returns a map column
        Column ``outputs`` of the preprocess table: ``normalisation``, ``coregistration`` and
        ``motion`` are used, and ``distortion`` if there is one.

    Raises
    ------
    ScanFailed
        If a file is missing or damaged, or contains no transforms.
    """
    root, names = Path(results_root), dict(outputs)
    try:
        found = ScanTransforms(
            normalisation=load_normalisation(root / names["normalisation"]),
            t1w_to_boldref=np.loadtxt(root / names["coregistration"], comments=None),
            motion=np.load(root / names["motion"], allow_pickle=False),
            distortion=load_distortion(root / names["distortion"])
            if "distortion" in names
            else None,
        )
        _check(found)
    except Exception as error:  # NumPy and zipfile raise many types
        raise ScanFailed(
            f"{root}: the transforms of this scan cannot be read ({error})",
            "transforms",
            "run preprocess again for this data set",
        ) from None
    return found


def _check(found: ScanTransforms) -> None:
    """Refuse arrays with wrong shapes or non-finite values."""
    parts = [(found.t1w_to_boldref, (4, 4)), (found.motion, (len(found.motion), 4, 4))]
    warp = found.normalisation
    parts += [(warp.affine, (4, 4)), (warp.field_affine, (4, 4))]
    parts += [(warp.field, (*warp.field.shape[:3], 3))]
    if (shift := found.distortion) is not None:
        parts += [(shift.affine, (4, 4)), (shift.direction, (3,))]
        parts += [(shift.displacement, shift.displacement.shape[:3])]
        if shift.displacement.ndim != 3:
            raise ValueError(f"found a distortion of shape {shift.displacement.shape}")
    for array, shape in parts:
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"found numbers of shape {array.shape}, expected finite ones, {shape}")
