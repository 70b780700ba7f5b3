"""ANTs' programs: N4, antsBrainExtraction, Atropos and antsRegistration, each called separately."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from nipype.interfaces import ants as programs

from brainmass_core.preprocess.engines.antspy import bias_shrink, read_affine
from brainmass_core.preprocess.engines.files import read, read_mask, run_program, workspace, write
from brainmass_core.preprocess.engines.matrices import itk_field_to_world
from brainmass_core.preprocess.grids import Volume

if TYPE_CHECKING:
    from brainmass_core.preprocess.anatomical.registration import Kind
    from brainmass_core.preprocess.anatomical.template import Template

SEED = 1
NEAR = 8.0  # mm around the template's brain that antsBrainExtraction uses
PRIOR_WEIGHT = 0.25  # of the priors in Atropos, as in antsAtroposN4
LINEAR: dict[str, Any] = {
    "metric": "MI",
    "bins": 32,
    "sampling": ("Regular", 0.25),
    "iterations": [1000, 500, 250, 100],
    "shrink": [8, 4, 2, 1],
    "sigmas": [3.0, 2.0, 1.0, 0.0],
    "convergence": (1e-6, 10),
}
# volumes of a few mm; C-PAC has no such step
RIGID: dict[str, Any] = LINEAR | {
    "sampling": ("Regular", 0.5),
    "iterations": [500, 250, 100],
    "shrink": [4, 2, 1],
    "sigmas": [2.0, 1.0, 0.0],
}
# `syn`: C-PAC's default pipeline; `syn_fast`: as in the embedded engine
SYN: dict[str, dict[str, Any]] = {
    "syn": {
        "metric": "CC",
        "bins": 4,
        "sampling": (None, None),
        "iterations": [100, 100, 70, 20],
        "shrink": [6, 4, 2, 1],
        "sigmas": [3.0, 2.0, 1.0, 0.0],
        "convergence": (1e-9, 15),
    },
    "syn_fast": {
        "metric": "MI",
        "bins": 32,
        "sampling": (None, None),
        "iterations": [40, 20, 0],
        "shrink": [4, 2, 1],
        "sigmas": [2.0, 1.0, 0.0],
        "convergence": (1e-7, 8),
    },
}


def bias_correction(image: Volume, mask: np.ndarray) -> np.ndarray:
    """Bias correction by N4.

    Parameters
    ----------
    image : Volume (x, y, z)
    mask : ndarray (x, y, z) of bool
        Voxels from which the field is estimated.

    Returns
    -------
    ndarray (x, y, z) of float32
        The corrected intensities of all voxels.

    Raises
    ------
    ScanFailed
        If N4 fails.
    """
    step = "bias_correction"
    with workspace() as folder:
        path = write(folder / "image.nii", image.data, image.affine, step)
        where = write(folder / "mask.nii", mask, image.affine, step)
        found = run_program(n4(path, where, bias_shrink(image)), folder, step)
        return read(found.output_image, image.data.shape, step)


def n4(image: Path, mask: Path, shrink: int) -> programs.N4BiasFieldCorrection:
    """N4 with the settings of the embedded engine."""
    return programs.N4BiasFieldCorrection(
        dimension=3,
        input_image=image,
        mask_image=mask,
        shrink_factor=shrink,
        n_iterations=[50, 30, 20, 10],
        convergence_threshold=1e-7,
        output_image="corrected.nii.gz",
    )


def brain_extraction(head: Volume, template: Template) -> np.ndarray:
    """Brain mask by antsBrainExtraction.sh with the template.

    Parameters
    ----------
    head : Volume (x, y, z)
        T1w of the whole head.
    template : Template
        It has no skull, so only the region near its brain is used.

    Returns
    -------
    ndarray (x, y, z) of bool
        Brain, on the grid of `head`.

    Raises
    ------
    ScanFailed
        If a program of ANTs fails or finds no brain.
    """
    step, affine = "brain_extraction", template.brain.affine
    with workspace() as folder:
        command = extraction(
            write(folder / "head.nii", head.data, head.affine, step),
            write(folder / "template.nii", template.brain.data, affine, step),
            write(folder / "probability.nii", template.mask.astype(np.float32), affine, step),
            write(folder / "near.nii", template.near_brain(NEAR), affine, step),
        )
        return read_mask(run_program(command, folder, step).BrainExtractionMask, head, step)


def extraction(
    head: Path, template: Path, probability: Path, near: Path
) -> programs.BrainExtraction:
    """antsBrainExtraction.sh with a fixed seed."""
    return programs.BrainExtraction(
        dimension=3,
        anatomical_image=head,
        brain_template=template,
        brain_probability_mask=probability,
        extraction_registration_mask=near,
        use_random_seeding=0,
        out_prefix="brain_",
    )


def segmentation(t1w: Volume, mask: np.ndarray, priors: np.ndarray) -> np.ndarray:
    """Posteriors of the tissues by Atropos, from the priors.

    Parameters
    ----------
    t1w : Volume (x, y, z)
    mask : ndarray (x, y, z) of bool
        The brain.
    priors : ndarray (x, y, z, 3)
        CSF, grey and white matter.

    Returns
    -------
    ndarray (x, y, z, 3) of float32
        In the order of the priors; 0 outside the mask.

    Raises
    ------
    ScanFailed
        If Atropos fails.
    """
    step = "segmentation"
    with workspace() as folder:
        path = write(folder / "t1w.nii", t1w.data, t1w.affine, step)
        where = write(folder / "mask.nii", mask, t1w.affine, step)
        for k in range(3):
            write(folder / f"prior{k + 1:02d}.nii", priors[..., k], t1w.affine, step)
        found = run_program(atropos(path, where, folder / "prior%02d.nii"), folder, step)
        layers = [read(f, mask.shape, step) for f in found.posteriors]
        return np.stack(layers, axis=-1) * mask[..., None]


def atropos(t1w: Path, mask: Path, priors: Path) -> programs.Atropos:
    """Atropos with three classes and a weak Markov field."""
    return programs.Atropos(
        dimension=3,
        intensity_images=[t1w],
        mask_image=mask,
        initialization="PriorProbabilityImages",
        prior_image=str(priors),
        number_of_tissue_classes=3,
        prior_weighting=PRIOR_WEIGHT,
        likelihood_model="Gaussian",
        mrf_smoothing_factor=0.1,
        mrf_radius=[1, 1, 1],
        n_iterations=5,
        convergence_threshold=1e-4,
        posterior_formulation="Socrates",
        use_mixture_model_proportions=True,
        use_random_seed=False,
        save_posteriors=True,
        out_classified_image_name="classes.nii.gz",
        output_posteriors_name_template="posterior%02d.nii.gz",
    )


def normalisation(
    t1w: Volume, mask: np.ndarray, template: Template, kind: Kind
) -> tuple[np.ndarray, np.ndarray | None]:
    """T1w to template by antsRegistration, brain to brain.

    Parameters
    ----------
    t1w : Volume (x, y, z)
    mask : ndarray (x, y, z) of bool
        Its brain.
    kind : {"affine", "syn_fast", "syn"}
        `syn` has C-PAC's parameters.

    Returns
    -------
    affine : ndarray (4, 4)
        Template to T1w points, mm: ``affine @ (p + field(p))``.
    field : ndarray (x, y, z, 3) or None
        mm, on the grid of the template.

    Raises
    ------
    ScanFailed
        If antsRegistration fails.
    """
    step, brain = "normalisation", template.brain
    with workspace() as folder:
        moving = write(folder / "moving.nii", np.where(mask, t1w.data, 0), t1w.affine, step)
        fixed = write(folder / "fixed.nii", brain.data, brain.affine, step)
        files = run_program(registration(fixed, moving, kind), folder, step).forward_transforms
        if kind == "affine":
            return read_affine(files[0]), None
        image: Any = nib.load(files[1])
        return read_affine(files[0]), itk_field_to_world(np.asarray(image.dataobj))


def coregistration(
    boldref: Volume, epi_mask: np.ndarray, t1w: Volume, tissue: np.ndarray
) -> np.ndarray:
    """Rigid transform from T1w to BOLD by antsRegistration of brain to brain.

    Parameters
    ----------
    boldref : Volume (x, y, z)
    epi_mask : ndarray (x, y, z) of bool
        Brain of `boldref`.
    t1w : Volume (x, y, z)
    tissue : ndarray (x, y, z) of int
        0 outside the brain; on the grid of `t1w`.

    Returns
    -------
    ndarray (4, 4)
        T1w to BOLD points, mm.

    Raises
    ------
    ScanFailed
        If antsRegistration fails.
    """
    step = "coregistration"
    with workspace() as folder:
        # the BOLD is the fixed image, because it may cover only a part of the brain
        epi = np.where(epi_mask, boldref.data, 0)
        fixed = write(folder / "fixed.nii", epi, boldref.affine, step)
        moving = write(folder / "moving.nii", np.where(tissue > 0, t1w.data, 0), t1w.affine, step)
        files = run_program(registration(fixed, moving, "rigid"), folder, step).forward_transforms
        return np.linalg.inv(read_affine(files[0]))


def registration(fixed: Path, moving: Path, kind: str) -> programs.Registration:
    """antsRegistration: rigid, then affine, then SyN, up to `kind`.

    Parameters
    ----------
    kind : {"rigid", "affine", "syn_fast", "syn"}
    """
    first = RIGID if kind == "rigid" else LINEAR
    stages: list[tuple[str, tuple[float, ...], dict[str, Any]]] = [("Rigid", (0.1,), first)]
    if kind != "rigid":
        stages.append(("Affine", (0.1,), LINEAR))
    if kind in SYN:
        stages.append(("SyN", (0.1, 3.0, 0.0), SYN[kind]))
    chosen = [settings for *_, settings in stages]
    return programs.Registration(
        dimension=3,
        fixed_image=[fixed],
        moving_image=[moving],
        initial_moving_transform_com=1,
        transforms=[name for name, *_ in stages],
        transform_parameters=[parameters for _, parameters, _ in stages],
        metric=[s["metric"] for s in chosen],
        metric_weight=[1.0] * len(stages),
        radius_or_number_of_bins=[s["bins"] for s in chosen],
        sampling_strategy=[s["sampling"][0] for s in chosen],
        sampling_percentage=[s["sampling"][1] for s in chosen],
        number_of_iterations=[s["iterations"] for s in chosen],
        shrink_factors=[s["shrink"] for s in chosen],
        smoothing_sigmas=[s["sigmas"] for s in chosen],
        sigma_units=["vox"] * len(stages),
        convergence_threshold=[s["convergence"][0] for s in chosen],
        convergence_window_size=[s["convergence"][1] for s in chosen],
        use_histogram_matching=kind != "rigid",  # BOLD and T1w have different histograms
        winsorize_lower_quantile=0.01,
        winsorize_upper_quantile=0.99,
        output_transform_prefix="found_",
        random_seed=SEED,
    )
