"""Reading a BOLD run: what is wrong with it is said with file, place and remedy.

`timeseries` reads through the same function, so that both stages see the same data.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from brainmass_core.manifest import ScanExcluded, ScanFailed
from brainmass_core.preprocess.slice_timing import correct_slice_timing

STEP = "load_bold"
DAMAGED = (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ValueError)


@dataclass(frozen=True)
class Bold:
    """A run in memory.

    Attributes
    ----------
    data : ndarray (x, y, z, n_volumes) of float32
        Without dummy volumes; slices brought to one time if that was asked for.
    affine : ndarray (4, 4)
        Voxel to mm, RAS.
    """

    data: np.ndarray
    affine: np.ndarray

    @property
    def voxel_size(self) -> np.ndarray:
        """Edges (3,) of a voxel in mm."""
        return nib.affines.voxel_sizes(self.affine)


def load_bold(
    path: str | Path,
    n_dummy_volumes: int = 0,
    min_volumes: int = 1,
    t_r: float | None = None,
    slice_times: list[float] | None = None,
) -> Bold:
    """Read and check a BOLD run, drop its dummy volumes, correct its slice timing.

    Parameters
    ----------
    n_dummy_volumes : int
        Volumes dropped at the start.
    min_volumes : int
        Fewest volumes that must be left.
    t_r : float, optional
        Repetition time in s; needed with `slice_times`.
    slice_times : list of float, optional
        Time of each slice along the third axis in s; None leaves the timing as it is.

    Raises
    ------
    ScanFailed
        If the file is missing, truncated or no 4-D series, or volumes are not finite, empty or
        all the same.
    ScanExcluded
        If fewer than `min_volumes` volumes are left.
    """
    path = Path(path)
    image = _open(path)
    shape = tuple(int(n) for n in image.shape)
    if len(shape) == 5 and shape[3] == 1:  # some converters write time as the fifth dimension
        shape = (*shape[:3], shape[4])
    if len(shape) != 4 or shape[3] < 2:
        raise ScanFailed(
            f"{path}: found a {len(image.shape)}-D image of shape {image.shape}, expected a 4-D "
            "series of volumes (x, y, z, time)",
            STEP,
            "convert the run anew or remove it",
        )
    if shape[3] - n_dummy_volumes < min_volumes:
        raise ScanExcluded(
            f"{path}: found {shape[3]} volumes, {n_dummy_volumes} of them dummies, expected at "
            f"least {min_volumes} without the dummies",
            STEP,
            "lower preprocess.min_volumes, if so short a run is meant",
        )
    affine = check_affine(path, image.affine)
    data = read_data(path, image).reshape(shape)[..., n_dummy_volumes:]
    check_volumes(path, data, n_dummy_volumes)
    bold = Bold(data, affine)
    return bold if slice_times is None else slice_timed(path, bold, slice_times, t_r)


def check_affine(path: Path, affine: np.ndarray) -> np.ndarray:
    """The affine as float64.

    Raises
    ------
    ScanFailed
        If it is singular or not finite, so that voxels have no place in space.
    """
    affine = np.asarray(affine, dtype=np.float64)
    if not np.isfinite(affine).all() or not abs(np.linalg.det(affine[:3, :3])) > 1e-6:
        raise ScanFailed(
            f"{path}: found the affine {affine.tolist()}, which gives voxels no size, expected "
            "voxel axes in mm",
            STEP,
            "convert the image anew",
        )
    return affine


def read_data(path: Path, image: Any) -> np.ndarray:
    """Voxel values as float32, scale factors applied.

    Raises
    ------
    ScanFailed
        If the data end early or cannot be decompressed.
    """
    expected = int(np.prod(image.shape)) * image.header.get_data_dtype().itemsize
    try:
        return np.asarray(image.dataobj, dtype=np.float32)
    except DAMAGED as error:
        raise ScanFailed(
            f"{path}: truncated or damaged: expected {expected} bytes of voxels for shape "
            f"{image.shape}, found {_readable_bytes(path)} ({type(error).__name__}: {error})",
            STEP,
            "copy or download the file again and compare its checksum",
        ) from None


def check_volumes(path: Path, data: np.ndarray, first: int = 0) -> None:
    """Refuse runs with volumes that carry no data.

    Parameters
    ----------
    data : ndarray (x, y, z, n_volumes)
    first : int
        Number of the first volume in the file, for messages.

    Raises
    ------
    ScanFailed
        With the numbers of the volumes (from 0, as in the file).
    """
    remedy = "reconstruct the run anew, or cut these volumes off if they are at its end"
    space = (0, 1, 2)
    low, high = data.min(axis=space), data.max(axis=space)  # not a number, if any voxel is
    checks = {
        "voxels that are not finite (NaN or infinite)": ~(np.isfinite(low) & np.isfinite(high)),
        "only zeros": (low == 0) & (high == 0),
        "one constant value": (low == high) & (low != 0),
    }
    for what, bad in checks.items():
        if bad.any():
            where = (np.flatnonzero(bad) + first).tolist()
            more = f" and {len(where) - 20} more" if len(where) > 20 else ""
            raise ScanFailed(
                f"{path}: found {len(where)} of {data.shape[3]} volumes with {what}: numbers "
                f"{where[:20]}{more}; expected signal in every volume",
                STEP,
                remedy,
            )
    if all(np.array_equal(data[..., 0], data[..., t]) for t in (1, data.shape[3] - 1)):
        raise ScanFailed(
            f"{path}: the first, second and last volume are identical: found no change in time, "
            "expected a series of measurements",
            STEP,
            "convert the run anew",
        )


def _open(path: Path) -> Any:
    if not path.exists():
        remedy = "`datalad get` it" if path.is_symlink() else "restore it"
        raise ScanFailed(f"{path}: no such file", STEP, remedy)
    try:
        return nib.load(path)
    except DAMAGED as error:
        raise ScanFailed(
            f"{path}: found no readable image ({type(error).__name__}: {error}), expected NIfTI",
            STEP,
            "copy or download the file again",
        ) from None


def _readable_bytes(path: Path) -> str:
    """How much of the file can be read, for messages."""
    total = 0
    try:
        with nib.openers.ImageOpener(str(path)) as file:
            while block := file.read(1 << 20):
                total += len(block)
    except DAMAGED:
        return f"about {max(total - 352, 0)}"
    return str(max(total - 352, 0))


def slice_timed(path: str | Path, bold: Bold, slice_times: list[float], t_r: float | None) -> Bold:
    """The run with all slices brought to the mean of `slice_times`.

    Parameters
    ----------
    path : path
        Of the run, for messages.
    slice_times : list of float
        Time of each slice along the third axis in s.
    t_r : float
        Repetition time in s.

    Raises
    ------
    ScanFailed
        If the times do not fit the image.
    """
    try:
        if t_r is None:
            raise ValueError("t_r is not known")
        return Bold(correct_slice_timing(bold.data, slice_times, t_r), bold.affine)
    except ValueError as error:
        raise ScanFailed(
            f"{path}: SliceTiming does not fit the image: {error}",
            "slice_timing",
            "correct the sidecar, or set preprocess.slice_timing to false",
        ) from None
