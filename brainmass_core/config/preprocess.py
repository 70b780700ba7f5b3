"""Section ``preprocess``: estimation of masks, transforms, motion, confounds and quality."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from brainmass_core.config.base import Strict, existing
from brainmass_core.spaces import space_name

PACKAGED: Literal["packaged"] = "packaged"  # value of `template`: included in nilearn


class Engines(Strict):
    """Program for each step. The defaults need only this package and work in process.

    So do `motion: ants` and `motion: simpleitk`, and `brain_extraction: deepbet` with the optional
    dependencies of that name. `ants`, `fsl` and `afni` otherwise call the programs of these
    packages through nipype.
    """

    bias_correction: Literal["embedded", "ants"] = Field("embedded", description="N4.")
    brain_extraction: Literal["deepbet", "embedded", "ants", "fsl", "afni"] = Field(
        "embedded",
        description="`embedded`: the template's mask through the normalisation; `deepbet`: two "
        "networks trained on heads, on the CPU; `ants`: antsBrainExtraction; `fsl`: BET; `afni`: "
        "3dSkullStrip.",
    )
    segmentation: Literal["embedded", "ants", "fsl"] = Field(
        "embedded",
        description="`embedded`: Gaussian mixture with the template's priors; `ants`: Atropos; "
        "`fsl`: FAST.",
    )
    normalisation: Literal["greedy", "embedded", "ants", "fsl"] = Field(
        "greedy",
        description="`greedy`: Greedy in process; `embedded`: ANTs' SyN in process; `ants`: "
        "antsRegistration; `fsl`: FLIRT and FNIRT. With `greedy` and the embedded brain "
        "extraction, ANTs' affine in process precedes the deformation.",
    )
    despike: Literal["embedded", "afni"] = Field("embedded", description="`afni`: 3dDespike.")
    slice_timing: Literal["embedded", "fsl", "afni"] = Field(
        "embedded", description="`embedded`: Fourier; `fsl`: slicetimer; `afni`: 3dTshift."
    )
    motion: Literal["embedded", "ants", "simpleitk", "fsl", "afni"] = Field(
        "embedded",
        description="`embedded`: Gauss-Newton least squares; `fsl`: MCFLIRT; `afni`: 3dvolreg.",
    )
    coregistration: Literal["embedded", "ants", "fsl"] = Field(
        "embedded",
        description="`embedded`: mutual information, then the white-matter boundary; `ants`: "
        "rigid antsRegistration; `fsl`: FLIRT with BBR.",
    )
    distortion: Literal["embedded", "fsl"] = Field(
        "embedded", description="`fsl`: topup, or PRELUDE for phase differences."
    )


class Preprocess(Strict):
    """Estimation of masks, transforms, motion, confounds and quality."""

    template: Literal["packaged", "MNI152NLin6Asym", "MNI152NLin2009cAsym"] | Path = Field(
        PACKAGED,
        description="T1w template. `packaged`: nilearn's ICBM152 2009a (MNI152NLin2009aSym); a "
        "name: TemplateFlow's, from the folder TEMPLATEFLOW_HOME, without download; otherwise the "
        "path of a T1w with or without skull. Atlases in another space are reached by a bridge.",
    )
    template_mask: Path | None = Field(
        None, description="Brain mask of `template`, if that is a path."
    )
    template_space: str | None = Field(
        None,
        description="Space of `template`, with TemplateFlow's name, if that is a path whose name "
        "does not contain it (`tpl-`, `space-`, FSL's and ICBM's own names).",
    )
    resolution: float = Field(
        2.0, ge=1, le=6, description="Voxel edge in mm at which the T1w is registered."
    )
    registration: Literal["affine", "syn_fast", "syn"] = Field(
        "syn",
        description="T1w to template. `syn`: affine, then a deformation; `syn_fast`: with fewer "
        "iterations; `affine`: no deformation. Each engine of normalisation has its own parameters "
        "for them.",
    )
    engines: Engines = Engines()
    n_dummy_volumes: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto",
        description="Volumes dropped at the start of each run. `auto`: those whose mean intensity "
        "shows that the magnetisation is not yet in the steady state; the table has their number.",
    )
    despike: bool = Field(False, description="Reduce single outlying values of each voxel.")
    slice_timing: bool = Field(True, description="Correct slice timing if the sidecar has it.")
    distortion: Literal["none", "fieldmap", "fieldmap_less", "any"] = Field(
        "fieldmap",
        description="Correction of the distortion along the phase-encoding axis. `fieldmap`: if "
        "the data set has a fieldmap for the run; `fieldmap_less`: registration to the T1w, along "
        "that axis only; `any`: a fieldmap if available, otherwise `fieldmap_less`.",
    )
    min_volumes: int = Field(40, ge=10, description="Shorter runs are excluded.")
    max_mean_fd: float | None = Field(
        0.5,
        gt=0,
        description="Runs with a larger mean framewise displacement (mm) are excluded; not "
        "applied to ready series. Power's displacement; for derivatives with only Jenkinson's, "
        "that one, which is about half as large. Derivatives without the column that a limit "
        "needs are excluded; the reason names it.",
    )
    fd_threshold: float = Field(
        0.5, gt=0, description="Volumes above this framewise displacement (mm) count as censored."
    )
    max_censored_fraction: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Runs with a larger fraction of such volumes are excluded, raw or derivatives.",
    )
    max_std_dvars: float | None = Field(
        None,
        gt=0,
        description="Runs with a larger mean standardised DVARS are excluded, raw or derivatives.",
    )
    min_tsnr: float | None = Field(
        None,
        gt=0,
        description="Runs with a smaller median temporal SNR are excluded; raw runs only.",
    )
    min_mask_dice: float = Field(
        0.75,
        ge=0,
        le=1,
        description="Minimum Dice overlap of the template's brain with the BOLD's.",
    )
    min_template_correlation: float = Field(
        0.55,
        ge=-1,
        le=1,
        description="Minimum correlation of the T1w with the template in the brain.",
    )
    min_t1w_coverage: float = Field(
        0.985,
        ge=0,
        le=1,
        description="Minimum fraction of the template's brain that is 4 mm or more inside the "
        "T1w's field of view; smaller values mean that the brain is cut off.",
    )
    min_brain_volume: float = Field(
        600.0, ge=0, description="Smallest plausible brain volume (ml, including CSF)."
    )
    max_brain_volume: float = Field(
        2400.0, gt=0, description="Largest plausible brain volume (ml)."
    )
    max_coregistration_cost: float | None = Field(
        0.9,
        gt=0,
        le=2,
        description="Runs with a larger boundary cost fail; 1 means that the BOLD shows no "
        "white-matter contrast at the T1w's boundary. Measured values: 0.55 to 0.71 for correct "
        "registrations, 1.0 and more if 15 mm off, 0.93 and more for a real BOLD with T1w of "
        "other people, and 0.80 and more for phantoms of two people with the same cortical "
        "folding, of which not all are detected.",
    )
    min_coregistration_sharpness: float | None = Field(
        0.1,
        ge=0,
        description="Runs fail if the boundary cost rises by less than this, on average, when the "
        "T1w is shifted by 4 mm, which means that the position is not well determined. It detects "
        "a T1w of another person: measured values are 0.17 to 0.27 with the same person's, 0.04 "
        "to 0.07 with another's (demo heads and one real BOLD); 0.21 and at most 0.14 on phantoms "
        "of the tests. BOLD voxels of 6 mm only reach 0.08: lower it, or leave it empty, for "
        "voxels above 4 mm.",
    )
    derivatives: Literal["full", "minimal"] = Field(
        "full",
        description="`full`: BIDS derivatives with sidecars, tissue maps and pictures; `minimal`: "
        "only files that later stages read, for large cohorts.",
    )
    write_bold: bool = Field(
        False,
        description="Also write the preprocessed BOLD (large): on its own grid and in template "
        "space.",
    )
    bold_resolution: float = Field(
        3.0, ge=1, le=6, description="Voxel edge in mm of that BOLD in template space."
    )

    @property
    def affine_engine(self) -> str:
        """Engine of the affine registration to the template.

        The embedded brain extraction needs ANTs' affine, and Greedy continues from it.
        """
        engines = self.engines
        if engines.normalisation == "greedy" and engines.brain_extraction == "embedded":
            return "embedded"
        return engines.normalisation

    @field_validator("template", mode="before")
    @classmethod
    def _default(cls, template: Any) -> Any:
        return PACKAGED if template is None else template

    @field_validator("template", "template_mask")
    @classmethod
    def _exists(cls, path: Path | str | None, info: ValidationInfo) -> Path | str | None:
        return existing(path, info) if isinstance(path, Path) else path

    @field_validator("template_space")
    @classmethod
    def _named(cls, space: str | None) -> str | None:
        return space and space_name(space)

    @model_validator(mode="after")
    def _only_of_a_path(self) -> Preprocess:
        for name in ("template_mask", "template_space"):
            if getattr(self, name) is not None and not isinstance(self.template, Path):
                raise ValueError(
                    f"found {name}, but template is {self.template}, which includes its own: "
                    f"remove {name}, or give the path of a template"
                )
        return self
