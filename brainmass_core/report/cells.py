"""Table cells: a number as displayed, its interval, and the value by which its column is sorted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from brainmass_core.intervals import fixed, known, span


@dataclass(frozen=True)
class Cell:
    """A number on a page.

    Attributes
    ----------
    interval : str
        Interval shown below the number; empty if there is none.
    sort : float
        Value by which the column is sorted.
    alarm : bool
        Whether it is red.
    """

    text: str
    interval: str
    sort: float
    alarm: bool = False


EMPTY = Cell("", "", float("-inf"))


def number(value: Any, digits: int = 2, sign: str = "") -> Cell:
    """A number with `digits` decimals; an empty cell if it is missing."""
    if not known(value):
        return EMPTY
    return Cell(fixed(value, digits, sign), "", round(float(value), 6))


def score(row: Mapping[Any, Any], metric: str, digits: int = 2, sign: str = "") -> Cell:
    """A score and its interval: columns ``metric``, ``metric_low`` and ``metric_high`` of a row."""
    value, low, high = (row.get(metric + end) for end in ("", "_low", "_high"))
    shown = number(value, digits, sign)
    if shown is EMPTY:
        return shown
    return Cell(shown.text, span(low, high, digits, sign), shown.sort)


def unscaled(row: Mapping[Any, Any], metric: str) -> Cell:
    """A score in the unit of the target, with three significant digits."""
    value, low, high = (row.get(metric + end) for end in ("", "_low", "_high"))
    if value is None or not known(value):
        return EMPTY
    interval = f"{low:.3g} to {high:.3g}" if known(low, high) else ""
    return Cell(f"{value:.3g}", interval, round(float(value), 6))


def p_value(value: Any) -> Cell:
    """A p-value; missing ones are sorted last."""
    if not known(value):
        return Cell("", "", float("inf"))
    return Cell("< 0.001" if value < 0.001 else f"{value:.3f}", "", round(float(value), 9))
