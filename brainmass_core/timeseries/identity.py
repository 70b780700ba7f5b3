"""Find copies of a scan independent of its name.

A copy may be another file, in another format, in another data set, under another participant's
name. Two properties identify it: the checksum of the source file, and a fingerprint of the series.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from brainmass_core.checksums import sha256_of
from brainmass_core.config import Config
from brainmass_core.pipeline.paths import Paths
from brainmass_core.scans.copies import files_of, persons
from brainmass_core.tables import read_table

N_BITS = 256
READ = ["source_checksum", "series_fingerprint"]  # columns of the time-series tables
MARKED = [
    "scan_id",
    "dataset",
    "participant_id",
    "bold_path",
    "bold_key",
    "batch",
]  # columns of the scans tables
SEED = 4242  # selects the compared timepoints; another seed would give other fingerprints


def series_fingerprint(series: np.ndarray) -> str | None:
    """Fingerprint of a series, 256 bits that only copies share.

    Bit k says whether parcel r_k is higher at timepoint s_k than at t_k; these are drawn once for
    each shape. Rounding and the scale and mean of a parcel do not change the bits, so a series
    stored as text, in single precision or z-scored has the fingerprint of the original.

    Parameters
    ----------
    series : ndarray (n_timepoints, n_rois)
        NaN in parcels that are not covered.

    Returns
    -------
    str or None
        64 hexadecimal digits; None if at least half of the comparisons are undecided because
        parcels are constant or missing, so that different series could share their bits.
    """
    n_timepoints, n_rois = series.shape
    if n_timepoints < 2 or n_rois < 1:
        return None
    one, other, roi = _places(n_timepoints, n_rois)
    first, second = series[one, roi], series[other, roi]
    decided = first != second
    decided &= np.isfinite(first) & np.isfinite(second)
    if decided.sum() <= N_BITS // 2:
        return None
    return np.packbits((first > second) & decided).tobytes().hex()


@lru_cache(maxsize=64)
def _places(n_timepoints: int, n_rois: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two different timepoints and a parcel for each bit."""
    rng = np.random.default_rng([SEED, n_timepoints, n_rois])
    one = rng.integers(0, n_timepoints, N_BITS)
    other = (one + rng.integers(1, n_timepoints, N_BITS)) % n_timepoints
    return one, other, rng.integers(0, n_rois, N_BITS)


def source_checksum(path: Path, key: str | None) -> str:
    """Checksum of the source of a scan: the bytes of the file, and the name of the array in it.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    return sha256_of(path) + (f":{key}" if key else "")


def with_marks(config: Config, scans: pd.DataFrame) -> pd.DataFrame:
    """Add the columns that `scans.copies` compares.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        Columns `MARKED` of the scans tables.

    Returns
    -------
    DataFrame (n_scans rows)
        `scans` with person, file, and the checksum and fingerprint `READ` of the time-series
        table; these are missing for scans without a series.

    Raises
    ------
    TableError
        If a table of time series cannot be read.
    """
    read = []
    dealt = scans.dropna(subset=["batch"])  # scans that were excluded when listed may have no batch
    for dataset, batch in sorted(set(zip(dealt["dataset"], dealt["batch"], strict=True))):
        path = Paths(config.results).batch("timeseries", dataset, int(batch))
        read.append(read_table(path, "timeseries", ["scan_id", *READ]).to_pandas())
    empty = pd.DataFrame(columns=["scan_id", *READ], dtype=object)
    marks = pd.concat(read or [empty], ignore_index=True).set_index("scan_id")
    by_scan = {name: scans["scan_id"].map(marks[name]) for name in READ}
    return scans.assign(
        person=persons(scans, config.allow_same_ids), file=files_of(scans), **by_scan
    )
