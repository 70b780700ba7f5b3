"""Quality measures of scans: names, units, thresholds, and the direction of poor quality."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from brainmass_core.config import Config

MAD_TO_SD = 1.4826  # of a normal distribution
LEAST_REFERENCE = 20  # minimum number of scans for a median and standard deviation
LEAST_SPREAD = 1e-9
Light = Literal["bad", "odd", "good", "none"]


@dataclass(frozen=True)
class Measure:
    """A quality measure, one number per scan.

    Attributes
    ----------
    key : str
        Column of `tables.QUALITY`.
    bad : {"high", "low"}
        Direction of poor quality.
    knob : str
        Setting of the threshold; empty if there is none.
    scale : float
        Factor for display, such as 100 for percent.
    compared : bool
        Whether a scan is compared with the others. Properties of the protocol, such as the length
        of the run, have few values per site, so all scans of a site would be outliers.
    """

    key: str
    label: str
    bad: Literal["high", "low"]
    unit: str = ""
    knob: str = ""
    digits: int = 3
    scale: float = 1.0
    compared: bool = True

    def text(self, value: float | None) -> str:
        """The value with its unit; a dash if it is not known."""
        if value is None or not np.isfinite(value):
            return "–"
        shown = value * self.scale
        number = f"{shown:.0f}" if self.digits == 0 else f"{shown:.{self.digits}f}"
        return f"{number} {self.unit}".rstrip()

    def threshold(self, config: Config) -> float | None:
        """The threshold in the configuration; None if there is none."""
        if not self.knob:
            return None
        section, name = self.knob.split(".")
        value = getattr(getattr(config, section), name)
        return None if value is None else float(value)

    def beyond(self, value: float, limit: float) -> bool:
        """Whether a value is on the bad side of a limit."""
        return value > limit if self.bad == "high" else value < limit


MEASURES = (
    Measure("mean_fd", "Mean framewise displacement", "high", "mm", "preprocess.max_mean_fd"),
    Measure("max_fd", "Largest framewise displacement", "high", "mm"),
    Measure("mean_rmsd", "Mean displacement (Jenkinson)", "high", "mm"),
    Measure(
        *("censored_fraction", "Volumes above the motion threshold", "high", "%"),
        *("preprocess.max_censored_fraction", 1, 100.0),
    ),
    Measure("std_dvars", "Standardised DVARS", "high", "", "preprocess.max_std_dvars"),
    Measure("tsnr", "Temporal SNR, median", "low", "", "preprocess.min_tsnr", 1),
    Measure("global_correlation", "Mean correlation of voxels", "high"),
    Measure("mask_dice", "Dice of BOLD brain and template", "low", "", "preprocess.min_mask_dice"),
    Measure(
        *("template_correlation", "Correlation of T1w and template", "low", ""),
        "preprocess.min_template_correlation",
    ),
    Measure(
        *("coregistration_cost", "Boundary cost of BOLD on T1w", "high", ""),
        "preprocess.max_coregistration_cost",
    ),
    Measure(
        *("coregistration_sharpness", "Sharpness of that boundary", "low", ""),
        "preprocess.min_coregistration_sharpness",
    ),
    Measure("n_timepoints", "Timepoints", "low", "", "preprocess.min_volumes", 0, 1.0, False),
    Measure("residual_dof", "Residual degrees of freedom", "low", "", "", 1, 1.0, False),
    Measure("min_coverage", "Coverage, least covered parcel", "low", "", "timeseries.min_coverage"),
    Measure("n_empty_rois", "Empty parcels", "high", "", "timeseries.max_empty_rois", 0),
    Measure("mean_abs_fc", "Mean |FC|", "high"),
    Measure("network_contrast", "FC within minus between networks", "low"),
)


@dataclass(frozen=True)
class Reference:
    """Reference values of the other scans.

    Attributes
    ----------
    median, spread : float
        Median, and robust standard deviation (median absolute deviation x 1.4826).
    n : int
        Number of scans.
    """

    median: float
    spread: float
    n: int

    def z(self, value: float) -> float:
        """Distance from the median in robust standard deviations."""
        return (value - self.median) / self.spread


def reference_of(values: Iterable[float | None]) -> Reference | None:
    """Median and robust standard deviation; None if there are too few scans or they do not
    differ."""
    known = np.array([v for v in values if v is not None], dtype=float)
    known = known[np.isfinite(known)]
    if len(known) < LEAST_REFERENCE:
        return None
    median = float(np.median(known))
    spread = MAD_TO_SD * float(np.median(np.abs(known - median)))
    if spread <= LEAST_SPREAD * max(1.0, abs(median)):
        return None
    return Reference(median, spread, len(known))


def references(rows: Iterable[Mapping[str, Any]]) -> dict[str, Reference]:
    """`reference_of` each measure, over rows of `tables.QUALITY`."""
    rows = list(rows)
    compared = [m for m in MEASURES if m.compared]
    found = {m.key: reference_of(row.get(m.key) for row in rows) for m in compared}
    return {key: reference for key, reference in found.items() if reference}


def light(
    measure: Measure,
    value: float | None,
    config: Config,
    reference: Reference | None,
) -> Light:
    """Status of a value.

    Returns
    -------
    str
        ``bad``: beyond the threshold. ``odd``: within it, but an outlier, ``quality.outlier_z``
        robust standard deviations or more on the bad side of the other scans. ``good``: neither.
        ``none``: unknown, or no comparison possible.
    """
    if value is None or not np.isfinite(value):
        return "none"
    limit = measure.threshold(config)
    if limit is not None and measure.beyond(value, limit):
        return "bad"
    if reference is not None:
        z = reference.z(value)
        if (z if measure.bad == "high" else -z) > config.quality.outlier_z:
            return "odd"
    return "good" if limit is not None or reference is not None else "none"


def flags(row: Mapping[str, Any], config: Config, found: Mapping[str, Reference]) -> list[str]:
    """Measures in which a scan is an outlier, in the order of `MEASURES`."""
    return [
        m.key
        for m in MEASURES
        if light(m, row.get(m.key), config, found.get(m.key)) in ("bad", "odd")
    ]
