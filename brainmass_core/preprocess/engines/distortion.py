"""FSL's fieldmaps: TOPUP for images of opposite phase encoding, PRELUDE for phases."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from nipype.interfaces import fsl

from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.engines.files import read, run_program, workspace, write
from brainmass_core.preprocess.grids import Volume, resample

fsl.FSLCommand.set_default_output_type("NIFTI_GZ")
LAS = axcodes2ornt(("L", "A", "S"))  # FSL's internal order: no axis is flipped on reading
AXES = "ijk"


def distortion(images: Sequence[tuple[Volume, str, float]]) -> Volume:
    """Fieldmap in Hz from images of different phase encoding, by TOPUP.

    Parameters
    ----------
    images : sequence of (Volume, str, float)
        Image, ``PhaseEncodingDirection`` as in BIDS (such as ``j-``), ``TotalReadoutTime`` in s.
        Images on other grids are resampled to that of the first.

    Returns
    -------
    Volume (x, y, z) of float32
        Hz, on the grid of the first image. A voxel's signal is displaced by ``field * readout
        time`` voxels along the phase-encoding direction.

    Raises
    ------
    ScanFailed
        If there are not two directions, a direction is invalid, or TOPUP fails.
    """
    step, first = "distortion", images[0][0]
    encodings = [encoding(direction, readout, first.affine) for _, direction, readout in images]
    if len({tuple(e) for e in encodings}) < 2:
        raise ScanFailed(
            f"found the phase encodings {[i[1:] for i in images]}, expected at least two "
            "different ones",
            step,
            "add the image of the opposite direction, or set preprocess.distortion to none",
        )
    turn = ornt_transform(io_orientation(first.affine), LAS)
    affine = first.affine @ inv_ornt_aff(turn, first.data.shape)
    layers = [apply_orientation(_on_first(image, first), turn) for image, *_ in images]
    stack = np.stack(layers, axis=-1)
    shape = stack.shape[:3]
    even = np.pad(stack, [*((0, n % 2) for n in shape), (0, 0)], mode="edge")
    with workspace() as folder:
        path = write(folder / "images.nii", even, affine, step)
        rows = folder / "encoding.txt"
        np.savetxt(rows, encodings, fmt="%g %g %g %.8f")
        field = read(run_program(topup(path, rows), folder, step).out_field, even.shape[:3], step)
    field = field[tuple(slice(n) for n in shape)]
    back = ornt_transform(LAS, io_orientation(first.affine))
    return first.with_data(np.ascontiguousarray(apply_orientation(field, back)))


def _on_first(image: Volume, first: Volume) -> np.ndarray:
    if image.data.shape == first.data.shape and np.allclose(image.affine, first.affine, atol=1e-2):
        return image.data
    return resample(image, first.data.shape, first.affine).data


def encoding(direction: str, readout: float, affine: np.ndarray) -> np.ndarray:
    """One row of TOPUP's encoding file for an image that is reoriented to LAS.

    Parameters
    ----------
    direction : str
        In the image file: ``i``, ``j`` or ``k``, with ``-`` against the axis.
    readout : float
        s.
    affine : ndarray (4, 4)
        Of the image file.

    Returns
    -------
    ndarray (4,)
        x, y, z, s.

    Raises
    ------
    ScanFailed
        If `direction` is invalid, or `readout` not positive.
    """
    if direction.rstrip("-") not in tuple(AXES) or len(direction) > 2 or not readout > 0:
        raise ScanFailed(
            f"found PhaseEncodingDirection {direction!r} and TotalReadoutTime {readout}, expected "
            "one of i, i-, j, j-, k, k- and a positive number of seconds",
            "distortion",
            "correct the sidecar of the fieldmap, or set preprocess.distortion to none",
        )
    axis, flip = ornt_transform(io_orientation(affine), LAS)[AXES.index(direction[0])]
    row = np.zeros(4)
    row[int(axis)] = -flip if direction.endswith("-") else flip
    row[3] = readout
    return row


def topup(images: Path, rows: Path) -> fsl.TOPUP:
    """TOPUP with FSL's standard configuration, which needs even numbers of voxels."""
    return fsl.TOPUP(in_file=images, encoding_file=rows, config="b02b0.cnf")


def unwrap(phase: Volume, magnitude: Volume, mask: np.ndarray) -> Volume:
    """Unwrap phase by PRELUDE.

    Parameters
    ----------
    phase : Volume (x, y, z)
        rad.
    magnitude : Volume (x, y, z)
    mask : ndarray (x, y, z) of bool

    Returns
    -------
    Volume (x, y, z) of float32
        rad; 0 outside the mask.

    Raises
    ------
    ScanFailed
        If PRELUDE fails.
    """
    step, affine = "distortion", phase.affine
    with workspace() as folder:
        command = prelude(
            write(folder / "phase.nii", phase.data, affine, step),
            write(folder / "magnitude.nii", magnitude.data, affine, step),
            write(folder / "mask.nii", mask, affine, step),
        )
        found = run_program(command, folder, step)
        unwrapped = read(found.unwrapped_phase_file, phase.data.shape, step)
        return phase.with_data(np.where(mask, unwrapped, 0))


def prelude(phase: Path, magnitude: Path, mask: Path) -> fsl.PRELUDE:
    """PRELUDE in three dimensions."""
    with warnings.catch_warnings():
        # nipype warns at each call that PRELUDE is not fully tested
        warnings.simplefilter("ignore")
        return fsl.PRELUDE(
            phase_file=phase, magnitude_file=magnitude, mask_file=mask, process3d=True
        )
