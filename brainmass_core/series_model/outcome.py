"""Result of an analysis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """Rows of the analysis' table, and a function that draws its figure."""

    rows: Rows
    draw: Callable[[], Figure]


def records(table: pd.DataFrame) -> Rows:
    """Rows of a DataFrame, with None for missing values.

    Parameters
    ----------
    table : DataFrame
        Any columns.

    Returns
    -------
    list of dict
        Column to value, one per row.
    """
    return [
        {str(k): None if pd.isna(v) else v for k, v in row.items()}
        for row in table.to_dict("records")
    ]
