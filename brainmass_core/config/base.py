"""Base of all sections of the configuration: strictness, names, suggestions."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

# names of data sets and tasks are folders, parts of commands and, for tasks, Snakemake targets
VARIABLE = re.compile(r"\$([A-Za-z_]\w*|\{[^}]*\})")  # shell variables; `$(...)` may be a name
NAME = r"^[A-Za-z][A-Za-z0-9_-]{0,79}$"
# targets and rules of the workflow, which cannot be names of tasks
RULES = (
    *("all", "demo", "scans_of_dataset", "preprocess_batch", "timeseries_batch"),
    *("connectivity_batch", "quality_batch", "quality_dataset", "pfc_batch", "finetune_task"),
    *("finetune_few_shot", "finetune_zero_shot", "finetune_model", "interpret_task"),
    *("series_model_analysis", "report_task", "report_index"),
)
# suffix of a BOLD run, including typos: `BOLD`, `bold (1)`; not `boldref`
ALMOST_BOLD = re.compile(r"bold(\W.*)?", re.IGNORECASE | re.DOTALL)
Name = Annotated[str, Field(pattern=NAME)]


class Strict(BaseModel):
    """Base of every section: unknown keys are errors, values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse values that pydantic would misread: true as 1, an empty path as this folder."""
        parts = value if isinstance(value, list) else [value]
        expected = cls.model_fields[str(info.field_name)].annotation
        if any(isinstance(part, bool) for part in parts) and not _takes(expected, bool):
            raise ValueError("true and false are not values of this setting")
        yes_or_no = _takes(expected, bool) and not (
            _takes(expected, float) or _takes(expected, int)
        )
        if yes_or_no and any(isinstance(part, float) for part in parts):
            raise ValueError("expected true or false")
        if "" in parts and _takes(expected, Path):
            raise ValueError("the path is empty; write . for the folder in which the command runs")
        return value


def _takes(annotation: Any, kind: type) -> bool:
    """Whether a type, or a part of it, is one of the given types."""
    if annotation in (kind, Any) or isinstance(annotation, kind):
        return True
    return any(_takes(part, kind) for part in get_args(annotation))


def existing(path: Path, info: ValidationInfo) -> Path:
    """Refuse a path that does not exist, unless the validation context disables the check."""
    plain(path)
    check = (info.context or {}).get("check_paths", True)
    if check and not path.exists():
        raise ValueError(
            f"{path} does not exist (looked from {os.getcwd()}); correct the path or mount the data"
        )
    return path


def plain(path: Path) -> Path:
    """Refuse characters that cannot be shown in commands, logs or tables."""
    odd = sorted({c for c in str(path) if not c.isprintable() and not "\udc80" <= c <= "\udcff"})
    if odd:
        raise ValueError(
            f"the path holds {', '.join(map(repr, odd))}, a character that cannot be shown; rename "
            "the folder or file, or make a link to it"
        )
    return written_out(path)


def written_out(path: Path) -> Path:
    """Refuse ``~`` and ``$HOME``, which only a shell replaces."""
    if str(path).startswith("~"):
        raise ValueError(f"{path}: `~` is not replaced by your home folder; write it out")
    variable = VARIABLE.search(str(path))
    if variable:
        raise ValueError(
            f"{path}: `{variable[0]}` is not replaced by the value of that variable; write it out, "
            "or, if the folder is called so, make a link to it without `$`"
        )
    return path


def without_braces(path: Path) -> Path:
    """Refuse text that Snakemake reads as a wildcard, in paths of its outputs."""
    written_out(path)
    if set("{}") & set(str(path)):
        raise ValueError(
            f"{path}: Snakemake reads text in braces as a wildcard; choose a folder "
            "without `{` and `}`"
        )
    return plain(path)


def near_miss(word: str, choices: Any) -> str:
    """Suggest the closest of the choices, or list them."""
    close = difflib.get_close_matches(word, [str(c) for c in choices], n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {sorted(map(str, choices))}"
