"""FSL: BET, FAST, FLIRT, FNIRT, slicetimer and MCFLIRT, each called separately."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from nipype.interfaces import fsl

from brainmass_core.preprocess.anatomical.segmentation import WHITE
from brainmass_core.preprocess.engines.files import read, read_mask, run_program, workspace, write
from brainmass_core.preprocess.engines.matrices import (
    Grid,
    displacement,
    flirt_to_world,
    fsl_warp_to_world,
)
from brainmass_core.preprocess.grids import Volume

if TYPE_CHECKING:
    from brainmass_core.preprocess.anatomical.registration import Kind
    from brainmass_core.preprocess.anatomical.template import Template

fsl.FSLCommand.set_default_output_type("NIFTI_GZ")  # independent of the user's FSLOUTPUTTYPE
FRACTION = 0.5  # of intensity, C-PAC's default for BET
NEAR = 4.0  # mm around the template's brain that FNIRT uses


def brain_extraction(head: Volume, template: Template) -> np.ndarray:
    """Brain mask by BET with a robust centre.

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
        If BET fails or finds no brain.
    """
    step = "brain_extraction"
    with workspace() as folder:
        found = run_program(
            bet(write(folder / "head.nii", head.data, head.affine, step)), folder, step
        )
        return read_mask(found.mask_file, head, step)


def bet(head: Path) -> fsl.BET:
    """BET as C-PAC calls it."""
    return fsl.BET(in_file=head, frac=FRACTION, robust=True, mask=True)


def segmentation(t1w: Volume, mask: np.ndarray, priors: np.ndarray) -> np.ndarray:
    """Partial volumes of the tissues by FAST.

    Parameters
    ----------
    t1w : Volume (x, y, z)
    mask : ndarray (x, y, z) of bool
        The brain.
    priors : ndarray (x, y, z, 3)
        Not used.

    Returns
    -------
    ndarray (x, y, z, 3) of float32
        CSF, grey and white matter; 0 outside the mask.

    Raises
    ------
    ScanFailed
        If FAST fails.
    """
    step = "segmentation"
    with workspace() as folder:
        brain = np.where(mask, t1w.data, 0)
        path = write(folder / "brain.nii", brain, t1w.affine, step)
        found = run_program(fast(path), folder, step)
        # FAST orders the classes of a T1w by intensity, which is our order
        layers = [read(f, mask.shape, step) for f in found.partial_volume_files]
        return np.stack(layers, axis=-1) * mask[..., None]


def fast(brain: Path) -> fsl.FAST:
    """FAST with three classes on a bias-corrected image."""
    return fsl.FAST(
        in_files=[brain], out_basename="fast", img_type=1, number_classes=3, no_bias=True
    )


def normalisation(
    t1w: Volume, mask: np.ndarray, template: Template, kind: Kind
) -> tuple[np.ndarray, np.ndarray | None]:
    """T1w to template by FLIRT (12 parameters) and, unless `kind` is affine, FNIRT.

    Parameters
    ----------
    t1w : Volume (x, y, z)
    mask : ndarray (x, y, z) of bool
        Its brain; brain is registered to brain.
    kind : {"affine", "syn_fast", "syn"}
        The latter two use FNIRT with FSL's settings for a T1w and a template of 2 mm.

    Returns
    -------
    affine : ndarray (4, 4)
        Template to T1w points, mm: ``affine @ (p + field(p))``.
    field : ndarray (x, y, z, 3) or None
        mm, on the grid of the template.

    Raises
    ------
    ScanFailed
        If a program fails.
    """
    step, moving, reference = "normalisation", Grid.of(t1w), Grid.of(template.brain)
    with workspace() as folder:
        brain = write(folder / "brain.nii", np.where(mask, t1w.data, 0), t1w.affine, step)
        fixed = write(folder / "template.nii", template.brain.data, reference.affine, step)
        matrix = run_program(flirt(brain, fixed, dof=12), folder, step).out_matrix_file
        affine = flirt_to_world(np.loadtxt(matrix), moving, reference)
        if kind == "affine":
            return affine, None
        near = template.near_brain(NEAR)
        near_path = write(folder / "near.nii", near, reference.affine, step)
        warp = run_program(
            fnirt(brain, fixed, near_path, Path(matrix)), folder, step
        ).fieldcoeff_file
        field = run_program(convertwarp(fixed, Path(warp)), folder, step).out_file
        relative = read(field, (*reference.shape, 3), step)
        points = fsl_warp_to_world(relative, moving, reference)
        return affine, displacement(points, affine, reference)


def flirt(moving: Path, reference: Path, dof: int) -> fsl.FLIRT:
    """FLIRT with the correlation ratio, as C-PAC calls it."""
    return fsl.FLIRT(
        in_file=moving, reference=reference, dof=dof, cost="corratio", interp="trilinear"
    )


def fnirt(brain: Path, template: Path, near: Path, affine: Path) -> fsl.FNIRT:
    """FNIRT with FSL's settings for T1w images; the arguments override those of the file."""
    return fsl.FNIRT(
        in_file=brain,
        ref_file=template,
        refmask_file=near,
        affine_file=affine,
        config_file="T1_2_MNI152_2mm",
        fieldcoeff_file=True,
    )


