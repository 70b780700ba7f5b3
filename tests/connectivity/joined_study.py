"""Series of people with several runs, as `timeseries` leaves them, dealt over batches."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np

from brainmass_core.config import Config, parse_config
from brainmass_core.pipeline.hashing import batch_of
from brainmass_core.pipeline.manifest import Entry, write_manifest
from brainmass_core.pipeline.paths import Paths
from brainmass_core.tables import (
    SCANS,
    from_rows,
    read_table,
    timeseries_schema,
    write_table,
)
from brainmass_core.timeseries.identity import series_fingerprint

N_ROIS = 7
# participant, session, task, run, timepoints, and what became of the run
RUNS = [
    ("sub-01", "1", "rest", "1", 50, "ok"),
    ("sub-01", "1", "rest", "2", 71, "ok"),
    ("sub-01", "2", "rest", "1", 64, "ok"),
    ("sub-01", "2", "faces", None, 45, "ok"),
    ("sub-02", None, "rest", "1", 80, "ok"),
    ("sub-02", None, "rest", "2", 55, "failed"),
    ("sub-03", "1", "rest", None, 60, "ok"),
    ("sub-04", "1", "rest", "1", 60, "excluded"),
    ("sub-04", "1", "rest", "2", 60, "unreadable"),
]


def name_of(run: tuple) -> str:
    parts = [
        run[0],
        *(f"{k}-{v}" for k, v in zip(("ses", "task", "run"), run[1:4], strict=True) if v),
    ]
    return "lab_" + "_".join(parts)


def series_of(name: str, n: int) -> np.ndarray:
    rng = np.random.default_rng(int(sha256(name.encode()).hexdigest()[:8], 16))
    mixed = rng.standard_normal((n, 3)) @ rng.standard_normal((3, N_ROIS))
    level = rng.uniform(-900, 900, N_ROIS)  # of each run its own, as of its scale
    return ((mixed + rng.standard_normal((n, N_ROIS))) * rng.uniform(1, 80) + level).astype("f4")


def write(folder: Path, unit: str, batches: int = 1, runs: list = RUNS, **sections) -> Config:
    """Scans, manifests and time series of `runs`, and the configuration that joins them."""
    raw = {
        "results": str(folder / f"results-{unit}-{batches}"),
        "max_failed_fraction": 1.0,
        "datasets": {
            "lab": {
                **{"kind": "timeseries", "role": "pretrain", "path": str(folder)},
                **{"t_r": 2.0, "batches": batches},
            }
        },
        "atlas": {"name": "seven", "n_rois": N_ROIS},
        "timeseries": {"derivatives": False},
        "pfc": {"n_views": 5},
        "connectivity": {"unit": unit},
    }
    config = parse_config(raw | sections)
    paths = Paths(config.results)
    scans, entries, series = [], [[] for _ in range(batches)], [[] for _ in range(batches)]
    for run in runs:
        who, session, task, number, n, fate = run
        name, batch = name_of(run), batch_of("lab", who, batches)
        scan = {"scan_id": name, "dataset": "lab", "participant_id": who, "session": session}
        scan |= {"task": task, "run": number, "kind": "timeseries", "batch": batch, "t_r": 2.0}
        scan |= {"bold_path": f"/data/{name}.npy", "role": "pretrain", "split": "pretrain"}
        if fate == "unreadable":
            scan["excluded_reason"] = "truncated"
        else:
            status = {"failed": "failed", "excluded": "excluded"}.get(fate, "ok")
            why = "" if status == "ok" else f"it {status}"
            entries[batch].append(Entry("timeseries", "lab", batch, name, status, why))
            if status == "ok":
                series[batch].append(row_of(name, n))
        scans.append(scan)
    write_table(paths.scans("lab"), from_rows(scans, SCANS), "scans")
    for batch in range(batches):
        table = from_rows(series[batch], timeseries_schema(N_ROIS))
        write_table(paths.batch("timeseries", "lab", batch), table, "timeseries")
        write_manifest(paths.manifest("timeseries", "lab", batch), entries[batch], "hash")
    return config


def row_of(name: str, n: int, **other) -> dict:
    bold = series_of(name, n)
    row = {"scan_id": name, "status": "ok", "atlas": "seven", "space": "MNI152"}
    row |= {"denoise": "as given", "order": "none", "filter": "none", "censor": "none"}
    row |= {"t_r": 2.0, "n_timepoints": n, "residual_dof": n - 1.0, "mean_fd": n / 1000}
    row |= {"source_checksum": name, "series_fingerprint": series_fingerprint(bold)}
    return row | {"n_rois": N_ROIS, "bold": bold.tolist()} | other


def rows(config: Config, stage: str) -> list[dict]:
    """Rows of all batches of a stage."""
    found = []
    for batch in range(config.datasets["lab"].batches):
        path = Paths(config.results).batch(stage, "lab", batch)
        found += read_table(path, stage).to_pylist()
    return found
