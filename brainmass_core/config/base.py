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
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
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

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse values that pydantic would misread: true as 1, an empty path as this folder.

        Also text or numbers as true or false (`'False'`, 0), and text as a number (`'1_000'`).
        """
        parts = value if isinstance(value, list) else [value]
        expected = cls.model_fields[str(info.field_name)].annotation
        if any(isinstance(part, bool) for part in parts) and not _takes(expected, bool):
            raise ValueError("true and false are not values of this setting")
        number = _takes(expected, float) or _takes(expected, int)
        choices = [leaf for leaf in _leaves(expected) if isinstance(leaf, str)]
        if _takes(expected, bool) and not number:
            if not all(part is None or isinstance(part, bool) or part in choices for part in parts):
                others = "".join(f", or {c}" for c in choices)
                raise ValueError(f"expected true or false, without quotation marks{others}")
        elif number and str not in _leaves(expected):
            words = [part for part in parts if isinstance(part, str) and part not in choices]
            if not all(NUMBER.fullmatch(word.strip()) for word in words):
                raise ValueError("expected a number, written with digits, such as 12 or 0.5")
        if "" in parts and _takes(expected, Path):
            raise ValueError("the path is empty; write . for the folder in which the command runs")
        return value


def _takes(annotation: Any, kind: type) -> bool:
    """Whether a type, or a part of it, is one of the given types."""
    if annotation in (kind, Any) or isinstance(annotation, kind):
        return True
    return any(_takes(part, kind) for part in get_args(annotation))


def _leaves(annotation: Any) -> list[Any]:
    """What a type is made of: classes, and the values that it lists."""
    parts = [_leaves(part) for part in get_args(annotation)]
    return [leaf for leaves in parts for leaf in leaves] or [annotation]


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
