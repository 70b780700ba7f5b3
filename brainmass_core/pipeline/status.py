"""Progress of a run, from manifests and from finished scans of unfinished batches."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from brainmass_core.config import Config
from brainmass_core.pipeline.accounting import account
from brainmass_core.pipeline.failed_fraction import (
    FailedFraction,
    failed_fractions,
    read_failures,
)
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.manifest import Entry, read_manifest
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pipeline.stores import kept_entries
from brainmass_core.tables import config_hash_of, read_table


@dataclass(frozen=True)
class Standing:
    """Counts of one stage of one data set; ``entered = done + failed + excluded + left``.

    Attributes
    ----------
    seconds : float
        Summed wall time of its scans.
    current : bool
        Whether the existing tables were made with the current configuration.
    """

    stage: str
    dataset: str
    entered: int
    done: int
    failed: int
    excluded: int
    seconds: float
    current: bool = True

    @property
    def left(self) -> int:
        """Scans that still have to be processed."""
        return self.entered - self.done - self.failed - self.excluded


def standings(config: Config) -> list[Standing]:
    """Count the scans of all stages for every data set whose scans table exists."""
    paths = Paths(config.results)
    found: list[Standing] = []
    for dataset in config.datasets:
        if paths.scans(dataset).exists():
            found += _standings_of(config, paths, dataset)
    return found


def _standings_of(config: Config, paths: Paths, dataset: str) -> Iterator[Standing]:
    scans = read_table(paths.scans(dataset), "scans", ["scan_id", "batch"]).to_pydict()
    batches = dict(zip(scans["scan_id"], scans["batch"], strict=True))
    entries: dict[str, list[Entry]] = {"scans": []}
    current = {"scans": True}

    def outcomes(stage: str) -> dict[str, str]:
        entries[stage], current[stage] = _entries(config, paths, stage, dataset, batches)
        return {e.scan_id: e.status for e in entries[stage]}

    for stage, entered, found in account(config, dataset, outcomes, waiting=True):
        n = Counter(found.values())
        yield Standing(
            *(stage, dataset, len(entered), n["ok"], n["failed"], n["excluded"]),
            seconds=sum(e.seconds for e in entries[stage] if e.scan_id in entered),
            current=current[stage],
        )


def _entries(
    config: Config, paths: Paths, stage: str, dataset: str, batches: dict[str, int]
) -> tuple[list[Entry], bool]:
    """Entries of finished batches, and of the finished scans of others."""
    wanted = stage_hash(config, stage, dataset)
    entries: list[Entry] = []
    current = True
    unpublished: set[int] = set()
    for batch in range(config.datasets[dataset].batches):
        manifest = paths.manifest(stage, dataset, batch)
        if manifest.exists():
            entries += read_manifest(manifest)
            current &= config_hash_of(manifest) == wanted
        else:
            unpublished.add(batch)
    for kept in kept_entries(config, stage, dataset, unpublished):
        # joined runs have no batch column
        if batches.get(kept.scan_id, kept.batch) in unpublished:
            entries.append(kept)
    return entries, current


def show(config: Config, console: Console, watch: float = 0.0) -> None:
    """Print the progress, repeatedly if requested."""
    while True:
        rows = standings(config)
        console.print(_table(rows, config.connectivity.unit))
        for one in _refused(config, rows):
            console.print(f"[red]{escape(one.warning)}[/red]")
        for line in _later_stages(config):
            console.print(line)
        if not watch:
            return
        time.sleep(watch)


def _refused(config: Config, rows: list[Standing]) -> Iterator[FailedFraction]:
    """Data sets and stages in which more scans of published batches failed than allowed."""
    limit = config.max_failed_fraction
    for row in rows:
        if row.failed > limit * (row.done + row.failed + row.excluded):
            entries = read_failures(config, row.dataset, [row.stage])
            yield from (one for one in failed_fractions(entries, limit) if one.exceeded)


def _table(rows: list[Standing], unit: str) -> Table:
    table = Table(title="scans per stage", box=SIMPLE_HEAD)
    if unit != "run" and rows:
        table.caption = f"connectivity and pfc count joined runs, one row per {unit} and task"
    for name in ("stage", "data set"):
        table.add_column(name, no_wrap=True)
    for name in ("entered", "done", "failed", "excluded", "left", "s"):
        table.add_column(name, justify="right", no_wrap=True)
    if not all(row.current for row in rows):
        table.add_column("")
    for row in rows:
        worked = row.done + row.failed + row.excluded
        rate = f"{row.seconds / worked:.1f}" if worked and row.seconds else ""
        note = [] if row.current else ["from an older configuration"]
        table.add_row(
            *(row.stage, row.dataset, str(row.entered), str(row.done)),
            f"[red]{row.failed}[/red]" if row.failed else "0",
            *(str(row.excluded), str(row.left), rate),
            *note,
        )
    if not rows:
        table.caption = "nothing yet: no scans table"
    return table


def _later_stages(config: Config) -> Iterator[str]:
    paths = Paths(config.results)
    model = paths.pretrain(config.pretrain.model) / "model.safetensors"
    if config.pretrains:
        yield f"pretrain: {'done' if model.exists() else 'not finished'}"
    for task in config.tasks:
        scored = (paths.finetune(task) / "metrics.parquet").exists()
        page = paths.report(task)
        where = f", report {page}" if page.exists() else ""
        yield f"finetune {task}: {'done' if scored else 'not finished'}{where}"
        mapped = paths.interpret(task, "regions.parquet").exists()
        yield f"interpret {task}: {'done' if mapped else 'not finished'}"
    for analysis in config.series_model.analyses:
        analysed = paths.series_model(f"{analysis}.parquet").exists()
        yield f"series_model {analysis}: {'done' if analysed else 'not finished'}"