def convertwarp(reference: Path, warp: Path) -> fsl.ConvertWarp:
    """Spline coefficients to relative displacements, affine part included."""
    return fsl.ConvertWarp(reference=reference, warp1=warp, out_relwarp=True)


def slice_timing(
    data: np.ndarray, affine: np.ndarray, slice_times: np.ndarray, t_r: float, axis: int = 2
) -> np.ndarray:
    """Correct slice timing to the mean slice time, by slicetimer (Hanning-windowed sinc).

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
        If slicetimer fails.
    """
    step = "slice_timing"
    turned = np.swapaxes(data, axis, 2)
    with workspace() as folder:
        grid = np.eye(4)  # the affine has no effect on slice timing
        bold = write(folder / "bold.nii", turned, grid, step, t_r)
        timings = folder / "timings.txt"
        np.savetxt(timings, slicetimer_fractions(slice_times, t_r), fmt="%.8f")
        found = run_program(slicetimer(bold, timings, t_r), folder, step)
        timed = read(found.slice_time_corrected_file, turned.shape, step)
    return np.ascontiguousarray(np.swapaxes(timed, axis, 2))


def slicetimer_fractions(slice_times: np.ndarray, t_r: float) -> np.ndarray:
    """Convert slice times (n_slices,) in s to slicetimer's fractions of a volume.

    It samples each series ``fraction - 0.5`` volumes later; a late slice must be sampled earlier.

    Parameters
    ----------
    slice_times : ndarray (n_slices,)
        s.
    t_r : float
        s.

    Returns
    -------
    ndarray (n_slices,)
    """
    times = np.asarray(slice_times, dtype=np.float64)
    return 0.5 + (times.mean() - times) / t_r


def slicetimer(bold: Path, timings: Path, t_r: float) -> fsl.SliceTimer:
    """slicetimer with a time for each slice of the third axis."""
    return fsl.SliceTimer(
        in_file=bold, custom_timings=timings, time_repetition=t_r, slice_direction=3
    )


def motion(data: np.ndarray, affine: np.ndarray, boldref: np.ndarray) -> np.ndarray:
    """Rigid motion by MCFLIRT.

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
        If MCFLIRT fails.
    """
    step, grid = "motion", Grid(data.shape[:3], affine)
    with workspace() as folder:
        bold = write(folder / "bold.nii", data, affine, step)
        reference = write(folder / "boldref.nii", boldref, affine, step)
        files = run_program(mcflirt(bold, reference), folder, step).mat_file
        return np.stack([flirt_to_world(np.loadtxt(f), grid, grid) for f in files])


def mcflirt(bold: Path, boldref: Path) -> fsl.MCFLIRT:
    """MCFLIRT to a reference volume, with matrices saved."""
    return fsl.MCFLIRT(in_file=bold, ref_file=boldref, save_mats=True)


def coregistration(
    boldref: Volume, epi_mask: np.ndarray, t1w: Volume, tissue: np.ndarray
) -> np.ndarray:
    """Rigid transform from T1w to BOLD by FLIRT: correlation ratio, then the boundary.

    Parameters
    ----------
    boldref : Volume (x, y, z)
    epi_mask : ndarray (x, y, z) of bool
        Brain of `boldref`.
    t1w : Volume (x, y, z)
        Whole head.
    tissue : ndarray (x, y, z) of int
        1 grey, 2 white matter, 3 CSF, 0 outside the brain; on the grid of `t1w`.

    Returns
    -------
    ndarray (4, 4)
        T1w to BOLD points, mm.

    Raises
    ------
    ScanFailed
        If FLIRT fails.
    """
    step = "coregistration"
    with workspace() as folder:
        epi = np.where(epi_mask, boldref.data, 0)
        epi_path = write(folder / "epi.nii", epi, boldref.affine, step)
        head = write(folder / "head.nii", t1w.data, t1w.affine, step)
        brain = write(folder / "brain.nii", np.where(tissue > 0, t1w.data, 0), t1w.affine, step)
        white = write(folder / "white.nii", tissue == WHITE, t1w.affine, step)
        first = run_program(flirt(epi_path, brain, dof=6), folder, step).out_matrix_file
        second = run_program(
            flirt_bbr(epi_path, head, white, Path(first)), folder, step
        ).out_matrix_file
        return flirt_to_world(np.loadtxt(second), Grid.of(boldref), Grid.of(t1w))


def flirt_bbr(epi: Path, head: Path, white: Path, start: Path) -> fsl.FLIRT:
    """FLIRT with boundary-based registration (Greve & Fischl 2009) and FSL's schedule."""
    home = Path(os.environ.get("FSLDIR", ""))
    return fsl.FLIRT(
        in_file=epi,
        reference=head,
        dof=6,
        cost="bbr",
        wm_seg=white,
        in_matrix_file=start,
        schedule=home / "etc/flirtsch/bbr.sch",
        out_file="bbr.nii.gz",
        out_matrix_file="bbr.mat",
    )
