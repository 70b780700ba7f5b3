"""Stream pFC shards: an index of row groups, and global batches that any rank can cut its slice of.

What a batch holds follows from (seed, epoch, step) alone, so a run resumes anywhere without saved
reader state, and the same global batch is made by one process or by a hundred.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from brainmass_core.config import Config, stage_hash
from brainmass_core.paths import Paths
from brainmass_core.scans import check_unique
from brainmass_core.tables import VERSION, n_edges, read_table

# Scans are shuffled among this many; a rank holds at most two such buffers in memory:
# 2 x 512 scans x 8 views x 9.9 kB (100 ROIs) = 81 MB, and 326 MB at 200 ROIs.
BUFFER_SCANS = 512
ORDER, STEP = 1, 2  # keep the random streams of epoch order and batch content apart


class ShardError(ValueError):
    """pFC shards that pre-training must not or cannot use."""


@dataclass(frozen=True)
class Group:
    """One row group of one shard: whole scans, all views of a scan contiguous."""

    file: Path
    row_group: int
    scan_ids: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """What one data set contributes."""

    dataset: str
    role: str
    n_scans: int
    n_participants: int


@dataclass(frozen=True)
class Index:
    """Everything known about the shards without reading a pFC.

    Attributes
    ----------
    fingerprint : str
        SHA-256 over the bytes of all shards: a checkpoint of other data must not be resumed.
    """

    groups: list[Group]
    n_rois: int
    n_views: int
    sources: list[Source]
    fingerprint: str

    @property
    def n_scans(self) -> int:
        """Scans in all groups."""
        return sum(len(g.scan_ids) for g in self.groups)


def index_shards(config: Config, with_fingerprint: bool = True) -> Index:
    """Find the shards of all data sets that may be pre-trained on, and check them.

    Raises
    ------
    ShardError
        If a shard is missing, damaged, from another configuration or schema version, has another
        number of ROIs or views, or holds a scan kept for evaluation.
    TableError
        If a scans table cannot be read.
    ScansError
        If two data sets have a scan id in common.
    """
    paths = Paths(config.results)
    groups: list[Group] = []
    sources, shapes, digest = [], {}, hashlib.sha256()
    used = {name: d for name, d in config.datasets.items() if d.role != "external"}
    columns = ["scan_id", "bold_path"]
    check_unique({name: read_table(paths.scans(name), "scans", columns) for name in used})
    for name, dataset in used.items():
        participants = _allowed_participants(paths.scans(name))
        found: list[Group] = []
        for batch in range(dataset.batches):
            file = paths.batch("pfc", name, batch)
            shape, in_file = _index_file(file, stage_hash(config, "pfc", name), config.pfc.n_views)
            shapes[file] = shape
            found += in_file
            if with_fingerprint:
                with open(file, "rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
        ids = [s for g in found for s in g.scan_ids]
        _refuse_evaluation_scans(name, ids, participants)
        sources.append(Source(name, dataset.role, len(ids), len({participants[s] for s in ids})))
        groups += found
    if len(set(shapes.values())) > 1:
        lines = "\n".join(f"  {file}: {n}" for file, n in shapes.items())
        raise ShardError(f"the pFC shards differ in their number of ROIs:\n{lines}")
    fingerprint = digest.hexdigest() if with_fingerprint else ""
    return Index(groups, next(iter(shapes.values())), config.pfc.n_views, sources, fingerprint)


def _allowed_participants(path: Path) -> dict[str, str]:
    """scan_id to participant, of the participants of whom no scan is kept for evaluation."""
    columns = ["scan_id", "participant_id", "split"]
    rows = read_table(path, "scans", columns=columns).to_pylist()
    kept_back = {r["participant_id"] for r in rows if r["split"] == "test"}
    return {
        r["scan_id"]: r["participant_id"]
        for r in rows
        if r["split"] in ("pretrain", "train") and r["participant_id"] not in kept_back
    }


def _refuse_evaluation_scans(dataset: str, ids: list[str], allowed: dict[str, str]) -> None:
    """Leakage is the one mistake that no later check would show."""
    wrong = sorted(set(ids) - set(allowed))
    if wrong:
        raise ShardError(
            f"pFC of {dataset}: {len(wrong)} scans are not free for pre-training (kept for "
            f"evaluation, or not in the scans table): {', '.join(wrong[:5])}; remove "
            f"results/pfc/{dataset} and run: snakemake --cores all pfc"
        )
    if len(ids) != len(set(ids)):
        raise ShardError(f"pFC of {dataset}: a scan stands in two shards; remove them and rerun")


def _index_file(path: Path, config_hash: str, n_views: int) -> tuple[int, list[Group]]:
    """Number of ROIs and row groups of one shard."""
    remedy = "remove it and run: snakemake --cores all pfc"
    if not path.exists():
        raise ShardError(f"{path}: no such pFC shard; run: snakemake --cores all pfc")
    try:
        with open(path, "rb") as stream:
            file = pq.ParquetFile(stream)
            meta = {k.decode(): v.decode() for k, v in (file.schema_arrow.metadata or {}).items()}
            names = [
                file.read_row_group(i, columns=["scan_id", "view"])
                for i in range(file.num_row_groups)
            ]
    except (pa.ArrowException, OSError) as error:
        raise ShardError(f"{path}: damaged Parquet file ({error}); {remedy}") from None
    expected = {
        "brainmass_table": "pfc",
        "brainmass_version": str(VERSION),
        "brainmass_config_hash": config_hash,
        "dtype": "<f2",
    }
    for key, value in expected.items():
        if meta.get(key) != value:
            raise ShardError(f"{path}: found {key} {meta.get(key)!r}, expected {value!r}; {remedy}")
    groups = []
    for i, table in enumerate(names):
        ids = _whole_scans(table, n_views)
        if ids is None:
            raise ShardError(
                f"{path}: row group {i} does not hold whole scans of {n_views} views; {remedy}"
            )
        if ids:
            groups.append(Group(path, i, ids))
    return int(meta["n_rois"]), groups


def _whole_scans(table: pa.Table, n_views: int) -> tuple[str, ...] | None:
    """The scans of a row group, or None if their views are not complete and contiguous."""
    ids, views = table["scan_id"].to_pylist(), table["view"].to_numpy()
    scans = ids[::n_views]
    complete = len(ids) == len(scans) * n_views
    if not complete or ids != [s for s in scans for _ in range(n_views)]:
        return None
    return tuple(scans) if (views == np.tile(np.arange(n_views), len(scans))).all() else None


def epoch_order(group_sizes: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """The order of all scans in one epoch: row groups shuffled, scans shuffled in a buffer.

    Parameters
    ----------
    group_sizes : ndarray (n_groups,)
        Scans per row group.

    Returns
    -------
    ndarray (n_scans, 2)
        Group and position in it; each scan once.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, ORDER, epoch]))
    groups = rng.permutation(len(group_sizes))
    sizes = group_sizes[groups]
    buffer = (np.cumsum(sizes) - sizes) // BUFFER_SCANS
    order = []
    for number in np.unique(buffer):
        members = groups[buffer == number]
        scans = [
            np.stack([np.full(n, g), np.arange(n)], 1)
            for g, n in zip(members, group_sizes[members], strict=True)
        ]
        order.append(rng.permutation(np.concatenate(scans)))
    return np.concatenate(order)


