"""What the batch tests do to a scan; a module of its own, because workers import it."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from brainmass_core.config import parse_config
from brainmass_core.pipeline.batch import run_batch
from brainmass_core.pipeline.kept import Job
from brainmass_core.pipeline.manifest import ScanExcluded, ScanFailed, measured_so_far
from brainmass_core.tables import from_rows

SCHEMA = pa.schema(
    [
        ("scan_id", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("value", pa.float64()),
    ]
)
# of the form of FC: pickling loses the name and the nullability of the elements
VECTOR = pa.list_(pa.field("element", pa.float32(), nullable=False), 3)
VECTOR_SCHEMA = pa.schema([("scan_id", pa.string()), ("fc", VECTOR)])
MEASURED_SCHEMA = pa.schema(
    [
        *SCHEMA,
        ("step", pa.string()),
        ("seconds", pa.float64()),
        ("peak_rss", pa.float64()),
        ("n_volumes", pa.int64()),
        ("mean_fd", pa.float64()),
        ("seconds_per_step", pa.map_(pa.string(), pa.float64())),
    ]
)


def job(
    results: Path, schema: pa.Schema = SCHEMA, stage: str = "preprocess", **over: object
) -> Job:
    """A job of one batch below a results folder."""
    dataset = {"kind": "bids", "role": "internal", "path": str(results.parent)}
    limit = over.pop("max_failed_fraction", 1.0)
    raw = {"results": str(results), "max_failed_fraction": limit, "datasets": {"demo": dataset}}
    return Job(parse_config(raw), stage, "demo", 0, schema, **over)


def items(n: int, calls: Path, **kinds: str) -> dict[str, dict]:
    """Scans ``scan-0`` ... that write a line to `calls` each time they are worked on."""
    names = [f"scan-{i}" for i in range(n)]
    return {
        s: {
            "scan_id": s,
            "value": float(i),
            "calls": calls.name,
            "folder": f"{calls.parent}/",
            "kind": kinds.get(s.replace("-", "_"), "ok"),
        }
        for i, s in enumerate(names)
    }


def process(item: dict) -> pa.Table:
    """Do what the item's kind says."""
    folder = Path(item["folder"])
    with open(folder / item["calls"], "a") as file:
        file.write(f"{item['scan_id']}\n")
    kind = item["kind"]
    if kind == "sound-now":  # failed until the cause is mended
        kind = "ok" if (folder / "mended").exists() else "failed"
    if kind == "failed":
        raise ScanFailed("t_r is 0, expected more than 0", step="header", remedy="mend the sidecar")
    if kind in ("excluded", "odd"):
        raise ScanExcluded("mean_fd 0.9 mm is above 0.5 mm", step="motion")
    if kind == "bug":
        return pa.table({"value": [1 / 0]})
    if kind == "exit":
        sys.exit(3)
    if kind == "memory":
        raise MemoryError
    if kind == "columns":
        return pa.table({"other": [1.0]})
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "full":
        raise OSError(errno.ENOSPC, "No space left on device")
    if kind == "waiting":  # until a test lets it go on
        while not (folder / "go").exists():
            time.sleep(0.01)
    if kind == "large":
        with mmap.mmap(-1, 300 * 2**20) as block:
            block.write(bytes(len(block)))
    row = {"scan_id": item["scan_id"], "status": "ok", "value": item["value"]}
    return from_rows([row], SCHEMA)


def measuring(item: dict) -> pa.Table:
    """Measure, then end as the item's kind says."""
    known = {"n_volumes": np.int32(200), "not_a_column": 1.0}
    with measured_so_far(known):
        known |= {"mean_fd": np.float32(0.75), "seconds_per_step": [("motion", 2.5)]}
        if item["kind"] == "odd":
            known["n_volumes"] = "many"
        return process(item)


def vectors(item: dict) -> pa.Table:
    """As `process`, with a vector for each scan."""
    row = process(item).to_pylist()[0]
    return from_rows([{"scan_id": row["scan_id"], "fc": [row["value"]] * 3}], VECTOR_SCHEMA)


def called(calls: Path) -> list[str]:
    """Scans worked on so far, sorted."""
    return sorted(calls.read_text().split()) if calls.exists() else []


if __name__ == "__main__":  # started and killed by a test
    root, stage = Path(sys.argv[1]), sys.argv[2]
    late = {f"scan_{i}": "waiting" for i in range(3, 8)}
    one = job(root / "results", stage=stage, threads=2)
    run_batch(one, items(8, root / "calls", **late), process)
