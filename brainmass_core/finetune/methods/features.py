"""Features of each scan. Nothing here is fitted to the task's scans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from brainmass_core.config import Config
from brainmass_core.encoders.registry import FEATURES
from brainmass_core.finetune.cohort.dataset import TaskData
from brainmass_core.finetune.confounds import confounds_beside
from brainmass_core.finetune.methods.embedding import embedding, fc_for_model
from brainmass_core.finetune.methods.series_features import first_windows

MAKERS: dict[str, Callable[[Config, TaskData], Any]] = {
    "nothing": lambda config, data: np.zeros((len(data.scans), 1)),
    "confounds": lambda config, data: confounds_beside(data.scans, data.target_confounds),
    "fc": lambda config, data: data.fc,
    "fc_for_model": fc_for_model,
    "series": first_windows,
}


class Features:
    """Features of a task, each computed once."""

    def __init__(self, config: Config, data: TaskData) -> None:
        self._config, self._data = config, data
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Any:
        if name in MAKERS:
            return MAKERS[name](self._config, self._data)
        made = FEATURES[name]
        assert made.encoder is not None, name
        return embedding(made.encoder, self._config, self._data, made.pretrained, made.readout)
