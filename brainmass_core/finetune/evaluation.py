"""Load the evaluation of a task, the same for every stage: scans, folds and checks for leaks."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from brainmass_core.config import Config
from brainmass_core.config.tasks import Task
from brainmass_core.finetune.cohort.dataset import TaskData, assemble
from brainmass_core.finetune.cohort.leaks import refuse_leaks, scans_shown
from brainmass_core.finetune.confounds import left_by_combat, say_unadjusted
from brainmass_core.finetune.folds.participants import Fold, permute_labels
from brainmass_core.finetune.folds.protocols import protocol_folds
from brainmass_core.finetune.methods.features import Features
from brainmass_core.finetune.methods.fitting import Design
from brainmass_core.pipeline.hashing import stable_hash

log = logging.getLogger(__name__)


def task_seed(config: Config, task: str) -> int:
    """Seed of folds, permutations and bootstrap, which differs between tasks."""
    sequence = np.random.SeedSequence([config.seed, stable_hash(task)])
    return int(sequence.generate_state(1)[0] >> 1)


@dataclass(frozen=True)
class Evaluation:
    """Training and test scans of a task; attributes are computed when they are needed.

    Attributes
    ----------
    task : str
        Name of the task.
    data : TaskData
        Labels are shuffled if ``finetune.permute_labels`` is set.
    """

    config: Config
    task: str
    data: TaskData

    @classmethod
    def load(cls, config: Config, task: str, listed: bool = False) -> Evaluation:
        """Join scans, labels and FC; see `assemble` for `listed`.

        Raises
        ------
        TaskError
            If the label, the classes or the number of participants do not allow the task.
        """
        found = cls(config, task, assemble(config, task, listed=listed))
        if config.finetune.permute_labels:
            log.warning("%s: finetune.permute_labels is set: labels are shuffled", task)
            found.data.scans["y"] = permute_labels(found.data.scans, found.seed)
        return found

    @property
    def settings(self) -> Task:
        """The task's section of the configuration."""
        return self.config.tasks[self.task]

    @property
    def seed(self) -> int:
        """See `task_seed`."""
        return task_seed(self.config, self.task)

    @cached_property
    def folds(self) -> list[Fold]:
        """The folds of the task's protocol.

        Raises
        ------
        TaskError
            If the participants do not suffice for the protocol.
        LeakError
            If training or pre-training used a test participant.
        """
        scans = self.data.scans
        folds = protocol_folds(scans, self.settings.protocol, self.seed, self.task)
        refuse_leaks(scans, folds, scans_shown(self.config))
        return folds

    @cached_property
    def unadjusted(self) -> pd.DataFrame | None:
        """Tested scans (rows of `TaskData.scans`) that ComBat does not adjust, which is logged; see
        `left_by_combat`.
        """
        left = left_by_combat(self.settings, self.data.scans, self.folds)
        say_unadjusted(self.task, left)
        return left

    @cached_property
    def features(self) -> Features:
        """Features of the task's scans, computed when they are needed."""
        return Features(self.config, self.data)

    @cached_property
    def design(self) -> Design:
        """Labels, participants, confounds and settings of the task, for all methods."""
        inner = self.config.finetune.inner_splits
        return Design.of(self.settings, self.data.scans, inner, self.config, self.task)
