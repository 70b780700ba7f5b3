"""Find columns that the data sets of a task may have coded in different ways.

A table does not say what its codes mean: 1 may be a patient in one data set and a control in
another, and ages may be in months. The warnings give the numbers, so that the user can judge. They
are logged, stored with the results of the task, and shown on its page.
"""

from __future__ import annotations

import logging
import re

import pandas as pd

from brainmass_core.config.tasks import Task
from brainmass_core.readers.missing import NUMBER

log = logging.getLogger(__name__)
FOLD = 8.0  # between medians: months instead of years give 12, and cohorts also differ in age
MAX_CODES = 10  # different values of a column with groups, such as handedness
PHENO = "pheno_"
Warned = tuple[str, str]  # column of the data sets' tables, and the warning
UNITS = {"age": "months instead of years", "mean_fd": "another unit than mm"}


def doubtful_codings(cohort: pd.DataFrame, task: Task, name: str) -> pd.DataFrame:
    """Find columns that two data sets of a task may have coded in different ways; log them.

    Parameters
    ----------
    cohort : DataFrame
        Columns of `tables.COHORT`, those of the phenotype table (``pheno_``) and, of a
        regression, `y`.

    Returns
    -------
    DataFrame
        `tables.CODINGS`, a warning per row; without rows if there is none.
    """
    used = cohort[cohort["used"]]
    found: list[Warned] = []
    if used["dataset"].nunique() > 1:
        found = [*_labels(used, task), *_units(used, task), *_query(cohort, task)]
    for _, text in found:
        log.warning("%s: %s", name, text)
    return pd.DataFrame(found, columns=["column", "warning"], dtype=object).assign(task=name)


def _labels(used: pd.DataFrame, task: Task) -> list[Warned]:
    """Classes that two data sets code by the same numbers."""
    values = [value.strip() for of in task.classes.values() for value in of]
    shared = [v for v in values if NUMBER.fullmatch(v) and _datasets_with(used, v) > 1]
    if not shared:
        return []
    counts = pd.crosstab(used["dataset"], used["class_name"])
    texts = "; ".join(
        f"{dataset}: {', '.join(f'{c} {int(row.get(c, 0))}' for c in task.classes)}"
        for dataset, row in counts.iterrows()
    )
    text = (
        f"the codes {', '.join(shared)} of column {task.label!r} are taken to mean the same in all "
        f"data sets ({texts} scans); check that in their documentation: if a data set codes its "
        "groups the other way round, write words in a copy of its table (phenotype.path)"
    )
    return [(task.label, text)]


def _datasets_with(used: pd.DataFrame, value: str) -> int:
    same = used["label"].astype(str).str.strip().str.removesuffix(".0") == value.removesuffix(".0")
    return used.loc[same, "dataset"].nunique()


def _units(used: pd.DataFrame, task: Task) -> list[Warned]:
    """Numbers whose medians differ by more than those of cohorts usually do."""
    said: list[Warned] = []
    known = dict(UNITS)
    if task.kind == "regression":
        known["y"] = "another unit"
    for column, perhaps in known.items():
        numbers = pd.to_numeric(used[column]) if column in used else pd.Series(dtype=float)
        medians = numbers.groupby(used["dataset"]).median().dropna()
        positive = medians[medians > 0]
        if len(positive) > 1 and positive.max() >= FOLD * positive.min():
            texts = ", ".join(f"{d} {m:.3g}" for d, m in positive.items())
            of = f"the label {task.label!r}" if column == "y" else column
            text = (
                f"the medians of {of} differ more than {FOLD:g}-fold between data sets ({texts}): "
                f"is one in {perhaps}? If so, correct a copy of its table (phenotype.path)"
            )
            said.append((task.label if column == "y" else column, text))
    return said


def _query(cohort: pd.DataFrame, task: Task) -> list[Warned]:
    """Columns of the task's query for which two data sets have no value in common."""
    said: list[Warned] = []
    for column in sorted(set(re.findall(rf"\b{PHENO}\w+", task.exclude or ""))):
        if column not in cohort:
            continue
        known = cohort.dropna(subset=column)
        codes = {str(d): set(of.astype(str)) for d, of in known.groupby("dataset")[column]}
        few = {d: of for d, of in codes.items() if len(of) <= MAX_CODES}
        names = sorted(few)
        apart = any(not few[a] & few[b] for i, a in enumerate(names) for b in names[i + 1 :])
        if apart:
            texts = "; ".join(f"{d}: {', '.join(sorted(few[d]))}" for d in names)
            text = (
                f"exclude uses {column}, of which the data sets have no value in common "
                f"({texts}): the query must name the codes of each, as in .isin(['L', '1'])"
            )
            said.append((column.removeprefix(PHENO), text))
    return said
