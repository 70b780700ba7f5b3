"""Cells of the tables: a number as it is shown, its interval, and what its column is sorted by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Cell:
    """A number on a page.

    Attributes
    ----------
    interval : str
        Shown below it; empty if there is none.
    sort : float
        What the column is sorted by.
    """

    text: str
    interval: str
    sort: float


EMPTY = Cell("", "", float("-inf"))


def number(value: Any, digits: int = 2, sign: str = "") -> Cell:
    """A number with so many decimals; an empty cell where it is missing."""
    if value is None or pd.isna(value):
        return EMPTY
    return Cell(fixed(value, digits, sign), "", round(float(value), 6))


def score(row: Mapping[Any, Any], metric: str, digits: int = 2, sign: str = "") -> Cell:
    """A score and its interval: columns ``metric``, ``metric_low`` and ``metric_high`` of a row."""
    value, low, high = (row.get(metric + end) for end in ("", "_low", "_high"))
    shown = number(value, digits, sign)
    if shown is EMPTY or low is None or pd.isna(low):
        return shown
    return Cell(shown.text, span(low, high, digits, sign), shown.sort)


def span(low: Any, high: Any, digits: int = 2, sign: str = "") -> str:
    """An interval in words, empty where it is missing."""
    if low is None or pd.isna(low):
        return ""
    return f"{fixed(low, digits, sign)} to {fixed(high, digits, sign)}"


def unscaled(row: Mapping[Any, Any], metric: str) -> Cell:
    """A score in the unit of a target, of which no number of decimals is known to suit."""
    value, low, high = (row.get(metric + end) for end in ("", "_low", "_high"))
    if value is None or pd.isna(value):
        return EMPTY
    interval = "" if low is None or pd.isna(low) else f"{low:.3g} to {high:.3g}"
    return Cell(f"{value:.3g}", interval, round(float(value), 6))


def p_value(value: Any) -> Cell:
    """A p-value; missing ones are sorted last."""
    if value is None or pd.isna(value):
        return Cell("", "", float("inf"))
    return Cell("< 0.001" if value < 0.001 else f"{value:.3f}", "", round(float(value), 9))


def fixed(value: float, digits: int = 2, sign: str = "") -> str:
    """So many decimals, without a sign on zero."""
    rounded = round(float(value), digits)
    return f"{rounded:{sign}.{digits}f}" if rounded else f"{0:.{digits}f}"
