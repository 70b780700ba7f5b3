"""AFNI: 3dSkullStrip, 3dDespike, 3dTshift and 3dvolreg, each called separately."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from nipype.interfaces import afni
from scipy.ndimage import binary_fill_holes

from brainmass_core.preprocess.engines.files import read, read_mask, run_program, workspace, write
from brainmass_core.preprocess.engines.matrices import Grid, afni_to_world, moved_back, plain
from brainmass_core.preprocess.grids import Volume

if TYPE_CHECKING:
    from brainmass_core.preprocess.anatomical.template import Template


class SkullStrip(afni.SkullStrip):
    """3dSkullStrip without a display, which it does not need and cluster nodes do not have."""

    _redirect_x = False


def brain_extraction(head: Volume, template: Template) -> np.ndarray:
    """Brain mask by 3dSkullStrip, with holes filled.

    Parameters
    ----------
    head : Volume (x, y, z)
        T1w of the whole head.
    template : Template
        Not used.

    Returns
    -------
    ndarray (x, y, z) of bool
        Brain, on the grid of `head`.

    Raises
    ------
    ScanFailed
        If 3dSkullStrip fails or finds no brain.
    """
    step = "brain_extraction"
    with workspace() as folder:
        path = write(folder / "head.nii", head.data, head.affine, step)
        found = run_program(skullstrip(path), folder, step)
        return binary_fill_holes(read_mask(found.out_file, head, step))


def skullstrip(head: Path) -> SkullStrip:
    """3dSkullStrip that keeps the intensities of the image."""
    return SkullStrip(
        in_file=head, args="-orig_vol", outputtype="NIFTI_GZ", out_file="brain.nii.gz"
    )


def despike(data: np.ndarray, affine: np.ndarray, t_r: float) -> np.ndarray:
    """Despike each voxel by 3dDespike.

    Parameters
    ----------
    data : ndarray (x, y, z, n_volumes)
        At least 15 volumes.
    affine : ndarray (4, 4)
    t_r : float
        s.

    Returns
    -------
    ndarray (x, y, z, n_volumes) of float32

    Raises
    ------
    ScanFailed
        If 3dDespike fails.
    """
    step = "despike"
    with workspace() as folder:
        grid = plain(Grid(data.shape[:3], affine))
        bold = write(folder / "bold.nii", data, grid.affine, step, t_r)
        return read(run_program(despiking(bold), folder, step).out_file, data.shape, step)


def despiking(bold: Path) -> afni.Despike:
    """3dDespike in every voxel, with its faster fit."""
    return afni.Despike(
        in_file=bold, args="-NEW -nomask", outputtype="NIFTI_GZ", out_file="despiked.nii.gz"
    )


def slice_timing(
    data: np.ndarray, affine: np.ndarray, slice_times: np.ndarray, t_r: float, axis: int = 2
) -> np.ndarray:
    """Correct slice timing to the mean slice time, by 3dTshift (Fourier).

    Parameters
    ----------
    data : ndarray (x, y, z, n_volumes)
    slice_times : ndarray (n_slices,)
        s from the start of the volume.
    t_r : float
        s.
    axis : {0, 1, 2}
        Slice axis.

    Returns
    -------
    ndarray (x, y, z, n_volumes) of float32

    Raises
    ------
    ScanFailed
        If 3dTshift fails.
    """
    step, times = "slice_timing", np.asarray(slice_times, dtype=np.float64)
    turned = np.swapaxes(data, axis, 2)  # 3dTshift uses the third axis as the slice axis
    with workspace() as folder:
        bold = write(folder / "bold.nii", turned, np.eye(4), step, t_r)
        pattern = folder / "slice_times.1D"
        pattern.write_text(" ".join(f"{t:.6f}" for t in times) + "\n")
        found = run_program(tshift(bold, pattern, t_r, float(times.mean())), folder, step)
        timed = read(found.out_file, turned.shape, step)
    return np.ascontiguousarray(np.swapaxes(timed, axis, 2))


def tshift(bold: Path, pattern: Path, t_r: float, reference: float) -> afni.TShift:
    """3dTshift with times in seconds."""
    return afni.TShift(
        in_file=bold,
        slice_timing=pattern,
        tr=f"{t_r:g}s",
        tzero=reference,
        interp="Fourier",
        outputtype="NIFTI_GZ",
        out_file="timed.nii.gz",
    )


def motion(data: np.ndarray, affine: np.ndarray, boldref: np.ndarray) -> np.ndarray:
    """Rigid motion by 3dvolreg.

    Parameters
    ----------
    data : ndarray (x, y, z, n_volumes)
    affine : ndarray (4, 4)
        Voxel to mm.
    boldref : ndarray (x, y, z)
        The reference, on the same grid.

    Returns
    -------
    ndarray (n_volumes, 4, 4)
        Reference to volume t, mm.

    Raises
    ------
    ScanFailed
        If 3dvolreg fails.
    """
    step, grid = "motion", Grid(data.shape[:3], affine)
    with workspace() as folder:
        straight = plain(grid).affine
        bold = write(folder / "bold.nii", data, straight, step)
        reference = write(folder / "boldref.nii", boldref, straight, step)
        found = run_program(volreg(bold, reference), folder, step)
        rows = np.loadtxt(found.oned_matrix_save, ndmin=2)
    return moved_back(afni_to_world(rows), grid)


def volreg(bold: Path, boldref: Path) -> afni.Volreg:
    """3dvolreg as C-PAC calls it."""
    return afni.Volreg(
        in_file=bold,
        basefile=boldref,
        zpad=4,
        interp="Fourier",
        args="-twopass",
        oned_matrix_save="motion.aff12.1D",
        outputtype="NIFTI_GZ",
        out_file="moved.nii.gz",
    )
