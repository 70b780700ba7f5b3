"""Data sets of which too many scans failed; their other scans are not used either.

A data set is judged as a whole, from the manifests of all its batches: if more than
``max_failed_fraction`` of the scans that entered a stage failed, a wrong path or setting is more
likely than bad scans. Every result that depends on the stage is then made without the data set.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from brainmass_core.config import Config
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pipeline.stages import STAGES, batch_stages
from brainmass_core.tables import read_table

log = logging.getLogger(__name__)
COLUMNS = ["stage", "dataset", "scan_id", "status", "reason"]  # of `tables.MANIFEST`
MAX_REASONS = 3
# stages whose results are made without a refused data set
USES = {"pretrain": "pre-training", "finetune": "tasks", "series_model": "series_model"}


class NoDatasetError(ValueError):
    """No data set is left, because too many scans failed in each."""


@dataclass(frozen=True)
class FailedFraction:
    """Scans of a data set that entered a stage, and how many of them failed.

    Attributes
    ----------
    limit : float
        ``max_failed_fraction``.
    reasons : tuple of str
        The most frequent reasons with their numbers of scans; empty if the limit is not exceeded.
    """

    dataset: str
    stage: str
    n_scans: int
    n_failed: int
    limit: float
    reasons: tuple[str, ...] = ()

    @property
    def exceeded(self) -> bool:
        """Whether more scans failed than the limit allows."""
        return _exceeds(self.n_failed, self.n_scans, self.limit)

    @property
    def text(self) -> str:
        """Data set, stage, numbers and limit."""
        return (
            f"{self.dataset}: {self.n_failed} of {self.n_scans} scans failed in {self.stage}, more "
            f"than max_failed_fraction {self.limit:g}"
        )

    @property
    def warning(self) -> str:
        """The text, its consequence, the most frequent reasons and the remedy."""
        of = [name for stage, name in USES.items() if self.stage in judged_stages(stage)]
        without = f"its scans are not used for {', '.join(of)}" if of else "no result depends on it"
        return (
            f"{self.text}; {without}. Reasons: {'; '.join(self.reasons)}. Correct the cause and "
            "run `brainmass retry`, then the same command, or raise max_failed_fraction"
        )


def failed_fractions(entries: pa.Table, limit: float) -> list[FailedFraction]:
    """Count the failed scans of each data set in each stage.

    Parameters
    ----------
    entries : Table
        Rows of manifests with the columns `COLUMNS`.
    limit : float
        ``max_failed_fraction``.

    Returns
    -------
    list of FailedFraction
        One for each data set and stage with entries, ordered by data set, then in the order of the
        stages.
    """
    n: dict[tuple[str, str], int] = defaultdict(int)
    failed: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    columns = [entries[name].to_pylist() for name in COLUMNS]
    for stage, dataset, scan_id, status, reason in zip(*columns, strict=True):
        n[dataset, stage] += 1
        if status == "failed":
            failed[dataset, stage].append((scan_id, reason))
    order = list(STAGES)
    found = []
    for dataset, stage in sorted(n, key=lambda key: (key[0], order.index(key[1]))):
        lost = failed[dataset, stage]
        told = _reasons(lost) if _exceeds(len(lost), n[dataset, stage], limit) else ()
        found.append(FailedFraction(dataset, stage, n[dataset, stage], len(lost), limit, told))
    return found


def judged_stages(user: str) -> set[str]:
    """Stages of batches on which a stage depends, except through models and tasks."""
    found: set[str] = set()
    waiting = list(STAGES[user].reads)
    while waiting:
        stage = STAGES[waiting.pop()]
        if stage.unit == "batch" and stage.name not in found:
            found.add(stage.name)
            waiting += stage.reads
    return found


def refused_datasets(
    config: Config, user: str, datasets: Iterable[str]
) -> dict[str, FailedFraction]:
    """Data sets that a stage must not use because too many of their scans failed.

    Only stages on which it depends are judged, so that the answer does not depend on the order of
    jobs. Batches without a manifest are not counted.

    Parameters
    ----------
    user : {"pretrain", "finetune", "series_model"}
        The stage that uses the scans.

    Returns
    -------
    dict
        Data set to the first stage in which it exceeds the limit.

    Raises
    ------
    TableError
        If a manifest is damaged.
    """
    stages = judged_stages(user)
    found: dict[str, FailedFraction] = {}
    for dataset in datasets:
        judged = [s.name for s in batch_stages(config, dataset) if s.name in stages]
        entries = read_failures(config, dataset, judged)
        for one in failed_fractions(entries, config.max_failed_fraction):
            if one.exceeded:
                found.setdefault(dataset, one)
    return found


def refused_of(
    config: Config, user: str, datasets: Iterable[str], told: str = ""
) -> dict[str, FailedFraction]:
    """The same as `refused_datasets`, for a stage that needs at least one data set.

    Parameters
    ----------
    told : str
        Beginning of a warning for each refused data set; empty: they are not logged.

    Raises
    ------
    NoDatasetError
        If all are refused.
    TableError
        If a manifest is damaged.
    """
    names = list(dict.fromkeys(datasets))
    refused = refused_datasets(config, user, names)
    if refused and len(refused) == len(names):
        lines = "\n".join(f"  {one.warning}" for one in refused.values())
        raise NoDatasetError(f"{USES[user]}: too many scans failed in every data set:\n{lines}")
    for one in refused.values() if told else ():
        log.warning("%s: %s", told, one.warning)
    return refused


def read_failures(config: Config, dataset: str, stages: Iterable[str]) -> pa.Table:
    """Columns `COLUMNS` of the manifests of a data set's current batches."""
    paths, batches = Paths(config.results), range(config.datasets[dataset].batches)
    files = [paths.manifest(stage, dataset, batch) for stage in stages for batch in batches]
    tables = [read_table(file, "manifest", COLUMNS) for file in files if file.exists()]
    if tables:
        return pa.concat_tables(tables)
    return pa.table({name: pa.array([], pa.string()) for name in COLUMNS})


def _exceeds(n_failed: int, n_scans: int, limit: float) -> bool:
    return n_scans > 0 and n_failed / n_scans > limit


def _reasons(failed: list[tuple[str, str]]) -> tuple[str, ...]:
    # imported late, because `brainmass status` does not need pandas otherwise
    from brainmass_core.reasons import reasons_of

    names, texts = zip(*sorted(failed), strict=True)
    return tuple(reason.line() for reason in reasons_of(texts, MAX_REASONS, names))
