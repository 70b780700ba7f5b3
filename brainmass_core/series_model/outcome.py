"""What an analysis gives the stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """Rows of the analysis' table, and its figure once it is asked for."""

    rows: Rows
    draw: Callable[[], Figure]


def records(table: pd.DataFrame) -> Rows:
    """Rows of a frame, None where a value is missing."""
    return [
        {str(k): None if pd.isna(v) else v for k, v in row.items()}
        for row in table.to_dict("records")
    ]
