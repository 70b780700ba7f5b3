"""Read and check a BOLD run; errors name file, location and remedy.

`timeseries` uses the same function, so that both stages see the same data. Volumes are read
sequentially, in blocks, into a single array.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError

from brainmass_core.pipeline.manifest import ScanExcluded, ScanFailed
from brainmass_core.preprocess.functional.orientation import (
    RAS,
    affine_in_ras,
    in_ras,
    orientation_of,
    shape_in_ras,
)
from brainmass_core.preprocess.functional.steady_state import global_signal, non_steady_volumes
from brainmass_core.readers.files import FileError
from brainmass_core.readers.image import has_place, open_image
from brainmass_core.scans.image import series_shape

STEP = "load_bold"
DAMAGED = (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ValueError)
SLAB = 64 * 2**20  # bytes of voxels per block


@dataclass(frozen=True)
class Bold:
    """A run in memory.

    Attributes
    ----------
    data : ndarray (x, y, z, n_volumes) of float32
        Without dummy volumes; each volume is contiguous in memory.
    affine : ndarray (4, 4)
        Voxel to mm, RAS.
    n_dummy_volumes : int
        Number of volumes dropped at the start.
    orientation : ndarray (3, 2)
        Orientation of the axes of the file; the data are in RAS order.
    """

    data: np.ndarray
    affine: np.ndarray
    n_dummy_volumes: int = 0
    orientation: np.ndarray = field(default_factory=lambda: RAS)

    @property
    def voxel_size(self) -> np.ndarray:
        """Edges (3,) of a voxel in mm."""
        return nib.affines.voxel_sizes(self.affine)


def load_bold(
    path: str | Path,
    n_dummy_volumes: int | Literal["auto"] = 0,
    min_volumes: int = 1,
    t_r: float | None = None,
    brain: Callable[[tuple[int, ...], np.ndarray], np.ndarray] | None = None,
) -> Bold:
    """Read and check a BOLD run, reorder it to RAS and drop its dummy volumes.

    Of derivatives `timeseries.extract.from_derivatives` drops them.

    Parameters
    ----------
    n_dummy_volumes : int or 'auto'
        Volumes dropped at the start; ``auto``: see `steady_state.non_steady_volumes`.
    min_volumes : int
        Minimum number of remaining volumes, at least two.
    t_r : float, optional
        Repetition time in s; limits the number of volumes that ``auto`` may drop.
    brain : callable, optional
        Returns the brain mask (x, y, z) on a grid, from its shape and affine in RAS. Non-finite
        values outside the mask, which some pipelines write, are set to 0.

    Raises
    ------
    ScanFailed
        If the file is missing, truncated or not a 4-D series, or volumes are not finite, empty or
        identical.
    ScanExcluded
        If fewer than `min_volumes` volumes remain.
    """
    path = Path(path)
    image = _open(path)
    shape = series_shape(tuple(int(n) for n in image.shape))
    if shape is None:
        raise ScanFailed(
            f"{path}: found a {len(image.shape)}-D image of shape {image.shape}, expected a 4-D "
            "series of volumes (x, y, z, time)",
            STEP,
            "convert the run again or remove it; of a multi-echo run, combine the echoes first",
        )
    n_dummy = 0 if n_dummy_volumes == "auto" else n_dummy_volumes
    _refuse_short(path, shape[3], n_dummy, min_volumes)
    stored = check_affine(path, image.affine)
    inside = None
    if brain is not None:
        turned = shape_in_ras(shape, orientation_of(stored))
        inside = brain(tuple(turned[:3]), affine_in_ras(stored, shape))
    data, low, high = read_data(path, image, shape, inside)
    check_volumes(path, data, low, high, n_dummy)
    if n_dummy_volumes == "auto":
        n_dummy = non_steady_volumes(global_signal(data), t_r, str(path))
        _refuse_short(path, shape[3], n_dummy, min_volumes)
    affine = affine_in_ras(stored, shape)
    return Bold(data[..., n_dummy:], affine, n_dummy, orientation_of(stored))


def _refuse_short(path: Path, n_volumes: int, n_dummy: int, min_volumes: int) -> None:
    if n_volumes - n_dummy < max(min_volumes, 2):
        raise ScanExcluded(
            f"{path}: found {n_volumes} volumes, {n_dummy} of them dummies, expected at "
            f"least {max(min_volumes, 2)} without the dummies",
            STEP,
            "lower preprocess.min_volumes, if so short a run is meant",
        )


def check_affine(path: Path, affine: np.ndarray) -> np.ndarray:
    """The affine as float64.

    Parameters
    ----------
    affine : ndarray (4, 4)

    Returns
    -------
    ndarray (4, 4)

    Raises
    ------
    ScanFailed
        If the affine is invalid, see `readers.image.has_place`.
    """
    affine = np.asarray(affine, dtype=np.float64)
    if not has_place(affine):
        raise ScanFailed(
            f"{path}: found the affine {affine.tolist()}, which gives voxels no size or "
            "no direction, expected voxel axes in mm",
            STEP,
            "convert the image again",
        )
    return affine


def read_data(
    path: Path, image: Any, shape: tuple[int, ...], inside: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voxel values as float32, scale factors applied.

    Parameters
    ----------
    image : nibabel image
    shape : tuple of int
        (x, y, z, n_volumes) in the file, without dimensions of length 1.
    inside : ndarray (x, y, z) of bool, optional
        The brain, in RAS; non-finite values outside are set to 0.

    Returns
    -------
    data : ndarray (x, y, z, n_volumes)
        In RAS and Fortran order.
    low, high : ndarray (n_volumes,)
        Smallest and largest value of each volume; NaN if any voxel is NaN.

    Raises
    ------
    ScanFailed
        If the data are truncated, cannot be decompressed or are not real numbers.
    """
    stored = image.dataobj
    if stored.dtype.kind not in "iuf":
        raise ScanFailed(
            f"{path}: found voxels of type {stored.dtype}, expected real numbers",
            STEP,
            "convert the run again, as magnitude",
        )
    orientation = orientation_of(image.affine)
    data = np.empty(shape_in_ras(shape, orientation), dtype=np.float32, order="F")
    low, high = np.empty(shape[3], np.float32), np.empty(shape[3], np.float32)
    volume = int(np.prod(shape[:3])) * max(stored.dtype.itemsize, 4)
    step = max(1, SLAB // volume)
    try:
        with ImageOpener(image.file_map["image"].filename) as file:
            # an open file, so that .gz is decompressed only once
            spec = (shape, stored.dtype, stored.offset, stored.slope, stored.inter)
            proxy = ArrayProxy(file, spec, mmap=False)
            for start in range(0, shape[3], step):
                slab = data[..., start : start + step]
                slab[...] = in_ras(proxy[..., start : start + step], orientation)
                if inside is not None and not np.isfinite(slab).all():
                    slab[~(np.isfinite(slab) | inside[..., None])] = 0
                low[start : start + step] = slab.min(axis=(0, 1, 2))
                high[start : start + step] = slab.max(axis=(0, 1, 2))
            while file.read(2**20):  # reading to the end verifies the checksum of .gz
                pass
    except DAMAGED as error:
        expected = int(np.prod(shape)) * stored.dtype.itemsize
        raise ScanFailed(
            f"{path}: truncated or damaged: expected {expected} bytes of voxels for shape "
            f"{image.shape}, found {_readable_bytes(path)} ({type(error).__name__}: {error})",
            STEP,
            "copy or download the file again and compare its checksum",
        ) from None
    return data, low, high


def check_volumes(
    path: Path, data: np.ndarray, low: np.ndarray, high: np.ndarray, first: int = 0
) -> None:
    """Refuse runs with volumes without data.

    Parameters
    ----------
    data : ndarray (x, y, z, n_volumes)
    low, high : ndarray (n_volumes,)
        Smallest and largest value of each volume; NaN if any voxel is NaN.
    first : int
        Number of the first volume to check.

    Raises
    ------
    ScanFailed
        With the numbers of the volumes (from 0, as in the file).
    """
    remedy = "reconstruct the run again, or cut these volumes off if they are at its end"
    checks = {
        "voxels that are not finite (NaN or infinite)": ~(np.isfinite(low) & np.isfinite(high)),
        "only zeros": (low == 0) & (high == 0),
        "one constant value": (low == high) & (low != 0),
    }
    for what, bad in checks.items():
        if bad[first:].any():
            where = (np.flatnonzero(bad[first:]) + first).tolist()
            more = f" and {len(where) - 20} more" if len(where) > 20 else ""
            raise ScanFailed(
                f"{path}: found {len(where)} of {len(low) - first} volumes with {what}: numbers "
                f"{where[:20]}{more}; expected signal in every volume",
                STEP,
                remedy,
            )
    if all(np.array_equal(data[..., first], data[..., t]) for t in (first + 1, len(low) - 1)):
        raise ScanFailed(
            f"{path}: the first, second and last volume are identical: found no change in time, "
            "expected a series of measurements",
            STEP,
            "convert the run again",
        )


def _open(path: Path) -> Any:
    try:
        return open_image(path)
    except FileError as error:
        found, _, remedy = str(error).rpartition("; ")
        raise ScanFailed(found, STEP, remedy) from None


def _readable_bytes(path: Path) -> str:
    """Number of readable bytes of voxels in the file, for messages."""
    total = 0
    try:
        with nib.openers.ImageOpener(str(path)) as file:
            while block := file.read(1 << 20):
                total += len(block)
    except DAMAGED:
        return f"about {max(total - 352, 0)}"
    return str(max(total - 352, 0))
