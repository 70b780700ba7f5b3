"""Motion of a run of derivatives from its table of confounds, and the limits that exclude the run.

Runs of raw BIDS are excluded by `preprocess.quality_control.criteria`, with the same settings; runs
of both kinds also by `timeseries` if censoring leaves too few minutes.
Framewise displacement has two definitions, Power's (2012) and Jenkinson's (1999), which is about
half as large. The definition is always reported.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from brainmass_core.config import Config
from brainmass_core.config.preprocess import Preprocess
from brainmass_core.pipeline.manifest import ScanExcluded, ScanFailed
from brainmass_core.readers.confounds import power_displacement

log = logging.getLogger(__name__)
Kind = Literal["power", "jenkinson"]
COLUMN: dict[Kind, str] = {"power": "framewise_displacement", "jenkinson": "rmsd"}
NAME: dict[Kind, str] = {"power": "Power's", "jenkinson": "Jenkinson's"}
# changes from the previous volume, undefined for the first volume
CHANGES = ("framewise_displacement", "rmsd", "dvars", "std_dvars")
LIMITS = ("max_mean_fd", "max_censored_fraction", "max_std_dvars", "min_tsnr")
SIMILAR = re.compile(r"(?i)displacement|^fd|_fd|enorm|rms")  # names of other displacement measures


@dataclass(frozen=True)
class Displacement:
    """Framewise displacement of a run.

    Attributes
    ----------
    kind : {"power", "jenkinson"}
        Definition.
    mm : ndarray (n_volumes,)
        NaN if unknown.
    """

    kind: Kind
    mm: np.ndarray

    @property
    def mean(self) -> float:
        """Mean in mm, over the volumes with a value."""
        return float(np.nanmean(self.mm))


def displacement(confounds: pd.DataFrame, kind: Kind | None = None) -> Displacement | None:
    """Framewise displacement; None if it cannot be determined.

    Power's, from its column or else from the six motion parameters; otherwise Jenkinson's.

    Parameters
    ----------
    confounds : DataFrame (n_volumes rows)
    kind : {"power", "jenkinson"}, optional
        Accept only this definition.

    Raises
    ------
    ScanFailed
        If a displacement is negative.
    """
    known: tuple[tuple[Kind, np.ndarray | None], ...] = (
        ("power", column_of(confounds, COLUMN["power"])),
        ("power", power_displacement(confounds)),
        ("jenkinson", column_of(confounds, COLUMN["jenkinson"])),
    )
    for found, mm in known:
        if mm is None or not np.isfinite(mm).any() or kind not in (None, found):
            continue
        if np.nanmin(mm) < 0:
            raise ScanFailed(
                f"the confounds contain a framewise displacement of {np.nanmin(mm):g} mm, "
                "expected 0 or more",
                "confounds",
                "write n/a for missing values",
            )
        return Displacement(found, mm)
    return None


def column_of(confounds: pd.DataFrame, name: str) -> np.ndarray | None:
    """A column of a table of confounds as numbers.

    Parameters
    ----------
    confounds : DataFrame (n_volumes rows)
    name : str

    Returns
    -------
    ndarray (n_volumes,) or None
        NaN for missing values and for text that is no number; None if there is no such column.
    """
    if name not in confounds:
        return None
    return pd.to_numeric(confounds[name], errors="coerce").to_numpy(dtype=float)


def n_non_steady(confounds: pd.DataFrame) -> int:
    """Number of volumes at the start that fMRIPrep marks as not yet in the steady state.

    Parameters
    ----------
    confounds : DataFrame (n_volumes rows)
        Columns ``non_steady_state_outlier*`` are read.

    Returns
    -------
    int
        Marked volumes before the first one without a mark; later marks do not count.
    """
    columns = confounds.filter(regex="^non_steady_state_outlier").to_numpy(dtype=float)
    marked = columns.sum(axis=1) > 0
    return int(np.argmin(marked)) if not marked.all() else len(marked)


def steady(confounds: pd.DataFrame) -> tuple[int, pd.DataFrame]:
    """The confounds of the volumes in the steady state.

    The first of them has no displacement and no DVARS: the value in the table is relative to a
    dropped volume, or a placeholder 0.

    Parameters
    ----------
    confounds : DataFrame (n_volumes rows)
        Columns as in fMRIPrep.

    Returns
    -------
    int
        Number of volumes dropped at the start.
    DataFrame (n_volumes - dropped rows)
        Columns `CHANGES` are NaN in the first row.
    """
    first = n_non_steady(confounds)
    kept = confounds.iloc[first:].reset_index(drop=True)
    for name in set(CHANGES) & set(kept):
        kept[name] = pd.to_numeric(kept[name], errors="coerce").where(kept.index > 0)
    return first, kept


def refuse_moving(confounds: pd.DataFrame, settings: Preprocess, path: str) -> Displacement | None:
    """Apply the criteria of `preprocess` to a run, as far as its table of confounds allows.

    Parameters
    ----------
    confounds : DataFrame (n_volumes rows)
        Rows of the used volumes, see `steady`.
    path : str
        Path of the table, for messages.

    Returns
    -------
    Displacement or None
        The displacement that was used.

    Raises
    ------
    ScanExcluded
        If a criterion is not met, or cannot be applied because the table lacks what it needs.
    ScanFailed
        If a displacement is negative.
    """
    fd = displacement(confounds)
    for limit in ("max_mean_fd", "max_censored_fraction"):
        if fd is None and getattr(settings, limit) is not None:
            raise ScanExcluded(_no_displacement(confounds, settings, limit, path), "motion")
    if fd is not None:
        _refuse_displacement(fd, settings, path)
    _refuse_dvars(confounds, settings.max_std_dvars, path)
    return fd


def not_applied(config: Config, dataset: str) -> list[str]:
    """Limits of the configuration that cannot be applied to a data set, for the log."""
    kind = config.datasets[dataset].kind
    unknown = {"derivatives": ("min_tsnr",), "timeseries": LIMITS}.get(kind, ())
    found = [f"preprocess.{n} {v:g}" for n in unknown if (v := getattr(config.preprocess, n))]
    method = config.timeseries.censor.method
    if kind == "timeseries" and method != "none":
        found.append(f"timeseries.censor.method {method}")
    return found


def _refuse_displacement(fd: Displacement, settings: Preprocess, path: str) -> None:
    limit, share = settings.max_mean_fd, settings.max_censored_fraction
    if fd.kind == "jenkinson" and (limit, share) != (None, None):
        log.warning(
            "%s: limits on motion are applied to Jenkinson's displacement, about half of Power's, "
            "because the table has no other",
            path,
        )
    if limit is not None and fd.mean > limit:
        raise ScanExcluded(
            f"{path}: mean framewise displacement ({NAME[fd.kind]}) {fd.mean:.2f} mm, above "
            f"preprocess.max_mean_fd {limit:g}",
            "motion",
        )
    moving = float(np.mean(fd.mm > settings.fd_threshold))
    if share is not None and moving > share:
        raise ScanExcluded(
            f"{path}: {moving:.0%} of the volumes move more than {settings.fd_threshold:g} mm "
            f"({NAME[fd.kind]} displacement), above preprocess.max_censored_fraction {share:g}",
            "motion",
        )


def _refuse_dvars(confounds: pd.DataFrame, limit: float | None, path: str) -> None:
    if limit is None:
        return
    values = column_of(confounds, "std_dvars")
    if values is None or not np.isfinite(values).any():
        raise ScanExcluded(
            f"{path}: holds no standardised DVARS (std_dvars), so that preprocess.max_std_dvars "
            f"{limit:g} cannot be applied; add it, or leave preprocess.max_std_dvars empty",
            "confounds",
        )
    if np.nanmean(values) > limit:
        raise ScanExcluded(
            f"{path}: mean standardised DVARS {np.nanmean(values):.2f} is above "
            f"preprocess.max_std_dvars {limit:g}",
            "confounds",
        )


def _no_displacement(confounds: pd.DataFrame, settings: Preprocess, limit: str, path: str) -> str:
    others = [repr(str(c)) for c in confounds if SIMILAR.search(str(c)) and c not in CHANGES]
    seen = f" ({', '.join(others[:3])}: another measure)" if others else ""
    return (
        f"{path}: holds neither framewise displacement (framewise_displacement, FD, rmsd ...) nor "
        f"the six motion parameters{seen}, so that preprocess.{limit} "
        f"{getattr(settings, limit):g} cannot be applied; add it, or leave preprocess.{limit} "
        "empty to take all runs"
    )
