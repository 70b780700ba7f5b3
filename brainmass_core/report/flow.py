"""Flow chart of a task: from the listed scans to the tested ones, with reasons for losses.

Every listed scan is either in the last box or in exactly one of the losses.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from brainmass_core.reasons import Reason, reasons_of

JOINED = "joined series"


@dataclass(frozen=True)
class Step:
    """A box of the chart: the remaining scans, and those lost since the previous box.

    Attributes
    ----------
    n_people : int
        Participants with at least one of the scans.
    counted : str
        Unit that `n_scans` and `lost` count.
    lost : int
        Scans of the previous box that are not in this one.
    """

    title: str
    n_scans: int
    n_people: int
    lost: int = 0
    reasons: list[Reason] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counted: str = "scans"


def exclusion_flow(
    cohort: pd.DataFrame,
    failed: set[tuple[str, str]],
    tested: set[str],
    classes: list[str],
    raw: bool,
    runs: pd.DataFrame | None = None,
) -> list[Step]:
    """The boxes from the first to the last.

    Parameters
    ----------
    cohort : DataFrame
        `tables.COHORT`: every scan of the task's data sets, with the first stage that lost it; or
        `tables.JOINED_COHORT`.
    failed : set of (stage, scan_id)
        Scans that could not be processed, in contrast to those excluded by a criterion.
    tested : set of str
        scan_id of the scans that are tested in any fold.
    classes : list of str
        Empty for a regression.
    raw : bool
        Whether any data set is preprocessed here.
    runs : DataFrame, optional
        If runs are joined, the outcome of each single run, see `joining.run_fates`.
    """
    if runs is not None and len(runs):
        return _joined_flow(cohort, failed, tested, classes, raw, runs)
    return _flow(cohort, failed, tested, classes, raw)


def _flow(
    cohort: pd.DataFrame,
    failed: set[tuple[str, str]],
    tested: set[str],
    classes: list[str],
    raw: bool,
) -> list[Step]:
    stage = cohort["stage"].fillna("").astype(str)
    pairs = pd.Series(list(zip(stage, cohort["scan_id"], strict=True)), index=cohort.index)
    broken, out = pairs.isin(failed), ~cohort["used"].astype(bool)
    unprocessed = out & raw & (stage == "preprocess") & broken
    refused = out & stage.isin(["preprocess", "timeseries"]) & ~broken
    listed, labelled = out & (stage == "scans"), out & (stage == "finetune")
    losses = [
        ("Readable", listed),
        ("Preprocessed", unprocessed),
        ("Passed quality control", refused),
        ("With functional connectivity", out & ~listed & ~labelled & ~unprocessed & ~refused),
        ("Labelled, within the task's criteria", labelled),
    ]
    if not raw:
        del losses[1]
    left = pd.Series(True, index=cohort.index)
    steps = [_step("Scans listed", cohort)]
    for title, gone in losses:
        left &= ~gone
        reasons = reasons_of(cohort.loc[gone, "reason"])
        steps.append(_step(title, cohort[left], int(gone.sum()), reasons))
    assert (left == cohort["used"]).all(), "a scan is in no box"
    steps.append(_last(cohort[left], tested, classes))
    return steps


def _joined_flow(
    cohort: pd.DataFrame,
    failed: set[tuple[str, str]],
    tested: set[str],
    classes: list[str],
    raw: bool,
    runs: pd.DataFrame,
) -> list[Step]:
    """Single runs until they have a series, then the joined ones."""
    first = 5 if raw else 4  # boxes up to time series count runs, later ones joined runs
    *before, last = _flow(runs, failed, set(), classes=[], raw=raw)[:first]
    single = [*before, replace(last, title="With time series")]
    left = runs[runs["used"]]
    units = cohort[cohort["scan_id"].isin(left["unit"])]
    n_left, n_listed = left.groupby("unit").size(), runs.groupby("unit").size()
    sizes = n_left.value_counts().sort_index()
    notes = [f"{n} from {k} run{'' if k == 1 else 's'}" for k, n in sizes.items()]
    if short := int((n_left < n_listed[n_left.index]).sum()):
        notes.append(f"{short} without all of their runs")
    joined = Step("Joined", len(units), _people(units), counted=JOINED, notes=notes)
    later = _flow(units, failed, tested, classes, raw)[first - 1 :]
    counted = [replace(step, counted="runs") for step in single]
    return [*counted, joined, *(replace(step, counted=JOINED) for step in later)]


def _step(title: str, scans: pd.DataFrame, lost: int = 0, reasons: Any = ()) -> Step:
    return Step(title, len(scans), _people(scans), lost, list(reasons))


def _last(used: pd.DataFrame, tested: set[str], classes: list[str]) -> Step:
    """The box of scans in the folds: tested, or only used for training."""
    here = used[used["scan_id"].isin(tested)]
    others = used[~used["scan_id"].isin(tested)]
    notes = [f"tested: {_count(here)}"]
    if classes:
        sizes = [f"{c} {_people(here[here['class_name'] == c])}" for c in classes]
        notes.append(f"participants tested: {', '.join(sizes)}")
    if len(others):
        notes.append(f"not tested, for training at most: {_count(others)}")
    return Step("In the folds", len(used), _people(used), notes=notes)


def _people(scans: pd.DataFrame) -> int:
    return int(scans[["dataset", "participant_id"]].drop_duplicates().shape[0])


def _count(scans: pd.DataFrame) -> str:
    what = JOINED if "joined" in scans else "scans"
    return f"{len(scans)} {what} of {_people(scans)} participants"
