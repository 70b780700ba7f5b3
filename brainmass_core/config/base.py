"""What every section of the configuration is built on: strictness, names, suggestions."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo

STAGES = (
    "scans",
    "preprocess",
    "timeseries",
    "connectivity",
    "quality",
    "pfc",
    "pretrain",
    "finetune",
    "interpret",
    "series_model",
    "report",
)
Stage = Literal[
    "scans",
    "preprocess",
    "timeseries",
    "connectivity",
    "quality",
    "pfc",
    "pretrain",
    "finetune",
    "interpret",
    "series_model",
    "report",
]
NAME = r"^[A-Za-z][A-Za-z0-9_-]*$"
Name = Annotated[str, Field(pattern=NAME)]


class Strict(BaseModel):
    """Base of every section: unknown keys are errors, values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def existing(path: Path, info: ValidationInfo) -> Path:
    """Refuse a path that is not there, unless the context says not to look."""
    check = (info.context or {}).get("check_paths", True)
    if check and not path.exists():
        raise ValueError(
            f"{path} does not exist (looked from {os.getcwd()}); correct the path or mount the data"
        )
    return path


def near_miss(word: str, choices: Any) -> str:
    """Suggest the closest of the choices, or list them."""
    close = difflib.get_close_matches(word, [str(c) for c in choices], n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {sorted(map(str, choices))}"
