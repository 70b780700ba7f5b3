"""The pydantic tree of ``config.yaml``.

Everything a user may turn stands here once: defaults, units, limits and help.
The reference page and the JSON schema are generated from it (`brainmass_core.config.reference`).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

STAGES = (
    "scans",
    "preprocess",
    "timeseries",
    "connectivity",
    "pfc",
    "pretrain",
    "finetune",
    "report",
)
Stage = Literal[
    "scans", "preprocess", "timeseries", "connectivity", "pfc", "pretrain", "finetune", "report"
]
NAME = r"^[A-Za-z][A-Za-z0-9_-]*$"
Name = Annotated[str, Field(pattern=NAME)]


class Strict(BaseModel):
    """Base of every section: unknown keys are errors, values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Synthetic(Strict):
    """Size of the synthetic BIDS data set that `brainmass demo` writes."""

    n_participants: int = Field(12, ge=4, description="Participants, half of them per group.")
    n_volumes: int = Field(100, ge=40, description="Volumes per BOLD run.")
    t_r: float = Field(2.0, gt=0, description="Repetition time in seconds.")
    voxel_size: float = Field(4.0, ge=2, le=8, description="BOLD voxel edge in mm.")
    seed: int = Field(2024, ge=0, description="Seed of everything random in the data set.")


