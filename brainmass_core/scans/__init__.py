"""BIDS, derivatives or ready series to the scans table: who, which role, which split."""

from brainmass_core.readers.series import SeriesError, read_series
from brainmass_core.scans.stage import run
from brainmass_core.scans.table import (
    ScansError,
    Unmatched,
    check_unique,
    read_scans,
    read_unmatched,
)

__all__ = [
    "ScansError",
    "SeriesError",
    "Unmatched",
    "check_unique",
    "read_scans",
    "read_series",
    "read_unmatched",
    "run",
]
