"""Features of each scan. Nothing here is fitted to the task's scans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainmass_core.config import Config
from brainmass_core.encoders.methods import FC_FOR_MODEL
from brainmass_core.encoders.methods import Features as Made
from brainmass_core.encoders.registry import FEATURES
from brainmass_core.finetune.cohort.dataset import TaskData
from brainmass_core.finetune.confounds import confounds_beside
from brainmass_core.finetune.folds.participants import Fold
from brainmass_core.finetune.methods.embedding import embedding, fc_for_model
from brainmass_core.finetune.methods.series_features import first_windows

MAKERS: dict[str, Callable[[Config, TaskData], Any]] = {
    "nothing": lambda config, data: np.zeros((len(data.scans), 1)),
    "confounds": lambda config, data: confounds_beside(data.scans, data.target_confounds),
    "fc": lambda config, data: data.fc,
    "fc_for_model": fc_for_model,
    "series": first_windows,
}


@dataclass(frozen=True)
class ByEncoder:
    """Features by each of several encoders, which no fold may mix.

    Attributes
    ----------
    of : dict of int to ndarray (n_scans, n_features)
        All scans of the task, by the number of the encoder.
    """

    of: dict[int, np.ndarray]


def features_in(features: Any, fold: Fold) -> Any:
    """The features of all scans that are used in a fold: those by its encoder.

    Parameters
    ----------
    features : ByEncoder, or features that are the same in all folds
    fold : Fold
    """
    if not isinstance(features, ByEncoder):
        return features
    assert fold.encoder is not None
    return features.of[fold.encoder]


class Features:
    """Features of a task, each computed once; `ByEncoder` if they are those of several encoders."""

    def __init__(self, config: Config, data: TaskData) -> None:
        self._config, self._data = config, data
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Any:
        if name in MAKERS:
            # what needs the pre-trained model only to be checked is checked with the first one
            first = self._config.folds[0] if name == FC_FOR_MODEL and self._config.folds else None
            return MAKERS[name](self._config.for_fold(first), self._data)
        made = FEATURES[name]
        assert made.encoder is not None, name
        if not (made.pretrained and self._config.folds):
            return _embedded(made, self._config, self._data)
        configs = {i: self._config.for_fold(i) for i in self._config.folds}
        return ByEncoder({i: _embedded(made, c, self._data) for i, c in configs.items()})


def _embedded(made: Made, config: Config, data: TaskData) -> np.ndarray:
    assert made.encoder is not None
    return embedding(made.encoder, config, data, made.pretrained, made.readout)