def global_batch_size(wanted: int, n_scans: int, n_ranks: int) -> int:
    """Scans per step over all ranks: as configured, or all scans if there are fewer.

    Raises
    ------
    ShardError
        If a rank would have fewer than two scans, which batch norm needs, or unequal shares.
    """
    if wanted % n_ranks:
        raise ShardError(
            f"pretrain.batch_size {wanted} cannot be split over {n_ranks} processes; choose a "
            f"multiple, such as {max(2, wanted // n_ranks) * n_ranks}"
        )
    size = min(wanted, n_scans // n_ranks * n_ranks)
    if size < 2 * n_ranks:
        raise ShardError(
            f"found {n_scans} scans to pre-train on and batch_size {wanted}, expected at least 2 "
            f"scans for each of {n_ranks} processes; add data or use fewer processes"
        )
    return size


@dataclass(frozen=True)
class Batch:
    """One rank's slice of a global batch.

    Attributes
    ----------
    view_1, view_2 : ndarray (n, n_edges), float16
    masked_for_class, masked_for_values : ndarray (n, n_masked), int64
    scan_ids : list of str
        Of the whole global batch, for messages.
    """

    view_1: np.ndarray
    view_2: np.ndarray
    masked_for_class: np.ndarray
    masked_for_values: np.ndarray
    scan_ids: list[str]


class Stream:
    """Batches of an index; holds at most two shuffle buffers of pFC.

    Parameters
    ----------
    n_masked : tuple of int
        ROIs masked for classification and for reconstruction.
    """

    def __init__(
        self,
        index: Index,
        seed: int,
        batch_size: int,
        n_masked: tuple[int, int],
        rank: int = 0,
        n_ranks: int = 1,
    ) -> None:
        if max(n_masked) > index.n_rois:
            raise ShardError(f"found {n_masked} ROIs to mask, but there are only {index.n_rois}")
        self.index, self.seed, self.n_masked = index, seed, n_masked
        self.batch_size, self.rank, self.n_ranks = batch_size, rank, n_ranks
        self.steps_per_epoch = index.n_scans // batch_size
        self._sizes = np.array([len(g.scan_ids) for g in index.groups])
        self._epoch = -1
        self._order = np.empty((0, 2), dtype=int)
        self._held: dict[int, np.ndarray] = {}

    def batch(self, epoch: int, step: int) -> Batch:
        """This rank's slice of step `step` (from 0) of an epoch; any order of calls is valid."""
        if epoch != self._epoch:
            self._epoch, self._order = epoch, epoch_order(self._sizes, self.seed, epoch)
        start = step * self.batch_size
        members = self._order[start : start + self.batch_size]
        self._release(start)
        n, rois = self.batch_size, self.index.n_rois
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, STEP, epoch, step]))
        views = _draw(rng, n, self.index.n_views, 2)
        masks = [_draw(rng, n, rois, m) for m in self.n_masked]
        share = n // self.n_ranks
        mine = slice(self.rank * share, (self.rank + 1) * share)
        pairs = np.stack(
            [self._group(g)[i, v] for (g, i), v in zip(members[mine], views[mine], strict=True)]
        )  # (share, 2, n_edges)
        return Batch(
            *(pairs[:, 0], pairs[:, 1], masks[0][mine], masks[1][mine]),
            scan_ids=[self.index.groups[g].scan_ids[i] for g, i in members],
        )

    def _group(self, number: int) -> np.ndarray:
        """pFC of a row group, (n_scans, n_views, n_edges) float16."""
        if number not in self._held:
            group = self.index.groups[number]
            with open(group.file, "rb") as stream:
                table = pq.ParquetFile(stream).read_row_group(group.row_group, columns=["fc"])
            column = table["fc"].combine_chunks()
            edges = n_edges(self.index.n_rois)
            data = np.frombuffer(column.buffers()[1], dtype="<f2")
            data = data[column.offset * edges : (column.offset + len(column)) * edges]
            self._held[number] = data.reshape(-1, self.index.n_views, edges)
        return self._held[number]

    def _release(self, start: int) -> None:
        """Drop the groups that this epoch no longer needs; a small study stays in memory."""
        if self.index.n_scans > 2 * BUFFER_SCANS:
            ahead = max(2 * BUFFER_SCANS, self.batch_size)
            needed = set(self._order[start : start + ahead, 0])
            self._held = {g: a for g, a in self._held.items() if g in needed}


def _draw(rng: np.random.Generator, n: int, choices: int, k: int) -> np.ndarray:
    """(n, k) distinct numbers below `choices` in each row."""
    return rng.random((n, choices)).argsort(axis=1)[:, :k]
