"""Sections ``connectivity``, ``quality``, ``pfc``, ``interpret`` and ``report``.

Also ``resources``; `config.model` states where the other sections are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from brainmass_core.config.base import Strict, existing, without_braces
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
    """Quality pages of scans and of the cohort; of these settings only ratings exclude scans."""

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
    ratings: list[Path] = Field(
        default_factory=list,
        description="Files of ratings that the quality pages download, of one or several raters. "
        "Scans that they exclude (`exclude_if`) have no FC and are used for nothing after it.",
    )
    exclude_if: Literal["any", "majority", "all"] = Field(
        "any",
        description="A scan is excluded if at least one of its raters (`any`), more than half of "
        "them (`majority`) or all of them (`all`) rated it `exclude`.",
    )

    @field_validator("ratings")
    @classmethod
    def _readable(cls, files: list[Path], info: ValidationInfo) -> list[Path]:
        twice = sorted({str(f) for f in files if files.count(f) > 1})
        if twice:
            raise ValueError(f"found {', '.join(twice)} more than once; remove the repetition")
        return [existing(file, info) for file in files]

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


def resources_of(stage: str, given: Resources | None = None) -> Resources:
    """Resources of a stage: values that are not given keep the defaults of the stage."""
    known = STAGES[stage]
    found = Resources(cpus_per_task=known.cpus_per_task, mem_mb=known.mem_mb, runtime=known.runtime)
    return found.model_copy(update=given.model_dump(exclude_unset=True)) if given else found
