"""The cohort of a task: scans that are used, their labels, and exclusions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from brainmass_core.config import Config
from brainmass_core.config.base import near_miss
from brainmass_core.config.tasks import Task
from brainmass_core.connectivity import n_rois_of
from brainmass_core.finetune.cohort.attrition import say_who_takes_part
from brainmass_core.finetune.cohort.coding import say_codings
from brainmass_core.finetune.cohort.joining import joined_cohort
from brainmass_core.finetune.cohort.measured_motion import measured_motion
from brainmass_core.finetune.cohort.query import caught_by
from brainmass_core.pipeline.failed_fraction import refused_of
from brainmass_core.pipeline.manifest import read_manifests
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.data.recordings import unusable
from brainmass_core.readers import FileError
from brainmass_core.readers.missing import NUMBER, numbers
from brainmass_core.scans import read_scans
from brainmass_core.scans.units import SINGLE, joins, units_of
from brainmass_core.tables import read_table
from brainmass_core.timeseries.identity import with_marks

PHENO = "pheno_"
UNKNOWN = "unknown"


class TaskError(ValueError):
    """A task cannot be evaluated; the message says what was found and what to do."""


@dataclass(frozen=True)
class TaskData:
    """Data of a task, one row per scan, ordered by scan_id.

    Attributes
    ----------
    scans : DataFrame (n_scans rows)
        scan_id, dataset, participant_id, participant (unique over data sets), site, age, sex,
        mean_fd, split, class_name and y: the number of the class (1 for the second, positive one),
        or the target of a regression, which also has stratum, its fifth. Also the columns for
        finding leaks, see `timeseries.identity.with_marks`. If runs are joined, a row is a unit.
    fc : ndarray (n_scans, n_edges), float32
        FC of the full series, upper triangle in row-major order.
    cohort : DataFrame
        Every scan of the task's data sets with its outcome, see `tables.COHORT`.
    estimator : str
        FC estimator.
    target_confounds : tuple of str
        Confounds that are the target itself, such as age in a prediction of age.
    """

    scans: pd.DataFrame
    fc: np.ndarray
    cohort: pd.DataFrame
    estimator: str
    target_confounds: tuple[str, ...] = ()

    @property
    def n_rois(self) -> int:
        """Number of parcels."""
        return n_rois_of(self.fc.shape[1])


def assemble(config: Config, name: str, listed: bool = False) -> TaskData:
    """Join scans, labels and FC of a task and account for every scan.

    Parameters
    ----------
    listed : bool
        Whether reasons for exclusions are logged. Only the part of a task that writes the cohort
        table does this.

    Raises
    ------
    TaskError
        If the label column is missing or a class has no scan.
    NoDatasetError
        If too many scans failed in each of the task's data sets.
    """
    paths, task = Paths(config.results), config.tasks[name]
    joined = joins(config)
    again = f"remove {paths.results / 'connectivity'} and run: snakemake --cores all connectivity"
    refused = refused_of(config, "finetune", task.datasets, name if listed else "")
    cohort = _with_fates(config, name)
    why = cohort["dataset"].map({d: one.text for d, one in refused.items()})
    cohort = _drop(cohort, why.notna(), "finetune", why)
    cohort = (judge_numbers if task.kind == "regression" else judge_labels)(cohort, task, name)
    ids, fc, estimator = _read_fc(config, task, set(cohort.loc[cohort["used"], "scan_id"]))
    reason = f"in neither the connectivity table nor a manifest; {again}"
    cohort = _drop(cohort, ~cohort["scan_id"].isin(ids), "connectivity", reason)
    # for all methods, so that they are scored on the same scans
    if config.pretrain.encoder.sees_series and not joined:
        why = cohort["scan_id"].map(unusable(config, task.datasets))
        cohort = _drop(cohort, why.notna(), "finetune", why)
    finite = np.isfinite(fc).all(axis=1)
    reason = f"FC with values that are not finite; {again}"
    cohort = _drop(cohort, cohort["scan_id"].isin(ids[~finite]), "finetune", reason)
    ids, fc = ids[finite], fc[finite]
    scans = cohort[cohort["used"]].sort_values("scan_id", ignore_index=True)
    order = pd.Series(np.arange(len(ids)), index=ids).reindex(scans["scan_id"]).to_numpy()
    scans["participant"] = scans["dataset"] + "/" + scans["participant_id"]
    # joined units already have these columns
    scans = scans if joined else with_marks(config, scans)
    refuse_empty_class(cohort, task, name)
    if task.kind == "regression":
        scans["y"] = scans["y"].astype("float64")
        scans["stratum"] = fifths(scans)
    else:
        order_of = {class_name: i for i, class_name in enumerate(task.classes)}
        scans["y"] = scans["class_name"].map(order_of).astype(int)
    say_who_takes_part(cohort, task, name, paths.finetune(name) / "cohort.parquet", listed)
    if listed:
        say_codings(cohort, task, name)
    target = tuple(config.target_confounds(name))
    return TaskData(scans, fc[order.astype(int)], cohort, estimator, target)


def place_of(scans: pd.DataFrame) -> pd.Series:
    """``dataset/site`` of each scan, because sites of two data sets may have the same name.

    Scans without a site form one site per data set.
    """
    return scans["dataset"] + "/" + scans["site"].astype(object).fillna(UNKNOWN)


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
    cohort = _drop(cohort, missing, "finetune", f"no value in column {task.label!r}")
    values = "label " + cohort["label"].astype(str) + " is in no class of the task"
    cohort = _drop(cohort, cohort["class_name"].isna() & ~missing, "finetune", values)
    return _drop(cohort, caught, "finetune", f"excluded by the task's query: {task.exclude}")


def judge_numbers(cohort: pd.DataFrame, task: Task, name: str) -> pd.DataFrame:
    """Assign the target of a regression to every scan, and drop scans without one.

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
    cohort = _drop(cohort, missing, "finetune", f"no value in column {task.label!r}")
    try:
        number, _ = numbers(cohort["label"], f"tasks.{name}.label: column {task.label!r}")
    except FileError as error:
        raise TaskError(str(error)) from None
    values = "label " + cohort["label"].astype(str) + " is not a number"
    cohort = _drop(cohort, number.isna() & ~missing, "finetune", values)
    cohort["y"] = number
    if task.transform in ("log1p", "log1p_max"):
        values = "label " + cohort["label"].astype(str) + " has no log(1 + x)"
        cohort = _drop(cohort, number <= -1, "finetune", values)
    return _drop(cohort, caught, "finetune", f"excluded by the task's query: {task.exclude}")


