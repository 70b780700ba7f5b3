"""What a study with several encoders (``pretrain.folds``) can and cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from brainmass_core.encoders.registry import METHODS

if TYPE_CHECKING:
    from brainmass_core.config.model import Config


def check_folds(config: Config) -> Iterator[str]:
    """Errors for settings that need one encoder, or that folds make impossible."""
    n = config.pretrain.folds
    if not n:
        return
    here = f"pretrain.folds: found {n}"
    if config.pretrain.encoder.sees_series:
        yield (
            f"{here} with pretrain.model {config.pretrain.model}, which uses series; cross-fitting "
            "is only available for encoders of FC: remove folds, or set pretrain.model to brainmass"
        )
    if not any(d.role == "internal" for d in config.datasets.values()):
        yield (
            f"{here}, but no data set has role internal, so all encoders would be trained on the "
            "same participants; remove folds, or give a data set the role internal"
        )
    for name, task in config.tasks.items():
        if task.protocol.kind == "repeated_kfold" and task.protocol.n_splits < n:
            yield (
                f"tasks.{name}.protocol.n_splits: found {task.protocol.n_splits}, expected at "
                f"least pretrain.folds ({n}), because all participants of a test fold must belong "
                f"to one fold of the pre-training; raise it, best to a multiple of {n}"
            )
        if task.zero_shot_from:
            yield (
                f"tasks.{name}.zero_shot_from: not available with pretrain.folds; a classifier is "
                "fitted to embeddings of one encoder. Remove it, or use protocol.kind: "
                "cross_cohort, or pre-train one encoder (remove pretrain.folds) and give the "
                "task's data sets the role external"
            )
    deployed = config.finetune.deploy
    if deployed not in (None, "auto") and METHODS[str(deployed)].pretrained:
        yield (
            f"finetune.deploy: found {deployed} with pretrain.folds; a stored model has one "
            f"encoder, and of the {n} encoders none was trained on all participants. Set deploy to "
            "a method without a pre-trained encoder or to auto, which chooses one, or remove "
            "pretrain.folds to store a model"
        )
