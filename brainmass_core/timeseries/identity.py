"""What tells one scan from another whatever it is called: to find copies of it.

A copy may be another file, in another format, of another data set, under another participant's
name. Two marks find it: the checksum of the file that was read, and a fingerprint of the series.
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
READ = ["source_checksum", "series_fingerprint"]  # of the tables of time series
MARKED = ["scan_id", "dataset", "participant_id", "bold_path", "bold_key", "batch"]  # of the scans
SEED = 4242  # which timepoints are compared; another seed would make other fingerprints


def series_fingerprint(series: np.ndarray) -> str | None:
    """256 bits that a copy of a series shares, and no other series does.

    Bit k says whether parcel r_k is higher at timepoint s_k than at t_k; the places are drawn once
    for each shape. Rounding and a parcel's scale and level leave the bits as they are, so that a
    series as text, in single precision or z-scored has the fingerprint of the original.

    Parameters
    ----------
    series : ndarray (n_timepoints, n_rois)
        NaN in parcels that are not covered.

    Returns
    -------
    str or None
        64 hexadecimal digits; None where half of the comparisons or more decide nothing, because
        parcels are constant or missing, so that unlike series could share their bits.
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
    """Checksum of what a scan was read from: the file's bytes, and the name of the array in it.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    return sha256_of(path) + (f":{key}" if key else "")


def with_marks(config: Config, scans: pd.DataFrame) -> pd.DataFrame:
    """The scans with what `scans.copies` compares: who, which file, which bytes, which series.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        Columns `MARKED` of the scans tables.

    Raises
    ------
    TableError
        If a table of time series cannot be read.
    """
    read = []
    dealt = scans.dropna(subset=["batch"])  # what was refused when it was listed may have none
    for dataset, batch in sorted(set(zip(dealt["dataset"], dealt["batch"], strict=True))):
        path = Paths(config.results).batch("timeseries", dataset, int(batch))
        read.append(read_table(path, "timeseries", ["scan_id", *READ]).to_pandas())
    empty = pd.DataFrame(columns=["scan_id", *READ], dtype=object)
    marks = pd.concat(read or [empty], ignore_index=True).set_index("scan_id")
    by_scan = {name: scans["scan_id"].map(marks[name]) for name in READ}
    return scans.assign(
        person=persons(scans, config.allow_same_ids), file=files_of(scans), **by_scan
    )
