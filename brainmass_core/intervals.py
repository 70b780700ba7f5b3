"""Format numbers with their intervals, and compare an interval with a value.

An interval can be unknown although the number is known: one fold, one participant, no draw that
could be scored. It is then reported as unknown, and never compared with chance.
"""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd

Side = Literal["above", "below", "around", "unknown"]


def known(*values: Any) -> bool:
    """Whether none of the values is missing or NaN."""
    return not any(value is None or pd.isna(value) for value in values)


def fixed(value: Any, digits: int = 2, sign: str = "") -> str:
    """Format a number with `digits` decimals, zero without a sign, NaN as ``unknown``."""
    if not known(value):
        return "unknown"
    rounded = round(float(value), digits)
    return f"{rounded:{sign}.{digits}f}" if rounded else f"{0:.{digits}f}"


def span(low: Any, high: Any, digits: int = 2, sign: str = "") -> str:
    """Format both limits of an interval; empty if one is unknown."""
    if not known(low, high):
        return ""
    return f"{fixed(low, digits, sign)} to {fixed(high, digits, sign)}"


def with_interval(value: Any, low: Any, high: Any, digits: int = 2, sign: str = "") -> str:
    """Format as ``0.69 (95 % interval 0.60 to 0.78)``, or ``0.69 (interval unknown)``."""
    both = span(low, high, digits, sign)
    return (
        f"{fixed(value, digits, sign)} ({f'95 % interval {both}' if both else 'interval unknown'})"
    )


def side_of(low: Any, high: Any, value: float) -> Side:
    """Position of an interval relative to a value; ``around`` if it contains the value."""
    if not known(low, high):
        return "unknown"
    return "above" if low > value else "below" if high < value else "around"