class Phenotype(Strict):
    """Where participants' variables come from and what the columns are called."""

    path: Path | None = Field(
        None,
        description="Table (.tsv or .csv). Default: participants.tsv of the BIDS folder, if any.",
    )
    id_column: str = Field("participant_id", description="Column that names the participant.")
    scan_column: str | None = Field(
        None,
        description="Column that names the scan (kind `timeseries`: the key of the array), "
        "when a row is a scan and not a participant.",
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
        return path if path is None else _existing(path, info)


class Dataset(Strict):
    """One data set: where it is, what it holds and what it may be used for."""

    kind: Literal["bids", "derivatives", "timeseries"] = Field(
        description="`bids`: raw BIDS. `derivatives`: fMRIPrep or C-PAC output in template space. "
        "`timeseries`: ready parcel time series."
    )
    role: Literal["pretrain", "internal", "external"] = Field(
        description="`pretrain`: pre-training only. `internal`: some participants join "
        "pre-training, the others are kept for evaluation. `external`: evaluation only."
    )
    synthetic: Synthetic | None = Field(
        None, description="Write the synthetic demo data set to `path` first."
    )
    path: Path = Field(description="Folder of the data set.")
    batches: int = Field(1, ge=1, description="Jobs per stage; aim for 64 to 256 scans in each.")
    evaluation_fraction: float = Field(
        0.3,
        gt=0,
        lt=1,
        description="Share of an `internal` data set's participants that pre-training never sees.",
    )
    stratify_by: str | None = Field(
        None, description="Phenotype column whose groups are split evenly, next to the site."
    )
    phenotype: Phenotype = Phenotype()
    task: str | None = Field(None, description="Keep only runs with this BIDS task entity.")
    t1w: Literal["single", "first", "last"] = Field(
        "single",
        description="Which T1w to use when a participant has several: `single` refuses to choose; "
        "`first`/`last` by session and run.",
    )
    t_r: float | None = Field(
        None,
        gt=0,
        description="Repetition time in seconds, when the data do not say (kind `timeseries`).",
    )
    t_r_tolerance: float = Field(
        0.001, ge=0, description="Largest difference in s between sidecar and header t_r."
    )
    pattern: str = Field(
        "*", description="Glob of the files inside `path` (kind `timeseries`), e.g. `*.1D.gz`."
    )
    orientation: Literal["time_by_roi", "roi_by_time"] = Field(
        "time_by_roi", description="Axes of stored arrays (kind `timeseries`)."
    )
    band_pass: bool = Field(
        False,
        description="Band-pass series of kind `timeseries` with the limits of `timeseries`.",
    )

    @field_validator("path")
    @classmethod
    def _exists(cls, path: Path, info: ValidationInfo) -> Path:
        return path if info.data.get("synthetic") else _existing(path, info)

    @model_validator(mode="after")
    def _synthetic_is_bids(self) -> Dataset:
        if self.synthetic and self.kind != "bids":
            raise ValueError("a synthetic data set is raw BIDS: set kind to bids")
        return self


class Atlas(Strict):
    """The parcellation; `n_rois` follows from it everywhere."""

    name: str = Field("Schaefer2018-100-7networks", description="Name written to every result.")
    path: Path | None = Field(
        None,
        description="Label image (.nii.gz). Default for Schaefer2018-*: nilearn's local cache, "
        "else a checked download.",
    )
    labels: Path | None = Field(
        None,
        description="Look-up table of the labels: .tsv/.csv with `index` and `name`, optionally "
        "`network`, `x`, `y`, `z` (mm, RAS).",
    )
    n_rois: int | None = Field(
        None,
        ge=2,
        description="Number of parcels, when there is no image (kind `timeseries` only).",
    )
    space: str = Field("MNI152", description="Template space of the label image.")

    @field_validator("path", "labels")
    @classmethod
    def _exists(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return path if path is None else _existing(path, info)


class Preprocess(Strict):
    """Estimation of masks, transforms, motion, confounds and quality."""

    template: Path | None = Field(
        None, description="T1w template with skull. Default: nilearn's packaged ICBM152 2009a."
    )
    template_mask: Path | None = Field(None, description="Brain mask of `template`.")
    resolution: float = Field(
        2.0, ge=1, le=6, description="Voxel edge in mm at which the T1w is registered."
    )
    registration: Literal["affine", "syn_fast", "syn"] = Field(
        "syn", description="T1w to template. `syn`: CC radius 2; `syn_fast`: mutual information."
    )
    n_dummy_volumes: int = Field(0, ge=0, description="Volumes dropped at the start of each run.")
    slice_timing: bool = Field(True, description="Correct slice timing where the sidecar has it.")
    min_volumes: int = Field(40, ge=10, description="Shorter runs are excluded.")
    max_mean_fd: float | None = Field(
        0.5, gt=0, description="Runs with a larger mean framewise displacement (mm) are excluded."
    )
    fd_threshold: float = Field(
        0.5, gt=0, description="Volumes above this framewise displacement (mm) count as censored."
    )
    min_mask_dice: float = Field(
        0.75, ge=0, le=1, description="Least overlap of template and warped brain mask."
    )
    write_bold: bool = Field(False, description="Also write the preprocessed BOLD (large).")

    @field_validator("template", "template_mask")
    @classmethod
    def _exists(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return path if path is None else _existing(path, info)


class Timeseries(Strict):
    """From BOLD to clean parcel series: one interpolation, parcel means, nuisance regression."""

    denoise: str = Field("cpac-default", description="Name of this set of choices, for the record.")
    motion: Literal["none", "6", "24_lag", "24_derivative"] = Field(
        "24_lag",
        description="Motion regressors: `24_lag` is Friston-24 as in C-PAC, `24_derivative` as in "
        "fMRIPrep.",
    )
    n_compcor: int = Field(5, ge=0, description="aCompCor components from white matter and CSF.")
    csf: bool = Field(True, description="Mean CSF signal as a regressor.")
    white_matter: bool = Field(False, description="Mean white-matter signal as a regressor.")
    global_signal: bool = Field(False, description="Global signal as a regressor.")
    polynomial_order: int = Field(2, ge=0, le=5, description="Order of the polynomial drift.")
    low_hz: float | None = Field(0.01, gt=0, description="Lower band-pass limit in Hz.")
    high_hz: float | None = Field(0.1, gt=0, description="Upper band-pass limit in Hz.")
    order: Literal["regress_then_filter", "joint"] = Field(
        "regress_then_filter",
        description="`regress_then_filter` as in C-PAC; `joint` orthogonalises both in one model.",
    )
    resolution: float = Field(
        3.0, ge=1, le=6, description="Voxel edge in mm of the grid on which parcels are averaged."
    )
    min_coverage: float = Field(
        0.1,
        ge=0,
        le=1,
        description="A parcel of which a smaller share is covered counts as empty and is set to "
        "NaN. Signal loss above the sinuses and ears covers 0.2 to 0.5 of the limbic parcels in "
        "ordinary runs; each parcel's coverage is in the table.",
    )
    max_empty_rois: int = Field(
        0, ge=0, description="Scans with more empty or constant parcels are excluded."
    )

    @model_validator(mode="after")
    def _band(self) -> Timeseries:
        if self.low_hz and self.high_hz and self.low_hz >= self.high_hz:
            raise ValueError(f"low_hz {self.low_hz} must be below high_hz {self.high_hz}")
        return self


class Connectivity(Strict):
    """Functional connectivity of the full series."""

    estimator: Literal["pearson", "ledoit_wolf"] = Field(
        "pearson", description="`ledoit_wolf` is nilearn's default, used by the released BrainMass."
    )


class Pfc(Strict):
    """Pseudo-FC: FC after randomly dropping timepoints."""

    n_views: int = Field(8, ge=2, description="Views stored per scan.")
    drop_rate: float = Field(0.2, gt=0, lt=1, description="Share of timepoints dropped per view.")
    estimator: Literal["pearson", "ledoit_wolf"] = Field(
        "pearson", description="FC estimator of a view."
    )


class Pretrain(Strict):
    """Pre-training of the foundation model."""

    model: Literal["brainmass"] = Field("brainmass", description="Which foundation model.")
    size: Literal["tiny", "small", "base", "large"] = Field("tiny", description="Model size.")
    heads: int | None = Field(
        None, ge=1, description="Attention heads, a divisor of n_rois. Default: that of the size."
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout of the transformer layers.")
    train_heads: bool = Field(
        True,
        description="Train the masked-ROI heads and tokens; the authors' released code leaves "
        "them at their random initial values.",
    )
    epochs: int = Field(20, ge=1, description="Passes over the scans.")
    batch_size: int = Field(32, ge=2, description="Scans per step, over all ranks.")
    lr: float = Field(3e-4, gt=0, description="Learning rate after warm-up.")
    warmup_epochs: int = Field(10, ge=1, description="Epochs of linear warm-up.")
    weight_decay: float = Field(5e-5, ge=0, description="AdamW weight decay.")
    clip_value: float = Field(1.0, gt=0, description="Gradients are clipped to this value.")
    ema_decay: float = Field(0.996, ge=0, lt=1, description="Decay of the target network.")
    lambda_classification: float = Field(0.1, ge=0, description="Weight of MRM classification.")
    lambda_reconstruction: float = Field(2.0, ge=0, description="Weight of MRM reconstruction.")
    n_masked_classification: int = Field(10, ge=2, description="ROIs masked for classification.")
    n_masked_reconstruction: int = Field(5, ge=1, description="ROIs masked for reconstruction.")
    checkpoint_steps: int = Field(50, ge=1, description="Steps between checkpoints.")
    nodes: int = Field(1, ge=1, description="Machines of the torchrun launch.")
    processes_per_node: int = Field(
        0, ge=0, description="Processes per machine; 0: one per GPU, or one on the CPU."
    )
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Autocast type.")


class Protocol(Strict):
    """How a task is evaluated: repeated stratified k-fold over the evaluation participants."""

    n_splits: int = Field(5, ge=2, description="Folds.")
    n_repeats: int = Field(5, ge=1, description="Repetitions with other folds.")


class Task(Strict):
    """One diagnosis task; its name is a Snakemake target."""

    datasets: list[Name] = Field(min_length=1, description="Data sets whose scans take part.")
    label: str = Field(description="Phenotype column of the diagnosis.")
    classes: dict[str, list[str]] = Field(
        min_length=2,
        max_length=2,
        description="Class name to values of the label column; the second class is the positive.",
    )
    exclude: str | None = Field(
        None, description="Scans that fulfil this pandas query over the scans table are excluded."
    )
    protocol: Protocol = Protocol()

    @field_validator("classes", mode="before")
    @classmethod
    def _as_text(cls, classes: Any) -> Any:
        if not isinstance(classes, dict):
            return classes
        # YAML reads a bare yes, no, on, off as true or false: the column's text would be lost
        values = [v for vs in classes.values() for v in (vs if isinstance(vs, list) else [vs])]
        if any(isinstance(v, bool) for v in [*classes, *values]):
            raise ValueError("put yes, no, on, off, true, false in quotes to keep them as text")
        return {
            str(k): [str(x) for x in (v if isinstance(v, list) else [v])]
            for k, v in classes.items()
        }


class Finetune(Strict):
    """Adaptation to the tasks and its baselines."""

    methods: list[
        Literal["chance", "confounds_svm", "fc_svm", "untrained_svm", "brainmass_svm"]
    ] = Field(
        ["chance", "confounds_svm", "fc_svm", "untrained_svm", "brainmass_svm"],
        description="What is scored, all on the same folds.",
    )
    n_bootstrap: int = Field(2000, ge=100, description="Bootstrap draws over participants.")
    permute_labels: bool = Field(
        False, description="Shuffle labels between participants: every score must fall to chance."
    )


class Report(Strict):
    """Appearance of the report."""

    title: str = Field("brainmass", description="Title of the index page.")
    max_figures: int = Field(6, ge=0, description="Scans shown one by one, at most.")


class Resources(Strict):
    """What one job of a stage asks the scheduler for."""

    cpus_per_task: int = Field(1, ge=1, description="Cores; scans are worked on in parallel.")
    mem_mb: int = Field(2000, ge=600, description="Memory in MB; doubled at each retry.")
    runtime: int = Field(60, ge=1, description="Time limit in minutes.")
    gpus: int = Field(0, ge=0, description="GPUs per machine (pretrain).")


DEFAULT_RESOURCES = {
    "scans": Resources(),
    "preprocess": Resources(cpus_per_task=2, mem_mb=6000, runtime=720),
    "timeseries": Resources(cpus_per_task=2, mem_mb=4000, runtime=240),
    "connectivity": Resources(),
    "pfc": Resources(),
    "pretrain": Resources(cpus_per_task=2, mem_mb=8000, runtime=2880),
    "finetune": Resources(cpus_per_task=2, mem_mb=8000, runtime=720),
    "report": Resources(mem_mb=4000),
}


class Config(Strict):
    """The whole configuration."""

    results: Path = Field(Path("results"), description="Folder of everything that is written.")
    seed: int = Field(42, ge=0, description="Seed of splits, pseudo-FC, training and folds.")
    presets: list[str] = Field(
        default_factory=list, description="Named settings that this file extends, in order."
    )
    max_failed_fraction: float = Field(
        0.5, ge=0, le=1, description="A batch with a larger share of failed scans is an error."
    )
    datasets: dict[Name, Dataset] = Field(min_length=1, description="Data sets by name.")
    atlas: Atlas = Atlas()
    preprocess: Preprocess = Preprocess()
    timeseries: Timeseries = Timeseries()
    connectivity: Connectivity = Connectivity()
    pfc: Pfc = Pfc()
    pretrain: Pretrain = Pretrain()
    tasks: dict[Name, Task] = Field(default_factory=dict, description="Tasks by name.")
    finetune: Finetune = Finetune()
    report: Report = Report()
    resources: dict[Stage, Resources] = Field(
        default_factory=dict, description="Per stage; what is not given keeps its default."
    )

    def stage_resources(self, stage: str) -> Resources:
        """Resources of one stage, the default where the file gives none."""
        return self.resources.get(stage, DEFAULT_RESOURCES[stage])  # type: ignore[call-overload]

    @model_validator(mode="after")
    def _references(self) -> Config:
        errors = list(_cross_check(self))
        if errors:
            raise ValueError("\n".join(errors))
        return self


def _cross_check(config: Config) -> Iterator[str]:
    """Errors between sections, as text."""
    for name, task in config.tasks.items():
        if name in (*STAGES, "all", "demo"):
            yield f"tasks.{name}: a task cannot be called like a stage; rename it"
        for dataset in task.datasets:
            if dataset not in config.datasets:
                yield (
                    f"tasks.{name}.datasets: there is no data set {dataset!r}"
                    f"{near_miss(dataset, config.datasets)}"
                )
            elif config.datasets[dataset].role == "pretrain":
                yield (
                    f"tasks.{name}.datasets: {dataset!r} has role pretrain, which has nothing to "
                    "evaluate; give it the role internal or external"
                )
        values = [v for vs in task.classes.values() for v in vs]
        if len(values) != len(set(values)):
            yield f"tasks.{name}.classes: a label value stands in two classes: {task.classes}"
    if not any(d.role != "external" for d in config.datasets.values()):
        yield "datasets: all are external, so nothing is left to pre-train on"
    names = [n.lower() for n in config.datasets]
    if len(names) != len(set(names)):
        yield "datasets: two names differ only in case, which not every file system keeps apart"


def _existing(path: Path, info: ValidationInfo) -> Path:
    check = (info.context or {}).get("check_paths", True)
    if check and not path.exists():
        raise ValueError(
            f"{path} does not exist (looked from {os.getcwd()}); correct the path or mount the data"
        )
    return path


def near_miss(word: str, choices: Any) -> str:
    """Suggest the closest of the choices, or list them."""
    close = difflib.get_close_matches(word, [str(c) for c in choices], n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {sorted(map(str, choices))}"
