"""Checks of few-shot curves and zero-shot transfer against the tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from brainmass_core.config.base import near_miss

if TYPE_CHECKING:
    from brainmass_core.config.model import Config


def check_transfer(config: Config) -> Iterator[str]:
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


def check_few_shot(config: Config) -> Iterator[str]:
    """Error if learning curves are requested but all tasks are regressions."""
    kinds = {task.kind for task in config.tasks.values()}
    if config.few_shot.shots and kinds == {"regression"}:
        yield (
            f"few_shot.shots: found {config.few_shot.shots}, but all tasks are regressions; "
            "learning curves draw participants of each class. Remove few_shot.shots, or define a "
            "classification, such as old against young"
        )
