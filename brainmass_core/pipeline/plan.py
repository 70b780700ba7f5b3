"""What the stages of batches cost, before anything runs: for `brainmass config check`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from brainmass_core.config import Config
from brainmass_core.config.costs import (
    CPU,
    DERIVATIVE_BYTES,
    DERIVATIVE_CPU,
    DERIVATIVE_FILES,
    FILES_OF_JOB,
    FLAGGED,
    KEPT_FILES,
    PAGE_BYTES,
    PAGE_CPU,
    PREPROCESS_BYTES,
    PREPROCESS_FILES,
    SERIES_BYTES,
    START_UP,
    Cost,
)
from brainmass_core.pipeline.stages import batch_stages

COLUMNS = ("stage", "scans", "jobs", "files", "MB", "CPU-hours")


def plan(config: Config, n_scans: Mapping[str, int]) -> dict[str, Cost]:
    """Cost of each stage of batches.

    Parameters
    ----------
    config : Config
        With a value for all settings, see `config.study_size`.
    n_scans : mapping
        Data set to its number of scans. Exclusions are not known yet, so all enter each stage.
    """
    found: dict[str, Cost] = {}
    for dataset, n in n_scans.items():
        for stage in batch_stages(config, dataset):
            cost = _cost(config, dataset, stage.name, n)
            found[stage.name] = found[stage.name] + cost if stage.name in found else cost
    return found


def table(costs: Mapping[str, Cost]) -> Iterator[str]:
    """Lines of text: one per stage, and the sum of their jobs, files, bytes and CPU-hours."""
    rows = [(name, f"{c.scans:,}", *_numbers(c)) for name, c in costs.items()]
    if len(costs) > 1:
        first, *others = costs.values()
        rows.append(("all", "", *_numbers(sum(others, first))))
    widths = [max(len(row[i]) for row in [COLUMNS, *rows]) for i in range(len(COLUMNS))]
    for row in [COLUMNS, *rows]:
        stage, *numbers = (text.rjust(w) for text, w in zip(row, widths, strict=True))
        yield "  ".join([stage.strip().ljust(widths[0]), *numbers])


def _numbers(cost: Cost) -> tuple[str, ...]:
    hours, mb = cost.cpu / 3600, cost.n_bytes / 1e6
    return (
        f"{cost.jobs:,}",
        f"{cost.files:,}",
        f"{mb:,.0f}" if mb >= 10 else f"{mb:.1f}",
        f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}",
    )


def _cost(config: Config, dataset: str, stage: str, n: int) -> Cost:
    """Cost of one stage of one data set."""
    section, kind = config.datasets[dataset], config.datasets[dataset].kind
    n_rois = config.atlas.n_rois or 100
    n_edges = n_rois * (n_rois - 1) / 2
    if stage == "quality":
        return _of_pages(config, dataset, n)
    if stage == "pfc" and section.role == "internal":
        n = round(n * (1 - section.evaluation_fraction))
    n_bytes = {
        "preprocess": PREPROCESS_BYTES[config.preprocess.derivatives],
        "timeseries": SERIES_BYTES * n_rois,
        "connectivity": 4 * n_edges,
        "pfc": 2 * n_edges * config.pfc.n_views,
    }[stage]
    files, cpu = 0, CPU[stage][kind]
    if stage == "preprocess":
        files = PREPROCESS_FILES[config.preprocess.derivatives]
    elif stage in DERIVATIVE_FILES and config.timeseries.writes_derivatives:
        files = DERIVATIVE_FILES[stage]
        n_bytes += DERIVATIVE_BYTES[stage]
        cpu += DERIVATIVE_CPU[stage]
    kept = KEPT_FILES.get(stage, 0) * section.batches
    return _summed(section.batches, n, files * n + kept, n_bytes * n, cpu * n)


def _of_pages(config: Config, dataset: str, n: int) -> Cost:
    kind = config.datasets[dataset].kind
    fraction = {"all": 1.0, "flagged": FLAGGED, "none": 0.0}[config.quality.with_page]
    pages = round(fraction * n)
    batches = config.datasets[dataset].batches
    return _summed(batches, n, pages, PAGE_BYTES[kind] * pages, PAGE_CPU[kind] * pages)


def _summed(jobs: int, scans: int, files: int, n_bytes: float, cpu: float) -> Cost:
    return Cost(scans, jobs, files + FILES_OF_JOB * jobs, n_bytes, cpu + START_UP * jobs)
