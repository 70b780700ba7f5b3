"""Measured costs of the stages of batches, and the number of batches that follows from them.

CPU-seconds and files are per scan. All were measured on two-core virtual machines; other processors
and longer runs change them by factors of two or three, not ten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["bids", "derivatives", "timeseries"]

# CPU-seconds of a job without scans: the command, 1.4 (`benchmarks/start_up.py`), and its workers
START_UP = 3.3
LONGEST_JOB = 7200.0  # seconds; a job that fails or is killed has lost no more
# A table is written from memory: 4,096 series of 490 timepoints and their pseudo-FC are 1.1 GB.
MOST_SCANS = 4096
CORES = {"preprocess": 2, "timeseries": 2}  # default `cpus_per_task`; 1 in all other stages

# CPU-seconds per scan. Images: studyforrest, 156 volumes of 80x80x35 voxels
# (`benchmarks/preprocess_stage.py`: 38.5 on a busy machine); ready series: what one more scan
# costs between cohorts of 1,000 and 10,000, with workers (`benchmarks/cohort.py`; scale.md).
CPU: dict[str, dict[Kind, float]] = {
    "preprocess": {"bids": 38.5},
    "timeseries": {"bids": 4.3, "derivatives": 4.3, "timeseries": 0.0087},
    "connectivity": dict.fromkeys(("bids", "derivatives", "timeseries"), 0.0026),
    "pfc": dict.fromkeys(("bids", "derivatives", "timeseries"), 0.0026),
}
# of a page: 8 to 22 CPU-hours for 70,781 ready series (ABIDE: 0.56 s); images: the demo
PAGE_CPU: dict[Kind, float] = {"bids": 2.3, "derivatives": 2.3, "timeseries": 0.8}
PAGE_BYTES: dict[Kind, float] = {"bids": 5e5, "derivatives": 5e5, "timeseries": 1.4e5}
FLAGGED = 0.05  # fraction of scans that are outliers or lost; an assumption
# `preprocess.derivatives`, of a run with its T1w (tests, studyforrest); bytes at 3 mm
PREPROCESS_FILES = {"full": 31, "minimal": 7}
PREPROCESS_BYTES = {"full": 2.5e6, "minimal": 1.5e6}
# `timeseries.derivatives` (howto/derivatives.md): series and FC
DERIVATIVE_FILES = {"timeseries": 7, "connectivity": 2}
DERIVATIVE_BYTES = {"timeseries": 2.3e5, "connectivity": 1.0e5}
DERIVATIVE_CPU = {"timeseries": 0.010, "connectivity": 0.004}
SERIES_BYTES = 790.0  # of a parcel of 200 timepoints in a table (explanation/pfc.md)
FILES_OF_JOB = 3  # table, manifest, log
# of a batch, below results/work: a second name of the table, and what its scans were made from
KEPT_FILES = {"timeseries": 2, "connectivity": 2, "pfc": 2}


@dataclass(frozen=True)
class Cost:
    """Cost of a stage for some scans.

    Attributes
    ----------
    cpu : float
        Seconds.
    """

    scans: int
    jobs: int
    files: int
    n_bytes: float
    cpu: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.scans + other.scans,
            self.jobs + other.jobs,
            self.files + other.files,
            self.n_bytes + other.n_bytes,
            self.cpu + other.cpu,
        )


def job_seconds(kind: Kind, n_scans: int) -> float:
    """Duration of the longest job of a batch: `preprocess`, or the stages that share a job."""
    shared = [CPU[s][kind] / CORES.get(s, 1) for s in ("timeseries", "connectivity", "pfc")]
    alone = CPU["preprocess"].get(kind, 0.0) / CORES["preprocess"]
    return n_scans * max(alone, shared[0] + max(shared[1:]))


def default_batches(kind: Kind, n_scans: int) -> int:
    """Number of batches of a data set, so that its jobs last between 10 minutes and 2 hours.

    Small data sets are one batch, and a batch of ready series, which takes milliseconds per scan,
    is limited by memory instead (`MOST_SCANS`). The number of scans is rounded up to a power of
    two, so that a few more scans do not change the batches.

    Returns
    -------
    int
        A power of two.
    """
    most = 1
    while 2 * most <= MOST_SCANS and job_seconds(kind, 2 * most) <= LONGEST_JOB:
        most *= 2
    rounded = 1 << max(n_scans - 1, 0).bit_length()
    return max(1, rounded // most)
