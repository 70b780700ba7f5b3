"""A task's evaluation, as every stage loads it: its scans, its folds, and who was seen before."""

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
    """Seed of folds, permutation and bootstrap; another task has another."""
    sequence = np.random.SeedSequence([config.seed, stable_hash(task)])
    return int(sequence.generate_state(1)[0] >> 1)


@dataclass(frozen=True)
class Evaluation:
    """Who is trained on and who is tested in a task; what is not asked for is not worked out.

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
            If the protocol does not go with the participants.
        LeakError
            If training or pre-training has seen a test participant.
        """
        scans = self.data.scans
        folds = protocol_folds(scans, self.settings.protocol, self.seed, self.task)
        refuse_leaks(scans, folds, scans_shown(self.config))
        return folds

    @cached_property
    def unadjusted(self) -> pd.DataFrame | None:
        """Tested scans that ComBat leaves as they are, which is logged; see `left_by_combat`."""
        left = left_by_combat(self.settings, self.data.scans, self.folds)
        say_unadjusted(self.task, left)
        return left

    @cached_property
    def features(self) -> Features:
        """Features of the task's scans, each kind made when it is asked for."""
        return Features(self.config, self.data)

    @cached_property
    def design(self) -> Design:
        """Labels, participants, confounds and settings of the task, for every method."""
        inner = self.config.finetune.inner_splits
        return Design.of(self.settings, self.data.scans, inner, self.config, self.task)
