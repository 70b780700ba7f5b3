"""Which settings require an encoder, and which are possible without a pre-trained one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, get_args

from brainmass_core.config.names import feature_names, method_names
from brainmass_core.config.sections import InterpretName
from brainmass_core.encoders.methods import Features
from brainmass_core.encoders.record import Encoder
from brainmass_core.encoders.registry import FEATURES, METHODS, encoders, needed_by

if TYPE_CHECKING:
    from brainmass_core.config.model import Config

METHODS_KNOB = "finetune.methods"
EXPLAINED = "interpret.methods"
ANALYSES = "series_model.analyses"
FC_PATTERN = "fc_pattern"  # the only method of `interpret` that needs no encoder


def known(knob: str) -> tuple[str, ...]:
    """Values that a setting of `asked_for` may have, with any encoder or without one."""
    if knob == EXPLAINED:
        return get_args(InterpretName)
    return method_names() if knob == METHODS_KNOB else feature_names()


def _features(knob: str, name: str) -> Features:
    """What is seen by what a knob names: a method, or features themselves."""
    return METHODS[name].features if knob == METHODS_KNOB else FEATURES[name]


def sees_series(knob: str, name: str) -> bool:
    """Whether what a knob names sees time series."""
    return knob != EXPLAINED and _features(knob, name).series


def fits(knob: str, name: str, encoder: Encoder) -> bool:
    """Whether a value of a setting is available in a study with this encoder."""
    if knob == EXPLAINED:
        return name == FC_PATTERN or name in encoder.explains
    needed = needed_by(_features(knob, name))
    return not needed or encoder in needed


def those_with(knob: str, name: str) -> tuple[Encoder, ...]:
    """Encoders for which a value is available."""
    if knob == EXPLAINED:
        return tuple(e for e in encoders() if name in e.explains)
    return needed_by(_features(knob, name))


def asked_for(config: Config) -> dict[str, Sequence[str]]:
    """Methods, features and analyses of a configuration, by setting."""
    if not config.tasks:
        return {}
    transfer = any(task.zero_shot_from for task in config.tasks.values())
    return {
        METHODS_KNOB: config.finetune.methods,
        "few_shot.features": config.few_shot.features if config.few_shot.shots else [],
        "zero_shot.features": config.zero_shot.features if transfer else [],
        "interpret.methods": config.interpret.methods,
    }


def check_all_external(config: Config) -> Iterator[str]:
    """Errors for a study whose data are all external but whose settings need a pre-trained
    model."""
    if config.pretrains:
        return
    asked = {**asked_for(config), ANALYSES: config.series_model.analyses}
    wanting = {n: [v for v in values if _of_pretrained(n, v)] for n, values in asked.items()}
    remedies = []
    for name, values in wanting.items():
        known_here = () if name == ANALYSES else known(name)
        free = [v for v in known_here if not _of_pretrained(name, v)]
        if values and free:
            remedies.append(
                f"{name} (requires a model for {', '.join(values)}) to some of {', '.join(free)}"
            )
        elif values:
            remedies.append(f"{name} to []")
    if remedies:
        yield (
            "datasets: all are external, so there are no participants to pre-train a model on. "
            f"For a study without a model set {'; '.join(remedies)}. For one with a model give a "
            "data set the role pretrain, or internal with the evaluation_fraction to be kept for "
            "evaluation"
        )


def _of_pretrained(knob: str, name: str) -> bool:
    """Whether a value needs the files of a pre-training."""
    if knob in (EXPLAINED, ANALYSES):
        return name != FC_PATTERN
    return _features(knob, name).needs_pretraining
