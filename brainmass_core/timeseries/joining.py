"""Join the runs of a participant: z-score each run and concatenate them.

Runs are cleaned before: filters, lags of regressors and censoring are applied to each run
separately, and no temporal operation follows the concatenation. FC and pseudo-FC do not depend on
the order of timepoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from brainmass_core.pipeline.manifest import ScanExcluded, ScanFailed
from brainmass_core.scans.units import Units
from brainmass_core.timeseries.sampling import same_t_r
from brainmass_core.timeseries.table import bold_by_scan, refuse_partial

# A standard deviation this far below the mean of a signal is rounding, not signal.
CONSTANT = 1e-10
MARKS = ("source_checksum", "series_fingerprint")
READ = ["t_r", "residual_dof", *MARKS]  # columns of the time-series table


def standardise(x: np.ndarray) -> np.ndarray:
    """Z-score every ROI over time with the population standard deviation.

    Parameters
    ----------
    x : ndarray (..., n_timepoints, n_rois)

    Returns
    -------
    ndarray (..., n_timepoints, n_rois)
        In float64; the series of a constant ROI is zero.
    """
    x = np.asarray(x, dtype=np.float64)
    mean = x.mean(axis=-2, keepdims=True)
    centred = x - mean
    std = np.sqrt(np.mean(centred**2, axis=-2, keepdims=True))
    constant = std <= CONSTANT * np.abs(mean)
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, std))


def join(runs: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate runs, with every ROI z-scored within each run (ddof 0).

    Parameters
    ----------
    runs : sequence of ndarray (n_timepoints of the run, n_rois)

    Returns
    -------
    ndarray (sum of n_timepoints, n_rois), float32
        NaN in ROIs that are not covered in at least one run.
    """
    covered = np.all([np.isfinite(run).all(axis=0) for run in runs], axis=0)
    joined = np.concatenate([standardise(np.where(covered, run, 0.0)) for run in runs])
    joined[:, ~covered] = np.nan
    return joined.astype(np.float32)


@dataclass(frozen=True)
class Joined:
    """A unit with its runs that have a series.

    Attributes
    ----------
    scan_id : str
        Name of the unit.
    runs : tuple of dict
        Their rows of the time-series table.
    bold : tuple of ndarray (n_timepoints, n_rois)
        Their series, NaN in parcels that are not covered.
    n_listed : int
        Number of its runs in the scans table, including those that failed or were excluded.
    max_empty_rois : int
        Maximum number of parcels that may be empty in any of the runs.
    """

    scan_id: str
    runs: tuple[dict[str, Any], ...]
    bold: tuple[np.ndarray, ...]
    n_listed: int
    max_empty_rois: int

    @property
    def scan_ids(self) -> list[str]:
        """Names of the runs."""
        return [run["scan_id"] for run in self.runs]

    @property
    def t_rs(self) -> list[float | None]:
        """Repetition time of each run, s."""
        return [run["t_r"] for run in self.runs]

    @property
    def mixed_t_r(self) -> bool:
        """Whether the runs differ in repetition time."""
        known = sorted(t for t in self.t_rs if t is not None)
        return bool(known) and not same_t_r(known[0], known[-1])

    @property
    def residual_dof(self) -> float | None:
        """Sum of the degrees of freedom of all runs; None if one is unknown."""
        found = [run["residual_dof"] for run in self.runs]
        return None if None in found else float(sum(found))

    def series(self) -> np.ndarray:
        """The joined series, see `join`.

        Returns
        -------
        ndarray (sum of n_timepoints, n_rois), float32
            NaN in ROIs that are not covered in at least one run.

        Raises
        ------
        ScanFailed
            If two runs are copies of one recording, or a series is damaged.
        ScanExcluded
            If too many parcels are empty in any of the runs.
        """
        self._refuse_copies()
        for scan_id, bold in zip(self.scan_ids, self.bold, strict=True):
            try:
                refuse_partial(bold, scan_id)
            except ValueError as error:
                raise ScanFailed(str(error), "join") from None
        joined = join(self.bold)
        empty = int(np.isnan(joined).all(axis=0).sum())
        if empty > self.max_empty_rois:
            raise ScanExcluded(
                f"{empty} parcels are empty in one or another of {len(self.runs)} joined runs, "
                f"more than timeseries.max_empty_rois {self.max_empty_rois}",
                "join",
            )
        return joined

    def _refuse_copies(self) -> None:
        for mark in MARKS:
            seen: dict[str, str] = {}
            for run in self.runs:
                if run[mark] is None:
                    continue
                other = seen.setdefault(run[mark], run["scan_id"])
                if other != run["scan_id"]:
                    raise ScanFailed(
                        f"{other} and {run['scan_id']} are copies of one recording ({mark}); "
                        "joined, its timepoints would count twice",
                        "join",
                        "find out whose recording it is, and remove one of the two files",
                    )


def joined_runs(
    table: pa.Table, units: Units, max_empty_rois: int, columns: Sequence[str] = ()
) -> dict[str, Joined]:
    """Units of a batch of which at least one run has a series.

    Parameters
    ----------
    table : Table
        Schema `tables.timeseries_schema`, at least scan_id, status, bold, `READ` and `columns`.

    Returns
    -------
    dict
        Name of the unit to its runs.
    """
    names = list(dict.fromkeys(["scan_id", *READ, *columns]))
    rows = {row["scan_id"]: row for row in table.select(names).to_pylist()}
    series = bold_by_scan(table)
    found = {}
    for unit, listed in units.runs.items():
        runs = [s for s in listed if s in series]
        if runs:
            found[unit] = Joined(
                unit,
                tuple(rows[s] for s in runs),
                tuple(series[s] for s in runs),
                len(listed),
                max_empty_rois,
            )
    return found
