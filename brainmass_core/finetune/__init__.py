"""Evaluation of tasks: cohort, folds, methods and scores."""

from brainmass_core.finetune.cohort.labels import TaskError
from brainmass_core.finetune.parts import run_few_shot, run_zero_shot
from brainmass_core.finetune.stage import run
from brainmass_core.scans.copies import LeakError

__all__ = ["LeakError", "TaskError", "run", "run_few_shot", "run_zero_shot"]
