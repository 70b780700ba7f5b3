"""The reader of pre-training: the index of time-series tables, and their row groups."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fuzz_binary
import numpy as np
from fuzz_judge import Reader, Seed

from brainmass_core.config import Config, parse_config
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.data.index import ShardError, index_shards
from brainmass_core.pretrain.data.stream import read_checked, read_series
from brainmass_core.tables import SCANS, TableError, from_rows, timeseries_schema, write_table

N_ROIS, N_SCANS, N_TIMEPOINTS = 4, 3, 40


def _config(folder: Path) -> Config:
    dataset = {"kind": "timeseries", "role": "pretrain", "path": ".", "task": "rest", "t_r": 2.0}
    raw = {"results": str(folder), "datasets": {"x": dataset}}
    return parse_config(raw | {"pretrain": {"source": "timeseries"}}, check_paths=False)


def _shards() -> list[Seed]:
    values = np.random.default_rng(0).standard_normal((N_SCANS, N_TIMEPOINTS, N_ROIS))
    rows: list[dict[str, Any]] = [
        {
            "scan_id": f"x_{i}",
            "status": "ok",
            "coverage": [1.0] * N_ROIS,
            "t_r": 2.0,
            "n_timepoints": N_TIMEPOINTS,
            "bold": series.astype(np.float32).tolist(),
        }
        for i, series in enumerate(values)
    ]
    scans = [
        {"scan_id": r["scan_id"], "participant_id": r["scan_id"], "split": "pretrain"} for r in rows
    ]
    with TemporaryDirectory() as name:
        config = _config(Path(name))
        paths = Paths(config.results)
        series = paths.batch("timeseries", "x", 0)
        write_table(paths.scans("x"), from_rows(scans, SCANS), "scans")
        table = from_rows(rows, timeseries_schema(N_ROIS))
        write_table(series, table, "timeseries", stage_hash(config, "timeseries", "x"))
        files = [paths.scans("x"), series]
        found = {str(f.relative_to(name)): f.read_bytes() for f in files}
    return [Seed(found, tuple(found))]


def _read(folder: Path, _: str) -> Any:
    index = index_shards(_config(folder))
    series = [s.tolist() for g in index.groups for s in read_checked(g, read_series)]
    return [g.scan_ids for g in index.groups], index.n_rois, index.t_r, index.sources, series


READERS = (
    Reader(
        "shards",
        _shards,
        _read,
        (ShardError, TableError),
        {".parquet": [fuzz_binary.parquet]},
        same=lambda a, b: a == b,
        covered=True,
    ),
)
