"""Classes of a task among the evaluated participants."""

from __future__ import annotations

import pandas as pd

from brainmass_core.config import Config
from brainmass_core.finetune.cohort.labels import judge_labels
from brainmass_core.series_model.unseen import Recordings, UnseenError

FEWEST = 2  # minimum number of participants per class


def classes_of(config: Config, people: Recordings) -> dict[str, list[str]]:
    """Participants of each class of ``series_model.task``, in the order of classes.

    Raises
    ------
    TaskError
        If the scans have no column of that label.
    UnseenError
        If a class has fewer than two participants.
    """
    name = str(config.series_model.task)
    task = config.tasks[name]
    scans = people.scans.assign(
        used=people.scans["dataset"].isin(task.datasets), stage=None, reason=None
    )
    scans[["stage", "reason"]] = scans[["stage", "reason"]].astype(object)
    judged = judge_labels(scans, task, name)
    found = pd.Series(judged["class_name"].where(judged["used"]).to_numpy(), scans["participant"])
    classes = {c: found.index[found == c].tolist() for c in task.classes}
    sizes = ", ".join(f"{len(who)} of {c}" for c, who in classes.items())
    if min(map(len, classes.values())) < FEWEST:
        raise UnseenError(
            f"series_model.task {name}: found {sizes} among the {len(scans)} evaluated "
            f"participants, expected {FEWEST} or more of each: choose another task, or raise "
            "series_model.max_participants"
        )
    return classes
