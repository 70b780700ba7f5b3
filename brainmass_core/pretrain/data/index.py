"""What may be pre-trained on: an index of the row groups of pFC shards or of time-series tables.

Everything that could spoil a run is looked for here, before training: tables of other
configurations, damaged pages, scans that are kept for evaluation.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainmass_core.config import Config
from brainmass_core.pfc import SCANS_PER_ROW_GROUP
from brainmass_core.pipeline.eligibility import may_be_pretrained_on
from brainmass_core.pipeline.failed_fraction import FailedFraction, refused_datasets, refused_of
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.data.row_groups import Group, read_all, row_groups
from brainmass_core.pretrain.data.usable_series import (
    ShardError,
    Usable,
    agreed_t_r,
    tell_left_out,
    usable_by,
)
from brainmass_core.scans import check_unique
from brainmass_core.scans.units import joins, read_units
from brainmass_core.tables import read_table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """What one data set contributes."""

    dataset: str
    role: str
    n_scans: int
    n_participants: int


@dataclass(frozen=True)
class Index:
    """Everything known about the data without reading a pFC or a series.

    Attributes
    ----------
    n_views : int
        Stored views of a scan; 0 where they are drawn at each step.
    fingerprint : str
        SHA-256 over the bytes of all tables: a checkpoint of other data must not be resumed.
    t_r : float or None
        Repetition time that the scans agree on, in seconds; None where unknown, and for pFC.
    blocks : tuple of ndarray (n, 2) of int
        Group and position of each scan, in blocks that are shuffled whole. They are the same
        scans in the same order however the scans are dealt over tables; empty: the groups.
    refused : tuple of FailedFraction
        Data sets that are not used because too many of their scans failed.
    """

    groups: list[Group]
    n_rois: int
    n_views: int
    sources: list[Source]
    fingerprint: str
    t_r: float | None = None
    blocks: tuple[np.ndarray, ...] = ()
    refused: tuple[FailedFraction, ...] = ()

    @property
    def n_scans(self) -> int:
        """Scans in all groups."""
        return sum(len(g.scan_ids) for g in self.groups)


def index_shards(config: Config, with_fingerprint: bool = True) -> Index:
    """Find the tables of all data sets that may be pre-trained on, and check them.

    Parameters
    ----------
    with_fingerprint : bool
        Read all bytes, for the fingerprint and to find damage; the launcher does, workers do not.

    Raises
    ------
    ShardError
        If a table is missing, damaged, from another configuration or schema version, has another
        number of ROIs or views, or holds a scan kept for evaluation; if no series can be used, or
        those of a BrainLM are of several repetition times; if all data sets are external.
    NoDatasetError
        If too many scans failed in every data set.
    TableError
        If a scans table cannot be read.
    ScansError
        If two data sets have a scan id in common.
    """
    if not config.pretrains:
        raise ShardError(
            "datasets: all are external, so there are no participants to pre-train a model on; "
            "give a data set the role pretrain, or internal with the evaluation_fraction to be kept"
        )
    paths, stage = Paths(config.results), config.pretrain.source
    groups: list[Group] = []
    short: list[str] = []
    sources: list[Source] = []
    shapes: dict[Path, int] = {}
    digest = hashlib.sha256() if with_fingerprint else None
    blocks: list[np.ndarray] = []
    # by name: in which order a configuration lists them must not change the model
    names = sorted(config.pretrain_datasets())
    refused = refused_of(config, "pretrain", names, "pre-training" if with_fingerprint else "")
    used = [name for name in names if name not in refused]
    columns = ["scan_id", "bold_path"]
    check_unique({name: read_table(paths.scans(name), "scans", columns) for name in used})
    for name in used:
        found = _groups_of(config, name, shapes, short, digest)
        ids = [s for g in found for s in g.scan_ids]
        participants = _of_rows(config, name, _allowed(paths.scans(name)))
        _refuse_evaluation_scans(paths.batch(stage, name, 0).parent, stage, name, ids, participants)
        role, n_participants = config.datasets[name].role, len({participants[s] for s in ids})
        sources.append(Source(name, role, len(ids), n_participants))
        blocks += _blocks(found, len(groups), SCANS_PER_ROW_GROUP if stage == "pfc" else len(ids))
        groups += found
    if len(set(shapes.values())) > 1:
        lines = "\n".join(f"  {file}: {n}" for file, n in shapes.items())
        raise ShardError(f"the {stage} tables differ in their number of ROIs:\n{lines}")
    tell_left_out(short, sum(len(g.scan_ids) for g in groups))
    fingerprint = digest.hexdigest() if digest else ""
    n_views = config.pfc.n_views if stage == "pfc" else 0
    t_r = (
        agreed_t_r(config, [t for g in groups for t in g.t_rs])
        if config.pretrain.encoder.sees_series
        else None
    )
    n_rois = next(iter(shapes.values()))
    told = tuple(refused.values())
    return Index(groups, n_rois, n_views, sources, fingerprint, t_r, tuple(blocks), told)


def _groups_of(
    config: Config,
    dataset: str,
    shapes: dict[Path, int],
    short: list[str],
    digest: hashlib._Hash | None,
) -> list[Group]:
    """Row groups of a data set with the scans that may be used, from the tables of its batches.

    Parameters
    ----------
    shapes, short
        Extended by the number of ROIs of each table, and by the series that cannot be used.
    digest : optional
        Updated with the bytes of all tables and the names of the scans.
    """
    paths, stage = Paths(config.results), config.pretrain.source
    splits, usable = _splits(paths.scans(dataset)), usable_by(config)
    found: list[Group] = []
    for batch in range(config.datasets[dataset].batches):
        file = paths.batch(stage, dataset, batch)
        shapes[file], groups = row_groups(file, stage, stage_hash(config, stage, dataset), config)
        if stage == "timeseries":
            groups = [_usable(g, splits, usable, short) for g in groups]
        found += [g for g in groups if g.scan_ids]
        if digest:
            read_all(file, stage, digest)
    if digest:
        digest.update("\n".join(s for g in found for s in g.scan_ids).encode())
    return found


def _blocks(groups: list[Group], first: int, size: int) -> list[np.ndarray]:
    """The scans of a data set, ordered by name, in blocks of `size`; see `Index`.

    These are the row groups of a data set that is dealt as one batch.

    Parameters
    ----------
    first : int
        Number of the first group in the index.
    """
    places = {s: (first + g, i) for g, group in enumerate(groups)
              for i, s in enumerate(group.scan_ids)}  # fmt: skip
    ordered = np.array([places[s] for s in sorted(places)], dtype=np.int64).reshape(-1, 2)
    return [ordered[i : i + size] for i in range(0, len(ordered), size)] if size else []


def scans_seen(config: Config, dataset: str) -> set[str]:
    """scan_id of all scans of a data set that pre-training is given, read off the tables.

    Of joined runs all, those as well that were lost on the way.

    Raises
    ------
    TableError
        If a table cannot be read.
    """
    paths, source = Paths(config.results), config.pretrain.source
    seen: set[str] = set()
    if dataset not in config.pretrain_datasets() or refused_datasets(config, "pretrain", [dataset]):
        return seen
    splits = _splits(paths.scans(dataset))
    for batch in range(config.datasets[dataset].batches):
        path = paths.batch(source, dataset, batch)
        if source == "pfc":
            seen.update(read_table(path, "pfc", ["scan_id"])["scan_id"].to_pylist())
            continue
        rows = read_table(path, "timeseries", ["scan_id", "status"]).to_pylist()
        series = {r["scan_id"] for r in rows if r["status"] == "ok"}
        seen |= {s for s in series if s not in splits or may_be_pretrained_on(splits[s])}
    if source == "pfc" and joins(config):
        units = read_units(config, dataset)
        return {run for unit in seen for run in units.runs.get(unit, [unit])}
    return seen


def _of_rows(config: Config, dataset: str, of_scans: dict[str, str]) -> dict[str, str]:
    """The same by what a row of the source's tables stands for: a scan, or joined runs."""
    if config.pretrain.source != "pfc" or not joins(config):
        return of_scans
    of = read_units(config, dataset).of
    return {of[scan_id]: who for scan_id, who in of_scans.items()}


