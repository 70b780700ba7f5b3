"""BIDS, derivatives or ready series to the scans table: who, which role, which split."""

from brainmass_core.readers.series import SeriesError, read_series
from brainmass_core.scans.stage import list_again, run
from brainmass_core.scans.table import (
    ScansError,
    Unmatched,
    check_unique,
    of_images,
    read_scans,
    read_unmatched,
)

__all__ = [
    "ScansError",
    "SeriesError",
    "Unmatched",
    "check_unique",
    "list_again",
    "of_images",
    "read_scans",
    "read_series",
    "read_unmatched",
    "run",
]
