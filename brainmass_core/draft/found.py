"""What is known of a data set before it is written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


class DraftError(ValueError):
    """A folder of which no configuration can be written."""


@dataclass(frozen=True)
class Setting:
    """A line of the configuration.

    Attributes
    ----------
    note : str
        Comment next to it: where the value comes from.
    question : str
        What the user has to answer, because the value is a guess.
    """

    value: Any
    note: str = ""
    question: str = ""


@dataclass(frozen=True)
class Label:
    """A column that may be the label of a task: its values in order, and their counts."""

    column: str
    counts: dict[str, int]


@dataclass(frozen=True)
class Columns:
    """What the columns of a phenotype table seem to be.

    Attributes
    ----------
    settings : dict
        Of the section ``phenotype``.
    label : Label, optional
        The one that a task is written for.
    others : tuple of Label
        Further candidates.
    remarks : tuple of str
        Questions that belong to no setting.
    """

    settings: dict[str, Setting] = field(default_factory=dict)
    label: Label | None = None
    others: tuple[Label, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """A data set.

    Attributes
    ----------
    settings : dict
        Of its section, without ``phenotype``.
    people : list of str
        Participants; for series the names of the scans.
    tables : list of Path
        Where its phenotype table may be, best place first.
    atlas : dict
        Settings of the section ``atlas`` that follow from the data.
    """

    kind: Literal["bids", "derivatives", "timeseries"]
    n_scans: int
    settings: dict[str, Setting]
    people: list[str]
    tables: list[Path] = field(default_factory=list)
    remarks: tuple[str, ...] = ()
    atlas: dict[str, Setting] = field(default_factory=dict)


def counted(counts: dict[Any, int], unit: str = "") -> str:
    """``rest (24), nback (3)``."""
    return ", ".join(f"{value} ({n}{unit})" for value, n in counts.items())
