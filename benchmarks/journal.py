"""Cost of keeping finished scans: files of each scan, as `preprocess` does, and a journal.

Both stores keep synthetic scans of the size of time series in this process and read them back, as
a batch does before it publishes. Prints CPU milliseconds per scan, files and their ratio.

    python benchmarks/journal.py --scans 500
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from brainmass_core.config import parse_config
from brainmass_core.pipeline.journal import to_bytes
from brainmass_core.pipeline.kept import Job, ScanFiles, Store
from brainmass_core.pipeline.manifest import Entry
from brainmass_core.pipeline.stores import JournalAndTables
from brainmass_core.tables import from_rows, timeseries_schema, write_table

N_TIMEPOINTS, N_ROIS = 200, 100


def rows_of(scan_id: str, rng: np.random.Generator) -> pa.Table:
    """The row of one scan."""
    bold = rng.standard_normal((N_TIMEPOINTS, N_ROIS), dtype=np.float32)
    row = {"scan_id": scan_id, "status": "ok", "n_timepoints": N_TIMEPOINTS, "bold": bold.tolist()}
    return from_rows([row], timeseries_schema(N_ROIS))


def measured(store: Store, scans: dict[str, pa.Table], job: Job) -> tuple[float, float]:
    """CPU ms per scan to keep the scans and to read them back; the table is written in between."""
    made_from = dict.fromkeys(scans, "0123456789abcdef")
    entries = [Entry(job.stage, job.dataset, 0, s, "ok", seconds=0.01) for s in scans]
    job.table.parent.mkdir(parents=True, exist_ok=True)
    job.lock.parent.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    store.find(made_from)
    for entry in entries:
        store.keep(entry, made_from[entry.scan_id], to_bytes(scans[entry.scan_id]))
    kept = time.process_time() - start
    start = time.process_time()
    tables = [store.rows(s) for s in scans]
    read = time.process_time() - start
    write_table(job.table, pa.concat_tables(tables), job.stage, job.config_hash)
    start = time.process_time()
    store.published(entries, made_from)
    store.close()
    read += time.process_time() - start
    return 1000 * kept / len(scans), 1000 * read / len(scans)


def main() -> None:
    """Measure both stores, one after the other, several times; the fastest round counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="a disk to measure; default: temporary files")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    scans = {s: rows_of(s, rng) for s in (f"lab_sub-{i:05d}" for i in range(options.scans))}
    best: dict[str, tuple[float, float]] = {}
    for _ in range(options.rounds):
        for kind in (ScanFiles, JournalAndTables):
            with TemporaryDirectory(dir=options.folder) as name:
                data = {"kind": "timeseries", "role": "internal", "path": name, "t_r": 2}
                config = parse_config({"results": f"{name}/r", "datasets": {"lab": data}})
                job = Job(config, "timeseries", "lab", 0, timeseries_schema(N_ROIS))
                found = measured(kind(job), scans, job)
            best[kind.__name__] = min(best.get(kind.__name__, found), found, key=sum)
    size = len(to_bytes(next(iter(scans.values()))))
    print(f"{options.scans} scans of {size / 1000:.0f} kB, best of {options.rounds} rounds")
    print(f"{'CPU ms per scan':20} {'keep':>8} {'read, finish':>12} {'sum':>8}")
    for name, (kept, read) in best.items():
        print(f"{name:20} {kept:8.2f} {read:12.2f} {kept + read:8.2f}")
    files, journal = (sum(best[k.__name__]) for k in (ScanFiles, JournalAndTables))
    print(f"ratio {files / journal:.1f}")


if __name__ == "__main__":
    main()
