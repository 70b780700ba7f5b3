"""Sections of the configuration for inputs: data sets, phenotypes, the atlas."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from brainmass_core.config.base import Strict, existing, without_braces
from brainmass_core.spaces import space_name


class Synthetic(Strict):
    """Size of the synthetic BIDS data set that `brainmass demo` writes."""

    n_participants: int = Field(12, ge=4, description="Participants, half of them per group.")
    n_volumes: int = Field(100, ge=40, description="Volumes per BOLD run.")
    t_r: float = Field(2.0, gt=0, description="Repetition time in seconds.")
    voxel_size: float = Field(4.0, ge=2, le=8, description="BOLD voxel edge in mm.")
    seed: int = Field(2024, ge=0, description="Random seed of the data set.")


class Phenotype(Strict):
    """Source of participants' variables and names of the columns."""

    path: Path | None = Field(
        None,
        description="Table (.tsv or .csv). Default: participants.tsv of the BIDS folder, if any.",
    )
    id_column: str = Field("participant_id", description="Column that names the participant.")
    scan_column: str | None = Field(
        None,
        description="Column that names the scan (kind `timeseries`: the key of the array), if "
        "each row is a scan and not a participant.",
    )
    session_column: str | None = Field(
        None,
        description="Column that names the session, if each row is a session of a participant. "
        "Default: `session_id` or `session`, if participants have several rows.",
    )
    session: str | None = Field(
        None,
        description="Use only the rows of this session, e.g. `baseline`, for all scans of a "
        "participant; needs a column of sessions.",
    )
    site_column: str | None = Field(None, description="Column with the acquisition site.")
    age_column: str | None = Field(None, description="Column with the age in years.")
    sex_column: str | None = Field(None, description="Column with the sex.")
    t_r_column: str | None = Field(
        None, description="Column with the repetition time in seconds (kind `timeseries`)."
    )
    mean_fd_column: str | None = Field(
        None, description="Column with the mean framewise displacement in mm (kind `timeseries`)."
    )

    @field_validator("path")
    @classmethod
    def _exists(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return path if path is None else existing(path, info)


class Dataset(Strict):
    """One data set: its location, content and role."""

    kind: Literal["bids", "derivatives", "timeseries"] = Field(
        description="`bids`: raw BIDS. `derivatives`: fMRIPrep or C-PAC output in template space. "
        "`timeseries`: ready parcel time series."
    )
    role: Literal["pretrain", "internal", "external"] = Field(
        description="`pretrain`: pre-training only. `internal`: some participants are used for "
        "pre-training, the others for evaluation. `external`: evaluation only."
    )
    synthetic: Synthetic | None = Field(
        None, description="Write the synthetic demo data set to `path` first."
    )
    path: Path = Field(description="Folder of the data set.")
    batches: int = Field(
        1,
        ge=1,
        description="Jobs per stage. If it is not given, it follows from the number of scans, "
        "rounded up to a power of two, and their measured costs: jobs of at most 2 hours, that is "
        "up to 256 scans of raw BIDS, 2,048 of derivatives and 4,096 ready series.",
    )
    evaluation_fraction: float = Field(
        0.3,
        gt=0,
        lt=1,
        description="Fraction of an `internal` data set's participants that is kept out of "
        "pre-training.",
    )
    stratify_by: str | None = Field(
        None, description="Phenotype column whose groups are split evenly, next to the site."
    )
    phenotype: Phenotype = Phenotype()
    missing_values: list[int | float | str] = Field(
        default_factory=list,
        description="Codes of missing values in the phenotype table, e.g. `[-9999]`, in addition "
        "to empty cells and `n/a`. Undeclared codes in ages, regression targets, confounds and "
        "groups are refused.",
    )
    valid_values: list[int | float] = Field(
        default_factory=list,
        description="Numbers that look like codes of missing values but are measured values.",
    )
    task: str | None = Field(None, description="Keep only runs with this BIDS task entity.")
    t1w: Literal["single", "first", "last"] = Field(
        "single",
        description="Which T1w to use if a participant has several: `single` excludes the "
        "participant's runs; `first`/`last` by session and run.",
    )
    t_r: float | None = Field(
        None,
        ge=0.1,
        le=20,
        description="Repetition time in seconds, if the data do not state it (kind `timeseries`, "
        "images without one). Scans whose sidecar or header states another one are excluded.",
    )
    t_r_tolerance: float = Field(
        0.001, ge=0, description="Largest difference in s between sidecar and header t_r."
    )
    pattern: str = Field(
        "*", description="Glob of the files inside `path` (kind `timeseries`), e.g. `*.1D.gz`."
    )
    orientation: Literal["time_by_roi", "roi_by_time"] | None = Field(
        None,
        description="Axes of stored series (kind `timeseries`). Default: `time_by_roi`, but a "
        "series with as many timepoints as the atlas has parcels is refused until this is set.",
    )
    header: bool | None = Field(
        None,
        description="Whether the first row of series as text is a header (kind `timeseries`). "
        "Default: detected automatically; an ambiguous row is refused.",
    )
    array: str | None = Field(
        None,
        description="Which arrays of `.npz` files are series (kind `timeseries`): a name, if each "
        "file is a scan and also holds other arrays, or a pattern with `*`, if a file holds many "
        "scans, such as `*_ts`. Default: all.",
    )
    band_pass: bool = Field(
        False,
        description="Band-pass series of kind `timeseries` with the limits of `timeseries`.",
    )

    @field_validator("path")
    @classmethod
    def _exists(cls, path: Path, info: ValidationInfo) -> Path:
        return without_braces(path) if info.data.get("synthetic") else existing(path, info)

    @field_validator("pattern")
    @classmethod
    def _inside(cls, pattern: str) -> str:
        parts = PurePath(pattern).parts
        if not parts or pattern.startswith(("/", "~")) or ".." in parts or "\0" in pattern:
            raise ValueError(
                "expected a pattern of files inside `path`, such as `*.1D` or `**/*.npy`, without "
                "a leading `/` or `~` and without `..`; set `path` to the folder that holds the "
                "files"
            )
        return pattern

    @field_validator("missing_values", mode="before")
    @classmethod
    def _no_truth(cls, values: Any) -> Any:
        # YAML reads a bare no or off as false, which would become the number 0
        if isinstance(values, list) and any(isinstance(v, bool) for v in values):
            raise ValueError("put yes, no, on, off, true, false in quotes to keep them as text")
        return values

    @model_validator(mode="after")
    def _synthetic_is_bids(self) -> Dataset:
        if self.synthetic and self.kind != "bids":
            raise ValueError("a synthetic data set is raw BIDS: set kind to bids")
        return self


class Atlas(Strict):
    """The parcellation; it determines the number of parcels everywhere."""

    name: str = Field("Schaefer2018-100-7networks", description="Name written to every result.")
    path: Path | None = Field(
        None,
        description="Label image (.nii.gz). Default for Schaefer2018-*: nilearn's local cache, "
        "else a checked download.",
    )
    labels: Path | None = Field(
        None,
        description="Look-up table of the labels: `index` and `name`, optionally `network`, `x`, "
        "`y`, `z` (mm, RAS), or in the format of BIDS, XCP-D, CBIG or FreeSurfer; see "
        "docs/reference/inputs.md.",
    )
    n_rois: int | None = Field(
        None,
        ge=2,
        description="Number of parcels, if there is no image (kind `timeseries` only).",
    )
    space: str | None = Field(
        None,
        description="Space of the label image and of x, y, z, as TemplateFlow names it: "
        "`MNI152NLin6Asym` (FSL), `MNI152NLin2009cAsym` (fMRIPrep), `MNI152NLin2009aSym` "
        "(nilearn) ... Default: recognised by the checksum or name of the atlas (`tpl-`, "
        "`space-`, FSLMNI152). Needed for images, not for ready series.",
    )

    @field_validator("space")
    @classmethod
    def _named(cls, space: str | None) -> str | None:
        return space and space_name(space)

    @field_validator("path", "labels")
    @classmethod
    def _exists(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return path if path is None else existing(path, info)
