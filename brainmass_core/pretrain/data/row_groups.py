"""The row groups of one table of the pre-training, pFC or time series, checked before training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from brainmass_core.config import Config
from brainmass_core.pretrain.data.usable_series import ShardError
from brainmass_core.tables import VERSION, check_schema


@dataclass(frozen=True)
class Group:
    """The scans of one row group of one table.

    Attributes
    ----------
    lengths : tuple of int
        Timepoints of each scan; empty for pFC.
    t_rs : tuple of float or None
        Repetition time of each scan in seconds, None where unknown; empty for pFC.
    """

    file: Path
    row_group: int
    scan_ids: tuple[str, ...]
    lengths: tuple[int, ...] = ()
    t_rs: tuple[float | None, ...] = ()


def row_groups(path: Path, stage: str, config_hash: str, config: Config) -> tuple[int, list[Group]]:
    """Number of ROIs and row groups of one table."""
    remedy = f"remove it and run: snakemake --cores all {stage}"
    if not path.exists():
        what = "pFC shard" if stage == "pfc" else "time-series table"
        raise ShardError(f"{path}: no such {what}; run: snakemake --cores all {stage}")
    columns = (
        ["scan_id", "view"] if stage == "pfc" else ["scan_id", "status", "n_timepoints", "t_r"]
    )
    try:
        with open(path, "rb") as stream:
            file = pq.ParquetFile(stream)
            schema = file.schema_arrow
            names = [file.read_row_group(i, columns=columns) for i in range(file.num_row_groups)]
        if lost := set(columns) - set(schema.names):
            raise KeyError(f"no column {sorted(lost)}")
        meta = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items()}
        n_rois = _n_rois(schema, meta, stage)
    except (pa.ArrowException, OSError, ValueError, KeyError, AttributeError) as error:
        raise ShardError(f"{path}: damaged Parquet file ({error}); {remedy}") from None
    expected = {
        "brainmass_table": stage,
        "brainmass_version": str(VERSION),
        "brainmass_config_hash": config_hash,
    } | ({"dtype": "<f2"} if stage == "pfc" else {})
    for key, value in expected.items():
        if meta.get(key) != value:
            raise ShardError(f"{path}: found {key} {meta.get(key)!r}, expected {value!r}; {remedy}")
    if stage == "timeseries":
        return n_rois, [_with_series(path, i, table) for i, table in enumerate(names)]
    n_views = config.pfc.n_views
    groups = []
    for i, table in enumerate(names):
        ids = _whole_scans(table, n_views)
        if ids is None:
            raise ShardError(
                f"{path}: row group {i} does not hold whole scans of {n_views} views; {remedy}"
            )
        groups.append(Group(path, i, ids))
    return n_rois, groups


def _n_rois(schema: pa.Schema, meta: dict[str, str], stage: str) -> int:
    """Number of ROIs of a table; 0 of one of another stage, which is refused."""
    if meta.get("brainmass_table") != stage:
        return 0
    if stage == "timeseries":
        return schema.field("bold").type.value_type.list_size
    return int(meta["n_rois"])


def _with_series(path: Path, number: int, table: pa.Table) -> Group:
    """The scans of a row group that have a series."""
    rows = [r for r in table.to_pylist() if r["status"] == "ok"]
    ids, lengths, t_rs = ([r[key] for r in rows] for key in ("scan_id", "n_timepoints", "t_r"))
    return Group(path, number, tuple(ids), tuple(lengths), tuple(t_rs))


def _whole_scans(table: pa.Table, n_views: int) -> tuple[str, ...] | None:
    """The scans of a row group, or None if their views are not complete and contiguous."""
    ids, views = table["scan_id"].to_pylist(), table["view"].to_numpy()
    scans = ids[::n_views]
    complete = len(ids) == len(scans) * n_views
    if not complete or ids != [s for s in scans for _ in range(n_views)]:
        return None
    return tuple(scans) if (views == np.tile(np.arange(n_views), len(scans))).all() else None


def read_all(path: Path, stage: str, digest: hashlib._Hash) -> None:
    """Add all bytes to the digest, and read all pages against their checksums."""
    reading: Callable[..., pq.ParquetFile] = pq.ParquetFile
    try:
        with open(path, "rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
            stream.seek(0)
            file = reading(stream, page_checksum_verification=True)
            for i in range(file.num_row_groups):
                file.read_row_group(i)
            check_schema(file)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise ShardError(
            f"{path}: damaged Parquet file ({error}); remove it and run: snakemake --cores all "
            f"{stage}"
        ) from None
