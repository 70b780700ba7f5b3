"""Defaults of a study that needs no pre-trained model: FC, baselines, and nothing pre-trained.

The default methods compare a pre-trained model with baselines. If no participants can be
pre-trained on, or the methods that a configuration names need no model, the other settings that
name methods have defaults that need none either; otherwise the default of one setting would
pre-train a model that the user has not asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from brainmass_core.config.adaptation import FewShot, ZeroShot
from brainmass_core.config.sections import Interpret
from brainmass_core.config.tasks import Finetune
from brainmass_core.encoders.registry import FEATURES, METHODS

FC_PATTERN = "fc_pattern"  # the only method of `interpret` that needs no encoder
SECTIONS: dict[str, type[BaseModel]] = {
    "finetune": Finetune,
    "few_shot": FewShot,
    "zero_shot": ZeroShot,
    "interpret": Interpret,
}
LISTS = (
    *(("finetune", "methods"), ("finetune", "permutation_methods"), ("interpret", "methods")),
    *(("few_shot", "features"), ("zero_shot", "features")),
)


def with_defaults(given: dict[str, Any]) -> dict[str, Any]:
    """A configuration as read, with the lists of methods and features that it does not give.

    Returns
    -------
    dict
        The same if the study may have a pre-trained model.
    """
    if not (_all_external(given) or _on_baselines_alone(given)):
        return given
    filled = dict(given)
    for section, name in LISTS:
        settings = filled.get(section) or {}
        if isinstance(settings, dict) and name not in settings:
            default = SECTIONS[section].model_fields[name].get_default(call_default_factory=True)
            kept = [value for value in default if _is_baseline(section, name, value)]
            filled[section] = settings | {name: kept}
    return filled


def _all_external(given: dict[str, Any]) -> bool:
    datasets = given.get("datasets")
    if not isinstance(datasets, dict) or not datasets:
        return False
    return all(isinstance(d, dict) and d.get("role") == "external" for d in datasets.values())


def _on_baselines_alone(given: dict[str, Any]) -> bool:
    """Whether methods are given, and nothing that is given needs a pre-trained model."""
    if not _given(given, "finetune", "methods") or _given(given, "series_model", "analyses"):
        return False
    asked = {place: _given(given, *place) for place in LISTS}
    return not any(needs_model(*place, v) for place, values in asked.items() for v in values)


def _given(given: dict[str, Any], section: str, name: str) -> Sequence[Any]:
    settings = given.get(section)
    values = settings.get(name) if isinstance(settings, dict) else None
    return values if isinstance(values, list) else []


def needs_model(section: str, name: str, value: Any) -> bool:
    """Whether a value of one of `LISTS` needs the files of a pre-training; unknown ones do not."""
    if section == "interpret":
        return value != FC_PATTERN
    known: Any = FEATURES if name == "features" else METHODS
    found = known.get(value) if isinstance(value, str) else None
    if found is None:
        return False
    return (found if name == "features" else found.features).needs_pretraining


def _is_baseline(section: str, name: str, value: str) -> bool:
    """Whether a default makes sense without a model; controls of an untrained encoder do not."""
    if section == "interpret":
        return value == FC_PATTERN
    features = FEATURES[value] if name == "features" else METHODS[value].features
    return features.encoder is None and not features.needs_pretraining
