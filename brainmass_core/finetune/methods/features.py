"""What methods see of each scan. Nothing here is fitted to the task's scans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from brainmass_core.config import Config
from brainmass_core.finetune.cohort.dataset import TaskData
from brainmass_core.finetune.confounds import confounds_beside
from brainmass_core.finetune.methods.embedding import (
    fc_for_model,
    pretrained_embedding,
    untrained_embedding,
)
from brainmass_core.finetune.methods.series_features import (
    brainlm_embedding,
    first_windows,
    untrained_brainlm_embedding,
)

MAKERS: dict[str, Callable[[Config, TaskData], Any]] = {
    "nothing": lambda config, data: np.zeros((len(data.scans), 1)),
    "confounds": lambda config, data: confounds_beside(data.scans, data.target_confounds),
    "fc": lambda config, data: data.fc,
    "fc_for_model": fc_for_model,
    "untrained": untrained_embedding,
    "brainmass": pretrained_embedding,
    "series": first_windows,
    "untrained_brainlm": untrained_brainlm_embedding,
    "brainlm": brainlm_embedding,
}


class Features:
    """Features of a task, each kind made once."""

    def __init__(self, config: Config, data: TaskData) -> None:
        self._config, self._data = config, data
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = MAKERS[name](self._config, self._data)
        return self._made[name]
