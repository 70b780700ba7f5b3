"""The root of ``config.yaml``: general settings, the list of sections, and checks across sections.

Every setting is declared once, with default, unit, limits and help. Sections are in
`config.preprocess`, `config.timeseries`, `config.series_model`, `config.inputs` (``datasets``,
``atlas``), `config.tasks` (``tasks``, ``finetune``), `config.adaptation` (``neural``, ``few_shot``,
``zero_shot``), and `config.sections` (all others).
The reference page and the JSON schema are generated from it (`brainmass_core.config.reference`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import Field, field_validator, model_validator

from brainmass_core.config.adaptation import FewShot, Neural, ZeroShot
from brainmass_core.config.base import (
    RULES,
    Name,
    Strict,
    near_miss,
    without_braces,
)
from brainmass_core.config.encoder import (
    asked_for,
    check_all_external,
    fits,
    known,
    sees_series,
    those_with,
)
from brainmass_core.config.inputs import Atlas, Dataset
from brainmass_core.config.preprocess import Preprocess
from brainmass_core.config.sections import (
    Connectivity,
    Interpret,
    Pfc,
    Pretrain,
    Quality,
    Report,
    Resources,
    default_resources,
)
from brainmass_core.config.series_model import SeriesModel
from brainmass_core.config.tasks import ConfoundName, Finetune, Task
from brainmass_core.config.timeseries import Timeseries
from brainmass_core.encoders.methods import SERIES
from brainmass_core.encoders.record import EncoderError
from brainmass_core.encoders.registry import FEATURES, encoder_of, needed_by
from brainmass_core.pipeline.stages import STAGES, StageName

HANDLED = {"match": ["site", "sex"], "combat": ["site"]}  # regardless of `confound_columns`
ONE_PARCEL = ("networks", "attention")  # analyses of the attention to single parcels


class Config(Strict):
    """The complete configuration."""

    results: Path = Field(Path("results"), description="Folder for all output.")
    seed: int = Field(42, ge=0, description="Seed of splits, pseudo-FC, training and folds.")
    presets: list[str] = Field(
        default_factory=list, description="Presets that this file extends, in order."
    )
    max_failed_fraction: float = Field(
        0.5,
        ge=0,
        le=1,
        description="If a larger fraction of the scans of a data set fails in a stage, none of its "
        "scans is used by the results that depend on the stage: pre-training, tasks, series_model.",
    )
    scan_timeout: float = Field(
        14400,
        gt=0,
        allow_inf_nan=False,
        description="Maximum time in seconds for one scan in one stage; a scan that takes longer "
        "is stopped and fails.",
    )
    allow_same_ids: list[str] = Field(
        default_factory=list,
        description="Participant ids, or patterns such as `sub-0*`, that are different people in "
        "different data sets; or names of data sets whose ids refer to people in no other data "
        "set. Otherwise the same id means the same person, who must not be used for both training "
        "or pre-training and testing.",
    )
    datasets: dict[Name, Dataset] = Field(min_length=1, description="Data sets by name.")
    atlas: Atlas = Atlas()
    preprocess: Preprocess = Preprocess()
    timeseries: Timeseries = Timeseries()
    connectivity: Connectivity = Connectivity()
    quality: Quality = Quality()
    pfc: Pfc = Pfc()
    pretrain: Pretrain = Pretrain()
    tasks: dict[Name, Task] = Field(default_factory=dict, description="Tasks by name.")
    finetune: Finetune = Finetune()
    neural: Neural = Neural()
    few_shot: FewShot = FewShot()
    zero_shot: ZeroShot = ZeroShot()
    interpret: Interpret = Interpret()
    series_model: SeriesModel = SeriesModel()
    report: Report = Report()
    resources: dict[StageName, Resources] = Field(
        default_factory=dict,
        description="Per stage; values that are not given keep their defaults.",
    )

    def stage_resources(self, stage: str) -> Resources:
        """Resources of one stage, with defaults for missing values."""
        return self.resources.get(stage) or default_resources(stage)

    @property
    def pretrains(self) -> bool:
        """Whether there are participants to pre-train a model on."""
        return bool(self.pretrain_datasets())

    @field_validator("results")
    @classmethod
    def _usable(cls, path: Path) -> Path:
        return without_braces(path)

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_model(cls, given: Any) -> Any:
        """Set the default methods for the model that is pre-trained."""
        pretrain = given.get("pretrain") if isinstance(given, dict) else None
        model = pretrain.get("model") if isinstance(pretrain, dict) else None
        try:
            defaults = encoder_of(str(model)).defaults
        except EncoderError:  # the default model, or one that is refused by its own section
            return given
        sections = {name: given.get(name) or {} for name in defaults}
        filled = {n: {**defaults[n], **s} for n, s in sections.items() if isinstance(s, dict)}
        return given | filled

    @model_validator(mode="after")
    def _references(self) -> Config:
        errors = list(_cross_check(self))
        if errors:
            raise ValueError("\n".join(errors))
        return self

    def pretrain_datasets(self) -> list[str]:
        """Data sets whose participants, except those kept for evaluation, are used for
        pre-training."""
        return [n for n, d in self.datasets.items() if STAGES["pretrain"].takes(d)]

    def tested_datasets(self) -> list[str]:
        """Data sets whose participants are tested by tasks or by analyses of a BrainLM."""
        named = [d for task in self.tasks.values() for d in task.datasets]
        if self.series_model.analyses:
            named += [n for n, d in self.datasets.items() if d.role != "pretrain"]
        return list(dict.fromkeys(named))

    def target_confounds(self, task: str) -> list[ConfoundName]:
        """Confounds that are the target of a task, because its label is their column."""
        label, names = self.tasks[task].label, get_args(ConfoundName)
        tables = [self.datasets[d].phenotype for d in self.tasks[task].datasets]
        return [n for n in names if label in {getattr(t, f"{n}_column") for t in tables}]


def _cross_check(config: Config) -> Iterator[str]:
    """Errors between sections, as text."""
    for name, task in config.tasks.items():
        if name in (*STAGES, *RULES):
            yield f"tasks.{name}: a task cannot have the name of a stage or a target; rename it"
        if name.lower() == "index":
            yield (
                f"tasks.{name}: index is the name of the front page of the report; rename the task"
            )
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
            yield f"tasks.{name}.classes: a label value is in two classes: {task.classes}"
        if set(task.datasets) <= set(config.datasets):
            yield from _check_confounds(config, name)
    yield from _check_transfer(config)
    yield from _check_few_shot(config)
    yield from _check_encoder(config)
    yield from _check_series_model(config)
    yield from _check_unit(config)
    yield from check_all_external(config)
    for name in config.datasets:
        if name in (*STAGES, "all"):
            yield f"datasets.{name}: a data set cannot have the name of a stage; rename it"
    for section in ("datasets", "tasks"):
        names = [n.lower() for n in getattr(config, section)]
        if len(names) != len(set(names)):
            yield (
                f"{section}: two names differ only in case, which not every file system "
                "distinguishes"
            )


def _check_confounds(config: Config, name: str) -> Iterator[str]:
    """Error for a task whose target is among the confounds removed from its features."""
    task = config.tasks[name]
    seen = HANDLED.get(task.confounds, task.confound_columns if task.confounds == "regress" else [])
    for target in set(seen) & set(config.target_confounds(name)):
        remedy = "set confounds: none"
        if task.confounds == "regress" and len(seen) > 1:
            remedy = f"set confound_columns: [{', '.join(c for c in seen if c != target)}]"
        yield (
            f"tasks.{name}.confounds: {task.confounds} removes {target}, which is the target: the "
            f"label {task.label!r} is also the {target}_column of a data set; {remedy}"
        )


def _check_transfer(config: Config) -> Iterator[str]:
    """Errors in the sources of zero-shot transfer."""
    for name, task in config.tasks.items():
        here = f"tasks.{name}.zero_shot_from"
        source = task.zero_shot_from
        if source and task.kind == "regression":
            yield (
                f"{here}: found kind: regression; zero-shot only transfers classes. For a number "
                "use protocol.kind: cross_cohort with train_datasets, or remove zero_shot_from"
            )
            continue
        if source and task.confounds == "combat":
            yield (
                f"{here}: found confounds: combat, which cannot adjust sites of an unseen cohort; "
                f"set tasks.{name}.confounds to regress or match, or to none with "
                "zero_shot.harmonise: site_mean"
            )
        if isinstance(source, str):
            if source == name:
                yield f"{here}: a task cannot be its own source"
            elif source not in config.tasks:
                yield (
                    f"{here}: there is no task {source!r}{near_miss(source, config.tasks)}; for "
                    f"data sets write a list: [{source}]"
                )
            elif list(config.tasks[source].classes) != list(task.classes):
                yield (
                    f"{here}: {source!r} has the classes {list(config.tasks[source].classes)}, "
                    f"expected those of the task in the same order, {list(task.classes)}"
                )
        for dataset in source if isinstance(source, list) else []:
            if dataset not in config.datasets:
                yield (
                    f"{here}: there is no data set {dataset!r}{near_miss(dataset, config.datasets)}"
                )
            elif dataset in task.datasets:
                yield f"{here}: {dataset!r} is among the task's data sets; it would not be unseen"


def _check_few_shot(config: Config) -> Iterator[str]:
    """Error if learning curves are requested but all tasks are regressions."""
    kinds = {task.kind for task in config.tasks.values()}
    if config.few_shot.shots and kinds == {"regression"}:
        yield (
            f"few_shot.shots: found {config.few_shot.shots}, but all tasks are regressions; "
            "learning curves draw participants of each class. Remove few_shot.shots, or define a "
            "classification, such as old against young"
        )


def _check_encoder(config: Config) -> Iterator[str]:
    """Errors for settings that need another model than the one that is pre-trained."""
    model, encoder = config.pretrain.model, config.pretrain.encoder
    for name, values in asked_for(config).items():
        stray = [v for v in values if not fits(name, v, encoder)]
        if stray:
            there = [v for v in known(name) if fits(name, v, encoder)]
            other = those_with(name, stray[0])[0]
            yield (
                f"{name}: found {', '.join(stray)} with pretrain.model {model}; these need "
                f"{other.phrase}. Set {name} to some of those available for {model}: "
                f"{', '.join(there)}. Or set pretrain.model to {other.models[0]}"
            )


def _check_unit(config: Config) -> Iterator[str]:
    """Errors for methods on the series of single runs if FC is of joined runs."""
    unit = config.connectivity.unit
    if unit == "run":
        return
    if config.pretrain.source == "timeseries" and not config.pretrain.encoder.sees_series:
        yield (
            f"pretrain.source: found timeseries with connectivity.unit {unit}; pseudo-FC of joined "
            "runs is drawn by the stage pfc: set pretrain.source to pfc, or connectivity.unit to "
            "run"
        )
    for name, values in asked_for(config).items():
        if stray := [v for v in values if sees_series(name, v)]:
            other = those_with(name, stray[0])[0]
            yield (
                f"{name}: found {', '.join(stray)} with connectivity.unit {unit}; {other.phrase} "
                "uses single runs, so its scores would be for other rows than those of FC: remove "
                f"them from {name}, or set connectivity.unit to run"
            )


def _check_series_model(config: Config) -> Iterator[str]:
    """Analyses that the configured model, tasks or data sets do not allow."""
    s, model = config.series_model, config.pretrain.model
    if not s.analyses:
        return
    tokens = config.pretrain.encoder.token_steps
    if not config.pretrain.encoder.sees_series:
        other = needed_by(FEATURES[SERIES])[0]
        yield (
            f"series_model.analyses: found {', '.join(s.analyses)} with pretrain.model {model}, "
            f"which does not use series; set pretrain.model to {other.phrase}, or "
            "series_model.analyses to []"
        )
        return
    if len(s.analyses) != len(set(s.analyses)):
        yield f"series_model.analyses: found a duplicate: {', '.join(s.analyses)}; remove it"
    if all(d.role == "pretrain" for d in config.datasets.values()):
        yield (
            "series_model.analyses: all data sets have role pretrain, so there are no "
            "participants that the model has not seen; give one the role internal or external"
        )
    patch = tokens.get(model, 1)
    for name in ("observed_steps", "predicted_steps") if "forecast" in s.analyses else ():
        if getattr(s, name) % patch:
            yield (
                f"series_model.{name}: found {getattr(s, name)}, expected a multiple of {patch}, "
                f"the number of timepoints per token of {model}"
            )
    by_parcel = [a for a in s.analyses if a in ONE_PARCEL]
    if by_parcel and model not in tokens:
        yield (
            f"series_model.analyses: found {', '.join(by_parcel)} with pretrain.model {model}, "
            f"whose tokens mix parcels; remove them, or pre-train one of {', '.join(tokens)}"
        )
    if s.task is None:
        if "perturbation" in s.analyses:
            yield (
                "series_model.task: not given, but perturbation needs two classes of a task; name "
                "a classification with two classes, or remove perturbation"
            )
        return
    if s.task not in config.tasks:
        yield f"series_model.task: there is no task {s.task!r}{near_miss(s.task, config.tasks)}"
    elif len(config.tasks[s.task].classes) != 2:
        found = list(config.tasks[s.task].classes)
        yield f"series_model.task: {s.task} has the classes {found}, expected two of them"
