"""Sections ``connectivity``, ``quality``, ``pfc``, ``pretrain``, ``interpret`` and ``report``.

Also ``resources``; `config.model` states where the other sections are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from brainmass_core.config.base import Strict, without_braces
from brainmass_core.config.names import ModelName
from brainmass_core.encoders.record import Encoder, EncoderError
from brainmass_core.encoders.registry import encoder_of, encoders
from brainmass_core.pipeline.stages import STAGES

InterpretName = Literal["attention", "gradient", "permutation", "fc_pattern"]


class Connectivity(Strict):
    """Functional connectivity of the full series."""

    estimator: Literal["pearson", "ledoit_wolf"] = Field(
        "pearson", description="`ledoit_wolf` is nilearn's default, used by the released BrainMass."
    )
    unit: Literal["run", "session", "participant"] = Field(
        "run",
        description="Unit of FC and pseudo-FC: a single run, or all runs of a task in a session "
        "or of a participant, which are cleaned, z-scored and then concatenated. Time series, "
        "quality pages and BrainLM always use single runs.",
    )


class Quality(Strict):
    """Quality pages of scans and of the cohort; these settings do not exclude scans."""

    pages: Literal["all", "flagged", "none"] | None = Field(
        None,
        description="Scans that get their own page: all, only outliers and failed or excluded "
        "ones (`flagged`), or none. A page takes about half a megabyte. Default: all, or flagged "
        "in a study of more than 2,000 scans.",
    )
    outlier_z: float = Field(
        3.5,
        gt=0,
        description="A scan is an outlier if a measure is more than this number of robust "
        "standard deviations (median absolute deviation) on the bad side of the median: of its "
        "batch on the page of the scan, of the data set on the page of the cohort.",
    )
    group_column: str | None = Field(
        None,
        description="Phenotype column whose groups are compared, such as the diagnosis. Default: "
        "the classes of the tasks.",
    )

    @property
    def with_page(self) -> Literal["all", "flagged", "none"]:
        """`pages`, where null means a small study."""
        return self.pages or "all"


class Pfc(Strict):
    """Pseudo-FC: FC after randomly dropping timepoints."""

    n_views: int = Field(8, ge=2, description="Views stored per scan.")
    drop_rate: float = Field(
        0.2, gt=0, lt=1, description="Fraction of timepoints dropped per view."
    )
    drop_count: int | None = Field(
        None, ge=1, description="Number of timepoints dropped per view, instead of `drop_rate`."
    )
    window: int | None = Field(
        None,
        ge=3,
        description="Each view is a window of this number of timepoints at a random position, "
        "instead of `drop_rate`.",
    )
    estimator: Literal["pearson", "ledoit_wolf"] = Field(
        "pearson", description="FC estimator of a view."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Pfc:
        if self.drop_count is not None and self.window is not None:
            raise ValueError(
                f"found drop_count {self.drop_count} and window {self.window}: set one of them"
            )
        return self

    @property
    def dropping(self) -> str:
        """Description of a view, in words."""
        if self.window is not None:
            return f"a window of {self.window} timepoints"
        if self.drop_count is not None:
            return f"what is left after dropping {self.drop_count} timepoints"
        return f"what is left after dropping {self.drop_rate:.0%} of the timepoints"


class BrainLM(Strict):
    """Input and masking of a BrainLM; `pretrain.model` selects the model.

    Scans shorter than the window are excluded. Each step hides either random tokens or the end of
    the window, in all of its scans.
    """

    window: int = Field(
        200,
        ge=2,
        description="Timepoints of a scan used in a step, at a random position; for `brainlm-13m` "
        "and `brainlm-tiny` a multiple of 20, the length of their tokens.",
    )
    mask_ratio: float = Field(
        0.75, gt=0, lt=1, description="Fraction of the tokens that is hidden."
    )
    future_share: float = Field(
        0.0, ge=0, le=1, description="Fraction of the steps that hide the last timepoints instead."
    )
    future_steps: int = Field(
        20, ge=1, description="Timepoints at the end of the window that these steps hide."
    )
    mode: Literal["corrected", "reference"] = Field(
        "corrected",
        description="`reference` computes the same as the released code, including its "
        "peculiarities.",
    )
    t_r: float | None = Field(
        None,
        gt=0,
        description="Repetition time in seconds of the model's input. Default: that of the scans, "
        "which must then be the same for all.",
    )
    other_t_r: Literal["reject", "resample"] = Field(
        "reject",
        description="Handling of scans with another repetition time than `t_r`: excluded or "
        "interpolated in time. Scans with unknown repetition time are excluded.",
    )


class Pretrain(Strict):
    """Pre-training of the foundation model."""

    model: ModelName = Field(
        "brainmass",
        description="Which foundation model: BrainMass of functional connectivity, in one of the "
        "sizes below; or BrainLM of time series, whose size is its name. `brainlm-tiny` and "
        "`brainlm-vit-tiny` are small versions of its two architectures, for tests on a CPU.",
    )
    brainlm: BrainLM = BrainLM()
    source: Literal["pfc", "timeseries"] = Field(
        "pfc",
        description="Source of views: `pfc` reads the stored ones, `timeseries` draws new ones at "
        "each step, on the training device; the stage `pfc` is then not run. A BrainLM always "
        "reads `timeseries`.",
    )
    size: Literal["tiny", "small", "base", "large", "release-2"] = Field(
        "tiny", description="Model size; `release-2` is that of the authors' code of 2026."
    )
    heads: int | None = Field(
        None,
        ge=1,
        description="Number of attention heads, a divisor of n_rois. Default: that of the size; "
        "`tiny` (5) and `release-2` (12) take the largest divisor up to it.",
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
    schedule: Literal["constant", "cosine", "linear"] = Field(
        "constant",
        description="Learning rate after warm-up, by epoch: constant as in the released code, or "
        "decreasing to `lr_end` in the last epoch.",
    )
    lr_end: float = Field(
        1e-6,
        ge=0,
        description="Learning rate of the last epoch of the schedules `cosine` and `linear`.",
    )
    weight_decay: float = Field(5e-5, ge=0, description="AdamW weight decay.")
    clip_value: float = Field(1.0, gt=0, description="Gradients are clipped to this value.")
    ema_decay: float = Field(0.996, ge=0, lt=1, description="Decay of the target network.")
    lambda_classification: float = Field(0.1, ge=0, description="Weight of MRM classification.")
    lambda_reconstruction: float = Field(2.0, ge=0, description="Weight of MRM reconstruction.")
    n_masked_classification: int = Field(10, ge=2, description="ROIs masked for classification.")
    n_masked_reconstruction: int = Field(5, ge=1, description="ROIs masked for reconstruction.")
    masking: Literal["rows", "rows_and_columns"] = Field(
        "rows",
        description="Which values of a masked ROI are hidden: its row of the FC, as in the "
        "released code, although its column contains the same values; or row and column.",
    )
    passes: Literal["separate", "merged"] = Field(
        "separate",
        description="Passes of a step through the encoder: separate for alignment and the "
        "masked-ROI tasks, as published; or merged: the online network sees masked views, which "
        "serve both, the target network entire ones; the operations of 8 instead of 14 passes.",
    )
    fisher_z: bool = Field(
        False,
        description="Transform FC by Fisher z (the inverse hyperbolic tangent, of FC clipped to "
        "±0.999999) before the encoder, in pre-training and in tasks.",
    )
    checkpoint_steps: int = Field(50, ge=1, description="Steps between checkpoints.")
    nodes: int = Field(1, ge=1, description="Machines of the torchrun launch.")
    processes_per_node: int = Field(
        0, ge=0, description="Processes per machine; 0: one per GPU, or one on the CPU."
    )
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Autocast type.")
    compile: bool | Literal["auto"] = Field(
        False,
        description="Compile the model by torch.compile: true, false, or auto, which is on GPUs "
        "only. Names in weights and checkpoints are the same in all cases.",
    )

    @property
    def encoder(self) -> Encoder:
        """The encoder record of the model."""
        return encoder_of(self.model)

    @property
    def windows(self) -> BrainLM:
        """Input settings of an encoder of series."""
        return self.brainlm

    @property
    def of_others(self) -> set[str]:
        """Settings that only other encoders have."""
        return {name for e in encoders() if e is not self.encoder for name in e.knobs}

    @model_validator(mode="before")
    @classmethod
    def _source_of_series(cls, given: Any) -> Any:
        try:
            sees_series = encoder_of(str(given["model"])).sees_series
        except (KeyError, TypeError, EncoderError):
            return given
        return {"source": "timeseries", **given} if sees_series else given

    @model_validator(mode="after")
    def _fits_model(self) -> Pretrain:
        encoder = self.encoder
        if encoder.sees_series and self.source != "timeseries":
            raise ValueError(
                f"found source {self.source} with model {self.model}, which uses the series "
                "themselves; remove source, or set it to timeseries"
            )
        for other in encoders():
            self._refuse_knobs_of(other)
        if encoder.check is not None:
            encoder.check(self)
        return self

    def _refuse_knobs_of(self, other: Encoder) -> None:
        """Refuse settings of encoders other than the one that is trained."""
        fields = type(self).model_fields
        stray = [n for n in other.knobs if getattr(self, n) != fields[n].default]
        if other is self.encoder or not stray:
            return
        for name in stray:
            if isinstance(fields[name].default, Strict):
                raise ValueError(
                    f"{name}: found these settings with model {self.model}, which does not use "
                    f"them; set model to {other.phrase} or remove them"
                )
        raise ValueError(
            f"found {', '.join(stray)} with model {self.model}: only {other.name} has them; "
            "remove them"
        )

    @model_validator(mode="after")
    def _room_to_fall(self) -> Pretrain:
        if self.schedule == "constant":
            return self
        if self.epochs <= self.warmup_epochs:
            raise ValueError(
                f"found schedule {self.schedule} with epochs {self.epochs} and warmup_epochs "
                f"{self.warmup_epochs}: no epoch remains after warm-up; raise epochs or lower "
                "warmup_epochs"
            )
        if self.lr_end > self.lr:
            raise ValueError(f"found lr_end {self.lr_end} above lr {self.lr}; lower lr_end")
        return self


class Interpret(Strict):
    """The regions that drive a task's decision, by several methods, with their stability."""

    methods: list[InterpretName] = Field(
        ["attention", "gradient", "permutation", "fc_pattern"],
        description="Methods: attention maps of the encoder; integrated gradients of a linear "
        "probe on its embedding; the loss of that probe's separation when a region is exchanged "
        "between participants; the pattern of a linear model of FC. An empty list switches the "
        "stage off. If `pretrain.model` is a BrainLM, there are `gradient`, by parcel of the "
        "series, and `fc_pattern`, which is then the default.",
    )
    top_k: int = Field(10, ge=1, description="Most important regions whose stability is measured.")
    n_repeats: int = Field(
        2,
        ge=1,
        description="Number of repeats of the task's protocol that are explained, from the first.",
    )
    max_scans: int = Field(
        16,
        ge=2,
        description="Maximum number of test scans explained per fold, balanced over classes; "
        "attention uses all.",
    )
    n_steps: int = Field(16, ge=2, description="Points on the path of the integrated gradients.")
    n_permutations: int = Field(
        1, ge=1, description="Exchanges per region and fold of the permutation importance."
    )
    n_null: int = Field(
        5000, ge=100, description="Shuffles of the network labels over the regions."
    )


class Report(Strict):
    """Appearance of the report."""

    title: str = Field("brainmass", description="Title of the index page.")
    max_figures: int = Field(6, ge=0, description="Maximum number of scans shown individually.")
    compare: list[Path] = Field(
        default_factory=list,
        description="Other results folders, each of the same tasks with another configuration: "
        "ablations. Their scores are drawn next to those of this folder, by the settings that "
        "differ.",
    )

    @field_validator("compare")
    @classmethod
    def _usable(cls, folders: list[Path]) -> list[Path]:
        return [without_braces(folder) for folder in folders]


class Resources(Strict):
    """Resources that one job of a stage requests from the scheduler."""

    cpus_per_task: int = Field(1, ge=1, description="Cores; scans are processed in parallel.")
    mem_mb: int = Field(2000, ge=600, description="Memory in MB; doubled at each retry.")
    runtime: int = Field(60, ge=1, description="Time limit in minutes.")
    gpus: int = Field(0, ge=0, description="GPUs per machine (pretrain).")


def default_resources(stage: str) -> Resources:
    """Default resources of a stage."""
    known = STAGES[stage]
    return Resources(cpus_per_task=known.cpus_per_task, mem_mb=known.mem_mb, runtime=known.runtime)
