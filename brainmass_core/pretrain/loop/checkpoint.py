"""Checkpoints: written atomically, the newest two kept, read without executing code."""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brainmass_core.config import Config
from brainmass_core.models.weights import ModelError, read_checkpoint
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.paths import Paths
from brainmass_core.tables import atomic_path

log = logging.getLogger(__name__)
KEPT = 2


class CheckpointError(ValueError):
    """A checkpoint cannot be written."""


@dataclass
class State:
    """State of a training run.

    Attributes
    ----------
    step : int
        Steps done.
    total_steps : int
    batch_size : int
        Global batch size; a run can only be resumed with the same.
    model, optimiser : dict
        State dicts.
    history : Tensor (step, n_columns), float64
        One row per step in the order of `ModelSpec.history`; NaN where not measured.
    constants : dict of Tensor
        `ModelSpec.constants`, computed once before the first step.
    """

    step: int
    total_steps: int
    batch_size: int
    model: dict[str, Tensor]
    optimiser: dict[str, Any]
    history: Tensor
    constants: dict[str, Tensor] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether training is complete."""
        return self.step == self.total_steps


class Checkpoints:
    """The checkpoints of one configuration and one set of input tables.

    Parameters
    ----------
    fingerprint : str
        Fingerprint of the input tables; checkpoints with another one are ignored.
    """

    def __init__(self, config: Config, fingerprint: str) -> None:
        self.config_hash = stage_hash(config, "pretrain")
        work = Paths(config.results).work("pretrain", config.pretrain.model, self.config_hash)
        self.work, self.fingerprint = work, fingerprint
        self.folder = work / fingerprint[:12]

    @property
    def lock(self) -> Path:
        """Lock held by the training process as long as it runs."""
        return self.work / ".lock"

    def save(self, state: State) -> None:
        """Write atomically, then remove all but the newest two.

        Raises
        ------
        CheckpointError
            If the disk is full or not writable; existing checkpoints are kept.
        """
        content = {**state.__dict__, "fingerprint": self.fingerprint, "hash": self.config_hash}
        try:
            with atomic_path(self.folder / f"step-{state.step:09d}.pt") as path:
                torch.save(content, path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            room = shutil.disk_usage(self.folder).free / 1e6 if self.folder.is_dir() else 0
            raise CheckpointError(
                f"{self.folder}: cannot write the checkpoint of step {state.step} ({error}), "
                f"{room:.1f} MB are free there; free space or correct the permissions, then the "
                "same command resumes from the last one"
            ) from None
        for old in self._files()[:-KEPT]:
            old.unlink(missing_ok=True)

    def latest(self, device: torch.device | str = "cpu") -> State | None:
        """The newest readable checkpoint, if there is any."""
        for path in reversed(self._files()):
            try:
                content = read_checkpoint(path, device)
                made_from = content.pop("fingerprint"), content.pop("hash")
                state = State(**content)
            except (ModelError, AttributeError, KeyError, TypeError) as error:
                log.warning("%s cannot be read (%s); trying an older one", path, error)
                continue
            if made_from == (self.fingerprint, self.config_hash):
                state.history = state.history.cpu()
                state.constants = {n: x.cpu() for n, x in state.constants.items()}
                return state
        return None

    def newest(self) -> Path | None:
        """The file of the newest checkpoint."""
        return next(reversed(self._files()), None)

    @staticmethod
    def step_of(path: Path) -> int:
        """Steps done when the checkpoint of this name was written."""
        return int(path.stem.removeprefix("step-"))

    def _files(self) -> list[Path]:
        """Oldest first; temporary files of a killed writer do not match."""
        found = self.folder.glob("step-*.pt") if self.folder.is_dir() else []
        return sorted(f for f in found if re.fullmatch(r"step-\d+\.pt", f.name))
