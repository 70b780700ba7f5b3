"""What of a configuration asks for an encoder, and what can be had without a pre-trained one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, get_args

from brainmass_core.config.adaptation import FeatureName
from brainmass_core.config.methods import FEATURES, METHODS
from brainmass_core.config.stages import InterpretName

if TYPE_CHECKING:
    from brainmass_core.config.model import Config

# what may be asked for, of the encoder of either model or of none
KNOWN: dict[str, tuple[str, ...]] = {
    "finetune.methods": tuple(METHODS),
    "few_shot.features": get_args(FeatureName),
    "zero_shot.features": get_args(FeatureName),
    "interpret.methods": get_args(InterpretName),
}


def asked_for(config: Config) -> dict[str, Sequence[str]]:
    """By knob, what the tasks of a configuration are to be made with."""
    if not config.tasks:
        return {}
    transfer = any(task.zero_shot_from for task in config.tasks.values())
    return {
        "finetune.methods": config.finetune.methods,
        "few_shot.features": config.few_shot.features if config.few_shot.shots else [],
        "zero_shot.features": config.zero_shot.features if transfer else [],
        "interpret.methods": config.interpret.methods,
    }


def check_all_external(config: Config) -> Iterator[str]:
    """A study whose data are all external pre-trains nothing: what it asks of a model it lacks."""
    if config.pretrains:
        return
    asked = {**asked_for(config), "series_model.analyses": config.series_model.analyses}
    wanting = {n: [v for v in values if _of_pretrained(n, v)] for n, values in asked.items()}
    remedies = []
    for name, values in wanting.items():
        free = [v for v in KNOWN.get(name, ()) if not _of_pretrained(name, v)]
        if values and free:
            remedies.append(f"{name} (asks for {', '.join(values)}) to some of {', '.join(free)}")
        elif values:
            remedies.append(f"{name} to []")
    if remedies:
        yield (
            "datasets: all are external, so there is nobody to pre-train a model on. For a study "
            f"without a model set {'; '.join(remedies)}. For one with a model give a data set the "
            "role pretrain, or internal with the evaluation_fraction to be kept for evaluation"
        )


def _of_pretrained(knob: str, name: str) -> bool:
    """Whether it cannot be made without the files of a pre-training."""
    if knob in ("interpret.methods", "series_model.analyses"):
        return name != "fc_pattern"
    features = METHODS[name].features if knob == "finetune.methods" else FEATURES[name]
    return features.needs_model
