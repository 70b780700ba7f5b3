"""Columns of a phenotype table that the configuration names; only these enter the results."""

from __future__ import annotations

import re

from brainmass_core.config.model import Config
from brainmass_core.config.tasks import Task

# in a query of a task: `pheno_AGE AT SCAN` in backticks, or a plain name
IN_QUERY = re.compile(r"`pheno_([^`]+)`|\bpheno_(\w+)")


def named_phenotypes(config: Config, dataset: str) -> list[str]:
    """Columns that the data set, its tasks and the quality pages name, in alphabetical order.

    Without ids; columns named by tasks may be missing in the table.
    """
    section = config.datasets[dataset]
    table = section.phenotype
    fields = [f for f in type(table).model_fields if f.endswith("_column") and f != "id_column"]
    found = {getattr(table, f) for f in fields} | {section.stratify_by, config.quality.group_column}
    for task in tasks_of(config, dataset):
        found |= {task.label, task.protocol.split_column}
        found |= {quoted or plain for quoted, plain in IN_QUERY.findall(task.exclude or "")}
    return sorted(column for column in found if column is not None)


def tasks_of(config: Config, dataset: str) -> list[Task]:
    """Tasks that read labels of a data set, including those that only train on it."""
    return [
        task
        for task in config.tasks.values()
        if dataset in task.datasets
        or (isinstance(task.zero_shot_from, list) and dataset in task.zero_shot_from)
    ]


def targets_of(config: Config, dataset: str) -> list[str]:
    """Columns that are targets of regressions on a data set."""
    return sorted({t.label for t in tasks_of(config, dataset) if t.kind == "regression"})


def groups_of(config: Config, dataset: str) -> list[str]:
    """Columns whose values are groups: for stratification, quality pages and fixed splits."""
    found = {config.datasets[dataset].stratify_by, config.quality.group_column}
    found |= {task.protocol.split_column for task in tasks_of(config, dataset)}
    return sorted(column for column in found if column is not None)