def _splits(path: Path) -> dict[str, str]:
    table = read_table(path, "scans", columns=["scan_id", "split"]).to_pydict()
    return dict(zip(table["scan_id"], table["split"], strict=True))


def _allowed(path: Path) -> dict[str, str]:
    """scan_id to participant, of the participants of whom no scan is kept for evaluation."""
    columns = ["scan_id", "participant_id", "split"]
    rows = read_table(path, "scans", columns=columns).to_pylist()
    kept_back = {r["participant_id"] for r in rows if not may_be_pretrained_on(r["split"])}
    return {r["scan_id"]: r["participant_id"] for r in rows if r["participant_id"] not in kept_back}


def _refuse_evaluation_scans(
    folder: Path, stage: str, dataset: str, ids: list[str], allowed: dict[str, str]
) -> None:
    """Leakage is the one mistake that no later check would show."""
    what = {"pfc": "pFC", "timeseries": "time series"}[stage]
    wrong = sorted(set(ids) - set(allowed))
    remedy = f"remove {folder} and run: snakemake --cores all {stage}"
    if wrong:
        raise ShardError(
            f"{what} of {dataset}: {len(wrong)} scans are not free for pre-training (kept for "
            f"evaluation, or not in the scans table): {', '.join(wrong[:5])}; {remedy}"
        )
    if len(ids) != len(set(ids)):
        raise ShardError(f"{what} of {dataset}: a scan is in two shards; {remedy}")


def _usable(group: Group, splits: dict[str, str], usable: Usable, left_out: list[str]) -> Group:
    """Without scans kept for evaluation, and without series that cannot be used."""
    kept, short = [], []
    for scan in zip(group.scan_ids, group.lengths, group.t_rs, strict=True):
        if scan[0] in splits and not may_be_pretrained_on(splits[scan[0]]):
            continue
        try:
            usable(*scan[1:])
        except ValueError as error:
            short.append(f"{scan[0]}: {error}")
            continue
        kept.append(scan)
    if short:
        log.warning("%s: left out of pre-training: %s", group.file, "; ".join(short))
    left_out += short
    ids, lengths, t_rs = zip(*kept, strict=True) if kept else ((), (), ())
    return Group(group.file, group.row_group, ids, lengths, t_rs)
