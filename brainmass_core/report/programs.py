"""Programs of the preprocessing that a configuration chooses, for the methods text."""

from __future__ import annotations

from brainmass_core.config.preprocess import Preprocess

OURS = "embedded"
# (step, engine): program, and the key of its citation; empty for this package
PROGRAMS: dict[tuple[str, str], tuple[str, str]] = {
    ("motion", OURS): ("brainmass, Gauss-Newton least squares", ""),
    ("motion", "ants"): ("ANTs", "ants"),
    ("motion", "simpleitk"): ("SimpleITK", "simpleitk"),
    ("motion", "fsl"): ("MCFLIRT of FSL", "fsl"),
    ("motion", "afni"): ("3dvolreg of AFNI", "afni"),
    ("bias_correction", OURS): ("N4 of ANTs", "ants"),
    ("bias_correction", "ants"): ("N4BiasFieldCorrection of ANTs", "ants"),
    ("brain_extraction", OURS): ("the template's mask", ""),
    ("brain_extraction", "deepbet"): ("deepbet", "deepbet"),
    ("brain_extraction", "ants"): ("antsBrainExtraction of ANTs", "ants"),
    ("brain_extraction", "fsl"): ("BET of FSL", "fsl"),
    ("brain_extraction", "afni"): ("3dSkullStrip of AFNI", "afni"),
    ("affine", OURS): ("ANTs", "ants"),
    ("affine", "greedy"): ("Greedy", "greedy"),
    ("affine", "ants"): ("antsRegistration of ANTs", "ants"),
    ("affine", "fsl"): ("FLIRT of FSL", "fsl"),
    ("normalisation", OURS): ("SyN of ANTs", "ants"),
    ("normalisation", "greedy"): ("Greedy", "greedy"),
    ("normalisation", "ants"): ("SyN, antsRegistration of ANTs", "ants"),
    ("normalisation", "fsl"): ("FNIRT of FSL", "fsl"),
    ("segmentation", OURS): ("brainmass, Gaussian mixture with the template's priors", ""),
    ("segmentation", "ants"): ("Atropos of ANTs", "ants"),
    ("segmentation", "fsl"): ("FAST of FSL", "fsl"),
    ("coregistration", OURS): ("brainmass, mutual information and white-matter boundary", ""),
    ("coregistration", "ants"): ("antsRegistration of ANTs", "ants"),
    ("coregistration", "fsl"): ("FLIRT of FSL with BBR", "fsl"),
    ("distortion", OURS): ("brainmass", ""),
    ("distortion", "fsl"): ("TOPUP or PRELUDE of FSL", "fsl"),
    ("despike", OURS): ("brainmass", ""),
    ("despike", "afni"): ("3dDespike of AFNI", "afni"),
    ("slice_timing", OURS): ("brainmass, Fourier interpolation", ""),
    ("slice_timing", "fsl"): ("slicetimer of FSL", "fsl"),
    ("slice_timing", "afni"): ("3dTshift of AFNI", "afni"),
}
STEPS = {
    "motion": "head motion",
    "bias_correction": "bias field",
    "brain_extraction": "brain mask",
    "affine": "affine registration to the template",
    "normalisation": "deformable registration to the template",
    "segmentation": "tissues",
    "coregistration": "coregistration",
    "distortion": "distortion",
    "despike": "despiking",
    "slice_timing": "slice timing",
}


def programs_of(settings: Preprocess) -> list[tuple[str, str, str]]:
    """Programs of the steps that are done with these settings.

    Returns
    -------
    list of (str, str, str)
        Step, program, and the key of its citation in `citations.WORKS`, which may be empty.
    """
    chosen = settings.engines.model_dump() | {"affine": settings.affine_engine}
    omitted = {
        "normalisation": settings.registration == "affine",
        "distortion": settings.distortion == "none",
        "despike": not settings.despike,
        "slice_timing": not settings.slice_timing,
    }
    return [
        (label, *PROGRAMS[step, chosen[step]])
        for step, label in STEPS.items()
        if not omitted.get(step)
    ]