def fifths(scans: pd.DataFrame) -> pd.Series:
    """The fifth of the target's distribution, 0 to 4, of each participant's first scan."""
    first = scans.drop_duplicates("participant").set_index("participant")["y"]
    ranks = first.rank(method="first") - 1
    return scans["participant"].map((5 * ranks / len(first)).astype(int))


def _label_column(cohort: pd.DataFrame, task: Task, name: str) -> str:
    column = PHENO + task.label
    if column not in cohort:
        known = [c.removeprefix(PHENO) for c in map(str, cohort) if c.startswith(PHENO)]
        raise TaskError(
            f"tasks.{name}.label: no phenotype column {task.label!r} in the scans of "
            f"{', '.join(task.datasets)}{near_miss(task.label, known)}"
        )
    return column


def refuse_empty_class(cohort: pd.DataFrame, task: Task, name: str) -> None:
    """Refuse a task with a class, or a regression, without scans.

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


def _with_fates(config: Config, name: str) -> pd.DataFrame:
    """Scans of the task's data sets; `used` is False for those lost in earlier stages.

    If runs are joined, a row is a unit, see `joined_cohort`.
    """
    paths, task = Paths(config.results), config.tasks[name]
    scans = read_scans(paths, task.datasets).to_pandas().sort_values("scan_id", ignore_index=True)
    found = measured_motion(config, name, task, scans)
    scans["mean_fd"] = found["mean_fd"]
    # before the column `task` is replaced
    scans["unit"] = units_of(scans, config.connectivity.unit)
    scans = scans.assign(task=name, used=True, stage=None, reason=None)
    scans[["stage", "reason"]] = scans[["stage", "reason"]].astype(object)
    scans = _drop(scans, scans["excluded_reason"].notna(), "scans", scans["excluded_reason"])
    entries = read_manifests(paths).to_pandas()
    entries = entries[(entries["status"] != "ok") & (entries["stage"] != "pfc")]
    counts = {d: config.datasets[d].batches for d in task.datasets}
    # an empty column has no numeric type
    batches = entries["dataset"].map(counts).astype("float64")
    # ignore other data sets and batches of older configurations
    entries = entries[entries["batch"] < batches]
    if not joins(config):
        return _with_entries(scans, entries)
    runs = _with_entries(scans, entries[entries["stage"].isin(SINGLE)])
    runs = with_marks(config, runs.assign(n_timepoints=found["n_timepoints"]))
    units = joined_cohort(runs, PHENO + task.label)
    return _with_entries(units, entries[entries["stage"] == "connectivity"])


def _with_entries(scans: pd.DataFrame, entries: pd.DataFrame) -> pd.DataFrame:
    """Scans without those that a manifest lists as failed or excluded."""
    first = entries.drop_duplicates("scan_id").set_index("scan_id")
    stage = scans["scan_id"].map(first["stage"])
    return _drop(scans, stage.notna(), stage, scans["scan_id"].map(first["reason"]))


def _drop(
    cohort: pd.DataFrame, where: pd.Series, stage: str | pd.Series, reason: str | pd.Series
) -> pd.DataFrame:
    """Record the outcome of scans that have none yet."""
    where = where & cohort["used"]
    cohort = cohort.copy()
    cohort.loc[where, "stage"] = stage if isinstance(stage, str) else stage[where]
    cohort.loc[where, "reason"] = reason if isinstance(reason, str) else reason[where]
    cohort.loc[where, "used"] = False
    return cohort


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


def _read_fc(config: Config, task: Task, wanted: set[str]) -> tuple[np.ndarray, np.ndarray, str]:
    """Scan ids, FC (n_scans, n_edges) and estimator of the wanted scans, batch by batch."""
    paths = Paths(config.results)
    ids: list[str] = []
    parts: list[np.ndarray] = []
    estimators: set[str] = set()
    for dataset in task.datasets:
        for batch in range(config.datasets[dataset].batches):
            table = read_table(paths.batch("connectivity", dataset, batch), "connectivity")
            table = table.filter(pc.is_in(table["scan_id"], pa.array(sorted(wanted), pa.string())))
            ids += table["scan_id"].to_pylist()
            estimators |= set(table["estimator"].to_pylist())
            flat = table["fc"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            parts.append(flat.reshape(len(table), -1) if len(table) else flat.reshape(0, 0))
    parts = [p for p in parts if len(p)]
    widths = {p.shape[1] for p in parts}
    if len(widths) > 1 or len(estimators) > 1:
        raise TaskError(
            f"data sets {', '.join(task.datasets)}: found FC of {sorted(widths)} edges, "
            f"estimators {sorted(estimators)}, expected one of each; run: snakemake --cores all "
            "connectivity; if the data have different parcels, use a separate task for each kind"
        )
    fc = np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
    return np.array(ids, dtype=object), fc, next(iter(estimators), "")
