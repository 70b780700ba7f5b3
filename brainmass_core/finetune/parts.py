"""Optional parts of the stage: few-shot curves and zero-shot transfer."""

from __future__ import annotations

import logging

from brainmass_core.config import Config
from brainmass_core.finetune.cohort.dataset import assemble
from brainmass_core.finetune.cohort.labels import TaskError
from brainmass_core.finetune.cohort.leaks import scans_shown
from brainmass_core.finetune.evaluation import Evaluation
from brainmass_core.finetune.few_shot import learning_curves
from brainmass_core.finetune.stage import write_frame
from brainmass_core.finetune.zero_shot import refuse_seen, transfer
from brainmass_core.intervals import fixed
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.paths import Paths
from brainmass_core.tables import (
    FEW_SHOT,
    LEARNING_CURVE,
    ZERO_SHOT,
    ZERO_SHOT_PREDICTIONS,
)

log = logging.getLogger(__name__)


def run_few_shot(config: Config, task: str) -> None:
    """Write the learning curves of a task.

    Raises
    ------
    TaskError
        If `few_shot.shots` is empty or too large for the cohort; see also `finetune.stage.run`.
    LeakError
        If training or pre-training used a test participant.
    """
    settings = config.few_shot
    if not settings.shots:
        raise TaskError("few_shot.shots is empty: give participants per class, such as [1, 2, 4]")
    refuse_regression(config, task)
    e = Evaluation.load(config, task)
    _ = e.unadjusted  # logged
    features = {str(name): e.features[name] for name in settings.features}
    rows, curves = learning_curves(features, e.data.scans, e.folds, settings, e.seed, e.settings)
    for row in curves.itertuples():
        log.info("%s: %s with %d per class: AUC %s", task, row.method, row.k, fixed(row.auc, 3))
    folder, made_by = Paths(config.results).finetune(task), stage_hash(config, "few_shot", task)
    for name, frame, schema in (
        ("few_shot", rows, FEW_SHOT),
        ("learning_curve", curves, LEARNING_CURVE),
    ):
        write_frame(folder, name, frame.assign(task=task), schema, made_by)


def run_zero_shot(config: Config, task: str) -> None:
    """Apply classifiers trained on `zero_shot_from` to a task, and write the scores.

    Raises
    ------
    TaskError
        If the task has no source, or source and target are incompatible.
    LeakError
        If the source or pre-training used a scan or participant of the task.
    """
    settings, asked = config.zero_shot, config.tasks[task].zero_shot_from
    if not asked:
        raise TaskError(f"tasks.{task}.zero_shot_from: not given; name a task or data sets")
    refuse_regression(config, task)
    asking = config if isinstance(asked, str) else _with_source(config, task, asked)
    learned_on = asked if isinstance(asked, str) else f"{task}_source"
    source = Evaluation.load(asking, learned_on)
    target = Evaluation(config, task, assemble(config, task))
    if source.data.estimator != target.data.estimator:
        raise TaskError(
            f"tasks.{task}: its FC is by {target.data.estimator!r}, that of its source by "
            f"{source.data.estimator!r}; run: snakemake --cores all connectivity"
        )
    scans = source.data.scans, target.data.scans
    refuse_seen(*scans, scans_shown(config))
    features = {str(n): (source.features[n], target.features[n]) for n in settings.features}
    rows, predictions = transfer(features, *scans, settings, target.settings, target.seed % 2**31)
    for row in rows.itertuples():
        log.info("%s: %s from %s: AUC %s", task, row.method, asked, fixed(row.auc, 3))
    folder, made_by = Paths(config.results).finetune(task), stage_hash(config, "zero_shot", task)
    named = asked if isinstance(asked, str) else ", ".join(asked)
    for name, frame, schema in (
        ("zero_shot", rows, ZERO_SHOT),
        ("zero_shot_predictions", predictions, ZERO_SHOT_PREDICTIONS),
    ):
        write_frame(folder, name, frame.assign(task=task, source=named), schema, made_by)


def refuse_regression(config: Config, task: str) -> None:
    """Refuse regressions, because few-shot and zero-shot need classes."""
    if config.tasks[task].kind == "regression":
        raise TaskError(f"tasks.{task}: a regression has no few-shot or zero-shot part")


def _with_source(config: Config, task: str, datasets: list[str]) -> Config:
    """The configuration with an additional task: the same labels in other data sets."""
    source = config.tasks[task].model_copy(update={"datasets": datasets, "zero_shot_from": None})
    return config.model_copy(update={"tasks": config.tasks | {f"{task}_source": source}})
