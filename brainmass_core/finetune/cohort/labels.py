"""Labels of a task: the class or number of every scan, and the scans excluded for theirs."""

from __future__ import annotations

import pandas as pd

from brainmass_core.config.base import near_miss
from brainmass_core.config.tasks import Task
from brainmass_core.finetune.cohort.query import caught_by
from brainmass_core.readers import FileError
from brainmass_core.readers.missing import NUMBER, numbers

PHENO = "pheno_"


class TaskError(ValueError):
    """A task cannot be evaluated; the message says what was found and what to do."""


def canonical(value: str) -> str:
    """Normalise a label for comparison: ``' 1.0'`` and ``'1'`` are the same value.

    Text that is not an integer is only stripped of surrounding white space, and so are integers
    with more digits than a float distinguishes.
    """
    text = str(value).strip()
    if not NUMBER.fullmatch(text):  # float() also reads 1_0 and digits of other scripts
        return text
    number = float(text)
    whole = abs(number) < 2**53 and number == int(number)
    return str(int(number)) if whole else text


def class_of(task: Task, name: str) -> dict[str, str]:
    """Canonical label value to class name.

    Raises
    ------
    TaskError
        If a value belongs to two classes.
    """
    found: dict[str, str] = {}
    for class_name, values in task.classes.items():
        for value in map(canonical, values):
            if found.setdefault(value, class_name) != class_name:
                raise TaskError(
                    f"tasks.{name}.classes: the value {value!r} is in two classes "
                    f"{list(task.classes)}; remove it from one"
                )
    return found


def judge_labels(cohort: pd.DataFrame, task: Task, name: str) -> pd.DataFrame:
    """Assign a class to every scan, and drop scans without one or matched by the task's query.

    Parameters
    ----------
    cohort : DataFrame
        Scans with phenotypes, `used`, `stage` and `reason`; earlier outcomes are kept.

    Returns
    -------
    DataFrame
        With `label` (as found) and `class_name` added.

    Raises
    ------
    TaskError
        If no data set has the column, or the query cannot be evaluated.
    """
    column = _label_column(cohort, task, name)
    classes = class_of(task, name)
    caught = _query(cohort, task, name)
    cohort = cohort.assign(label=cohort[column])
    canonicals = cohort["label"].map(canonical, na_action="ignore")
    cohort["class_name"] = canonicals.map(classes)
    missing = cohort["label"].isna()
    cohort = drop(cohort, missing, "finetune", f"no value in column {task.label!r}")
    values = "label " + cohort["label"].astype(str) + " is in no class of the task"
    cohort = drop(cohort, cohort["class_name"].isna() & ~missing, "finetune", values)
    return drop(cohort, caught, "finetune", f"excluded by the task's query: {task.exclude}")


def judge_numbers(cohort: pd.DataFrame, task: Task, name: str) -> pd.DataFrame:
    """Assign the target of a regression to every scan, and drop scans without one.

    Parameters
    ----------
    cohort : DataFrame (n_scans rows)
        As of `judge_labels`.

    Returns
    -------
    DataFrame
        With `label` (as found), `class_name` (missing) and `y`, the number, added.

    Raises
    ------
    TaskError
        If no data set has the column, or the query cannot be evaluated.
    """
    column = _label_column(cohort, task, name)
    caught = _query(cohort, task, name)
    cohort = cohort.assign(label=cohort[column], class_name=None)
    missing = cohort["label"].isna()
    cohort = drop(cohort, missing, "finetune", f"no value in column {task.label!r}")
    try:
        number, _ = numbers(cohort["label"], f"tasks.{name}.label: column {task.label!r}")
    except FileError as error:
        raise TaskError(str(error)) from None
    values = "label " + cohort["label"].astype(str) + " is not a number"
    cohort = drop(cohort, number.isna() & ~missing, "finetune", values)
    cohort["y"] = number
    if task.transform in ("log1p", "log1p_max"):
        values = "label " + cohort["label"].astype(str) + " has no log(1 + x)"
        cohort = drop(cohort, number <= -1, "finetune", values)
    return drop(cohort, caught, "finetune", f"excluded by the task's query: {task.exclude}")


def fifths(scans: pd.DataFrame) -> pd.Series:
    """The fifth of the target's distribution, 0 to 4, of each participant's first scan.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        participant and y.

    Returns
    -------
    Series (n_scans,) of int
    """
    first = scans.drop_duplicates("participant").set_index("participant")["y"]
    ranks = first.rank(method="first") - 1
    return scans["participant"].map((5 * ranks / len(first)).astype(int))


def refuse_empty_class(cohort: pd.DataFrame, task: Task, name: str) -> None:
    """Refuse a task with a class, or a regression, without scans.

    Parameters
    ----------
    cohort : DataFrame (n_scans rows)
        used, label and class_name.

    Raises
    ------
    TaskError
        Naming column, the values found and those expected.
    """
    used = cohort[cohort["used"]]
    if task.kind == "regression" and len(used) == 0:
        raise TaskError(
            f"task {name}: no eligible scan has a number in column {task.label!r}; see the "
            "exclusions: brainmass status"
        )
    empty = [c for c in task.classes if not (used["class_name"] == c).any()]
    if not empty:
        return
    values = cohort["label"].map(repr, na_action="ignore").fillna("missing").value_counts()
    found = ", ".join(f"{value} ({n} scans)" for value, n in values.head(20).items())
    raise TaskError(
        f"task {name}: no eligible scan in class {' and '.join(map(repr, empty))}: column "
        f"{task.label!r} contains {found}; expected {dict(task.classes)} in at least one scan "
        f"each. Of {len(cohort)} scans {int(cohort['used'].sum())} are eligible; correct "
        f"tasks.{name}.classes, or see the exclusions: brainmass status"
    )


def _label_column(cohort: pd.DataFrame, task: Task, name: str) -> str:
    column = PHENO + task.label
    if column not in cohort:
        known = [c.removeprefix(PHENO) for c in map(str, cohort) if c.startswith(PHENO)]
        raise TaskError(
            f"tasks.{name}.label: no phenotype column {task.label!r} in the scans of "
            f"{', '.join(task.datasets)}{near_miss(task.label, known)}"
        )
    return column


def _query(cohort: pd.DataFrame, task: Task, name: str) -> pd.Series:
    if not task.exclude:
        return pd.Series(False, index=cohort.index)
    try:
        return caught_by(task.exclude, cohort)
    except Exception as error:  # pandas' expression engine raises many types
        raise TaskError(
            f"tasks.{name}.exclude: {task.exclude!r} cannot be evaluated "
            f"({type(error).__name__}: {error}); columns are {sorted(cohort.columns)}; phenotypes "
            "are text: write pheno_x == '1' or pheno_x.astype('float') > 1"
        ) from None


def drop(
    cohort: pd.DataFrame, where: pd.Series, stage: str | pd.Series, reason: str | pd.Series
) -> pd.DataFrame:
    """Record the outcome of scans that have none yet.

    Parameters
    ----------
    cohort : DataFrame (n_scans rows)
        used, stage and reason.
    where : Series (n_scans,) of bool
    stage, reason : str or Series (n_scans,)
        Of all these scans, or of each.

    Returns
    -------
    DataFrame (n_scans rows)
        A copy.
    """
    where = where & cohort["used"]
    cohort = cohort.copy()
    cohort.loc[where, "stage"] = stage if isinstance(stage, str) else stage[where]
    cohort.loc[where, "reason"] = reason if isinstance(reason, str) else reason[where]
    cohort.loc[where, "used"] = False
    return cohort
