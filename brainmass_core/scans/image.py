"""Read the NIfTI header and the sidecar of a run, and compare them.

`repetition_time` chooses between their repetition times. Only headers are read here. A reason to
exclude a run is raised as `ScanExcluded`, whose text names the file, what was found, what was
expected and the remedy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib

from brainmass_core.pipeline.manifest import ScanExcluded
from brainmass_core.readers.files import FileError, check_capacity, check_length
from brainmass_core.readers.image import open_image
from brainmass_core.readers.limits import quoted
from brainmass_core.scans.geometry import check_geometry

SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
SLOWEST = 100  # times the last slice's time: no t_r has so long a pause
LARGE = 2**28  # bytes of data


@dataclass(frozen=True)
class Header:
    """What is needed from a NIfTI header.

    Attributes
    ----------
    shape : tuple of int
    t_r : tuple of float
        Possible values in s: empty if the header gives none; two values if the time unit
        is not recorded (seconds, milliseconds).
    t_r_text : str
        The value with its unit as recorded, for messages.
    """

    shape: tuple[int, ...]
    t_r: tuple[float, ...]
    t_r_text: str


def read_header(path: Path) -> Header:
    """Read the header of an image, not its data.

    Raises
    ------
    ScanExcluded
        If the file is missing (also: a DataLad link without content), empty, or no image.
    """
    try:
        image = open_image(path)
    except FileError as error:
        raise ScanExcluded(str(error), "header") from None
    refuse_surface(path, image)
    try:
        header = image.header
        value = float(header["pixdim"][4])
        unit = header.get_xyzt_units()[1]
    except (KeyError, AttributeError, IndexError, TypeError, ValueError) as error:
        raise ScanExcluded(
            f"{path}: unreadable NIfTI header ({type(error).__name__}: {error}); "
            "copy the file again or convert it again",
            "header",
        ) from None
    check_geometry(path, image)
    shape = tuple(int(n) for n in image.shape)
    itemsize = image.get_data_dtype().itemsize
    n_bytes = math.prod(shape) * itemsize
    try:
        if n_bytes > LARGE:  # of smaller ones a missing part is found when they are read
            check_capacity(path, n_bytes)
        check_length(path, int(image.dataobj.offset) + n_bytes, math.prod(shape[:2]) * itemsize)
    except FileError as error:
        raise ScanExcluded(str(error), "header") from None
    if len(shape) == 5 and shape[3] == 1 and float(header["pixdim"][5]) not in (0.0, 1.0):
        value = float(header["pixdim"][5])  # time is the fifth dimension, see `series_shape`
    return Header(shape, header_seconds(value, unit), f"{value:g} {unit}")


def refuse_surface(path: Path, image: object) -> None:
    """Refuse CIFTI and GIFTI, which contain surfaces and lists of voxels, not a grid."""
    kind = {nib.Cifti2Image: "CIFTI", nib.GiftiImage: "GIFTI"}.get(type(image))
    if kind:
        raise ScanExcluded(
            f"{path}: is {kind}, which contains values on a surface, expected NIfTI with a grid of "
            "voxels; give the volumes, or parcel series made from it as kind timeseries",
            "header",
        )


def header_seconds(value: float, unit: str) -> tuple[float, ...]:
    """Possible repetition times (s) for a value of pixdim[4].

    Parameters
    ----------
    value : float
        pixdim[4] as recorded.
    unit : str
        Time unit as nibabel names it: ``sec``, ``msec``, ``usec``, ``unknown`` or another.

    Returns
    -------
    tuple of float
        Empty if the header gives none. A value of 1 without a unit does not count: it is the
        default of programs that do not set it.
    """
    if not math.isfinite(value) or value <= 0:
        return ()
    if unit in SECONDS:
        return (round(value * SECONDS[unit], 6),)  # float32: 0.72 is stored as 0.72000003
    if unit == "unknown" and value != 1:
        return (round(value, 6), round(value / 1000, 6))
    return ()


def series_shape(shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """Shape (x, y, z, n_volumes) of a series; None if the image is not a series.

    A fifth dimension is accepted if it or the fourth has length 1: some converters write time
    as the fifth, some add an empty one.
    """
    if len(shape) == 5 and 1 in shape[3:]:
        shape = (*shape[:3], shape[3] * shape[4])
    if len(shape) != 4 or shape[3] < 2 or min(shape) < 1:
        return None
    return shape[0], shape[1], shape[2], shape[3]


def check_series_shape(path: Path, shape: tuple[int, ...]) -> int:
    """Number of volumes of a BOLD image.

    Raises
    ------
    ScanExcluded
        If the image is not four-dimensional or has fewer than two volumes.
    """
    series = series_shape(shape)
    if series is None:
        echoes = "; a fifth dimension of echoes must be combined first" if len(shape) == 5 else ""
        raise ScanExcluded(
            f"{path}: found a {len(shape)}-D image of shape {shape}, expected a 4-D series of "
            f"volumes (x, y, z, time); convert it again or remove it{echoes}",
            "header",
        )
    return series[3]


def check_one_echo(path: Path, sidecar: dict[str, Any]) -> None:
    """Refuse a run whose sidecar lists several echo times.

    Raises
    ------
    ScanExcluded
        With the times and the remedy.
    """
    times = sidecar.get("EchoTime")
    if isinstance(times, list) and len(times) > 1:
        raise ScanExcluded(
            f"{path}: a multi-echo run: found {len(times)} values of EchoTime ({times}), expected "
            "one; combine the echoes first (tedana, fMRIPrep) and give the result as kind "
            "derivatives",
            "echo",
        )


def slice_timing(
    path: Path, sidecar: dict[str, Any], shape: tuple[int, ...], t_r: float
) -> tuple[list[float] | None, int | None]:
    """Acquisition time of each slice, and the axis along which slices are counted.

    Slices that are acquired together (multiband) have the same time.

    Returns
    -------
    times : list of float or None
        In s, ascending index along the axis. None without ``SliceTiming``.
    axis : {0, 1, 2} or None
        From ``SliceEncodingDirection``; without it the third. A direction with a minus means that
        the first time is that of the last slice.

    Raises
    ------
    ScanExcluded
        If the times are not compatible with the image or t_r.
    """
    times = sidecar.get("SliceTiming")
    if not times:
        return None, None
    stated = sidecar.get("SliceEncodingDirection", "k")
    axis, backwards = axis_of(stated)
    if axis is None:
        raise ScanExcluded(
            f"{path}: SliceEncodingDirection is {quoted(stated)}, expected i, j or k, or one of "
            "them with a minus; correct the sidecar",
            "slice_timing",
        )
    sound = isinstance(times, list) and all(
        isinstance(t, int | float) and not isinstance(t, bool) and 0 <= t <= t_r + 1e-3
        for t in times
    )
    if not sound or len(times) != shape[axis]:
        found = f"{len(times)} values up to {max(times):g}" if sound else _summary(times)
        raise ScanExcluded(
            f"{path}: SliceTiming contains {found}, expected "
            f"{shape[axis]} times (one per slice) from "
            f"0 to t_r {t_r:g} s; correct it, or remove it to omit slice-timing correction",
            "slice_timing",
        )
    if 0 < max(times) < t_r / SLOWEST:
        raise ScanExcluded(
            f"{path}: SliceTiming ends at {max(times):g} s of a t_r of {t_r:g} s, too soon for the "
            "last slice; are the times in another unit? correct it, or remove it to omit "
            "slice-timing correction",
            "slice_timing",
        )
    ordered = [float(t) for t in times]
    return (ordered[::-1] if backwards else ordered), axis


def _summary(times: object) -> str:
    """Slice times that cannot be used: their number and range, or the values as written."""
    if isinstance(times, list) and all(type(t) in (int, float) for t in times):
        return f"{len(times)} values from {min(times):g} to {max(times):g}"
    return quoted(times)


def axis_of(direction: object) -> tuple[int | None, bool]:
    """Voxel axis of a BIDS direction (``i`` to ``k-``) and whether it runs backwards."""
    known = {
        f"{letter}{sign}": (n, sign == "-") for n, letter in enumerate("ijk") for sign in ("", "-")
    }
    return known.get(direction, (None, False)) if isinstance(direction, str) else (None, False)


def phase_encoding(
    sidecar: dict[str, Any], shape: tuple[int, ...]
) -> tuple[str | None, float | None]:
    """Phase-encoding direction and total readout time.

    Returns
    -------
    direction : str or None
        ``i`` to ``k-``, None if it is not in the sidecar.
    total_readout_time : float or None
        In s: ``TotalReadoutTime``, or ``EffectiveEchoSpacing`` times the number of lines of the
        reconstructed image less one (BIDS 1.10).
    """
    direction = sidecar.get("PhaseEncodingDirection")
    axis, _ = axis_of(direction)
    if axis is None:
        direction = None
    total = _positive(sidecar.get("TotalReadoutTime"))
    spacing = _positive(sidecar.get("EffectiveEchoSpacing"))
    if total is None and spacing is not None and axis is not None:
        lines = _positive(sidecar.get("ReconMatrixPE")) or shape[axis]
        total = spacing * (lines - 1)
    return direction, total


def _positive(value: object) -> float | None:
    """A positive finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value > 0 else None
