"""The stage `report`: read results, draw figures, write one page.

It loads no model and computes no scores except those of single sites."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd
import pyarrow.compute as pc

from brainmass_core.atlas import VORONOI
from brainmass_core.config import Config, dump_config
from brainmass_core.pipeline.failed_fraction import refused_datasets
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.paths import Paths
from brainmass_core.report import cohort as people
from brainmass_core.report import participants
from brainmass_core.report.citations import Citations
from brainmass_core.report.compare import ablations
from brainmass_core.report.connectome import dataset_connectome, read_connectome
from brainmass_core.report.few_shot import curve_table, transfer_table
from brainmass_core.report.flow import exclusion_flow
from brainmass_core.report.interpretation import read_interpretation
from brainmass_core.report.joining import run_fates, told_of_joining
from brainmass_core.report.names import FEW_ESTIMATORS, LEADING, kind_of, listed
from brainmass_core.report.page import render, software
from brainmass_core.report.pictures import draw_dataset, draw_loss, draw_task
from brainmass_core.report.programs import programs_of
from brainmass_core.report.results import Results, read_results
from brainmass_core.report.scores import (
    comparison_table,
    score_table,
    summary_table,
    verdict,
    warnings_of,
)
from brainmass_core.report.series_model import read_series_model
from brainmass_core.report.sites import MIN_PEOPLE, MIN_PER_CLASS, site_table, small_sites
from brainmass_core.tables import atomic_path, read_table

log = logging.getLogger(__name__)


def run(config: Config, page: str) -> None:
    """Write one page of the report, and for a task its figures as PNG files.

    Parameters
    ----------
    page : str
        Name of a task, or ``index``.

    Raises
    ------
    TableError
        If a required result is missing.
    """
    path = Paths(config.results).report(page)
    html = index_page(config) if page == "index" else task_page(config, page)
    with atomic_path(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    log.info("report: %s", path)


def task_page(config: Config, name: str) -> str:
    """HTML of a task's page; also writes its figures."""
    task, datasets = config.tasks[name], config.tasks[name].datasets
    r = read_results(config, name)
    connectome = read_connectome(config, r.cohort)
    pictures = draw_task(r, connectome)
    for picture in pictures.values():
        with atomic_path(Paths(config.results).figure(name, picture.name)) as path:
            path.write_bytes(picture.png)
    entries = people.read_entries(config, datasets)
    approximate = bool(connectome and connectome.approximate)
    context = _common(config, name) | _scores(r) | _people(r, entries)
    context |= {
        "name": name,
        "task": task,
        "used_datasets": _used_datasets(config, name),
        "folder": str(Paths(config.results).finetune(name)),
        "kinds": {config.datasets[d].kind for d in datasets},
        "banners": _banners(config, datasets, approximate),
        "pictures": pictures,
        "interpretation": read_interpretation(config, name),
        "atlas": connectome.atlas if connectome else config.atlas.name,
        "n_rois": len(connectome.mean) if connectome else None,
        "cite": Citations(),
        "programs": programs_of(config.preprocess),
        "few_estimators": lambda names: ", ".join(FEW_ESTIMATORS[n] for n in names),
    }
    return render("task.html.jinja", context)


def _scores(r: Results) -> dict[str, Any]:
    """Template variables about scores."""
    first = r.metrics.iloc[0]
    return {
        "kind": r.kind,
        "classes": r.classes,
        "leading": LEADING[r.kind],
        "warnings": warnings_of(r.metrics, r.config.finetune.permute_labels, r.kind),
        "verdict": verdict(r.metrics) if r.kind == "binary" else [],
        "scores": score_table(r.metrics, r.kind),
        "comparison": comparison_table(r.metrics, r.kind),
        "resampled": r.config.tasks[r.name].protocol.kind in ("repeated_kfold", "fixed_split"),
        **listed(r.metrics["method"]),
        "site_scores": site_table(r.sites, r.kind),
        "small": small_sites(r.sites, r.cohort),
        "min_per_class": MIN_PER_CLASS,
        "min_people": MIN_PEOPLE,
        "curves": curve_table(r.curves) if r.curves is not None else [],
        "transfer": transfer_table(r.transfer) if r.transfer is not None else [],
        "n_tested": int(first["n_participants"]),
        "n_positive": int(first["n_positive"]) if r.kind == "binary" else None,
    }


def _people(r: Results, entries: pd.DataFrame) -> dict[str, Any]:
    """Template variables about the cohort and excluded scans."""
    datasets = r.config.tasks[r.name].datasets
    broken = entries[entries["status"] == "failed"]
    failed = set(zip(broken["stage"], broken["scan_id"], strict=True))
    raw = any(r.config.datasets[d].kind == "bids" for d in datasets)
    gone = [people.exclusions(r.config, datasets, entries), people.task_exclusions(r.cohort)]
    runs = run_fates(r.config, datasets, entries)
    paths = Paths(r.config.results)
    files = [f"{paths.finetune(r.name) / 'cohort.parquet'} (stage and reason)", *_manifests(paths)]
    refused = people.refused(r.config, entries)
    flow = people.stage_flow(r.config, datasets, entries)
    return {
        "people": participants.summarise_cohort(r.cohort, r.classes),
        "codings": r.codings["warning"].tolist(),
        "sites": participants.count_sites(r.cohort, r.classes),
        "flow": people.in_red(flow, refused) + people.task_flow(r.cohort),
        "refused": [one.warning for one in refused],
        "chart": exclusion_flow(r.cohort, failed, r.tested, r.classes, raw, runs),
        "joining": told_of_joining(r.config),
        "lost": people.lost(pd.concat(gone, ignore_index=True), files),
        "unmatched": people.unmatched_ids(r.config, datasets),
        "quality": participants.quality(r.config, r.cohort, r.classes),
    }


def index_page(config: Config) -> str:
    """HTML of the front page."""
    datasets = list(config.datasets)
    connectomes = {name: dataset_connectome(config, name) for name in datasets}
    approximate = any(c.approximate for c in connectomes.values() if c)
    entries = people.read_entries(config, datasets)
    paths, refused = Paths(config.results), people.refused(config, entries)
    files = [*(str(paths.quality(name, "scans.csv")) for name in datasets), *_manifests(paths)]
    context = _common(config, None) | {
        "banners": _banners(config, datasets, approximate),
        "tasks": [_summary(config, name) for name in config.tasks],
        "datasets": participants.describe_datasets(config),
        "flow": people.in_red(people.stage_flow(config, datasets, entries), refused),
        "refused": [one.warning for one in refused],
        "joining": told_of_joining(config),
        "lost": people.lost(people.exclusions(config, datasets, entries), files),
        "unmatched": people.unmatched_ids(config, datasets),
        "connectivity": [p for name, c in connectomes.items() for p in draw_dataset(name, c)],
        "loss": draw_loss(config),
        "series_model": read_series_model(config),
        "ablations": ablations(config),
    }
    return render("index.html.jinja", context)


def _summary(config: Config, name: str) -> dict[str, Any]:
    """Template variables about a task on the front page."""
    folder, classes = Paths(config.results).finetune(name), list(config.tasks[name].classes)
    metrics = read_table(folder / "metrics.parquet", "metrics").to_pandas()
    used = read_table(folder / "cohort.parquet", "cohort", ["used"])["used"]
    kind = kind_of(classes)
    return {
        "name": name,
        "kind": kind,
        "classes": classes,
        "label": config.tasks[name].label,
        "datasets": _used_datasets(config, name),
        "n_used": pc.sum(used).as_py() or 0,
        "n_tested": int(metrics["n_participants"].iloc[0]),
        "warnings": warnings_of(metrics, config.finetune.permute_labels, kind),
        "verdict": verdict(metrics) if kind == "binary" else [],
        "scores": summary_table(metrics, kind),
    }


def _used_datasets(config: Config, name: str) -> str:
    """Names of a task's data sets, without those of which too many scans failed."""
    names = config.tasks[name].datasets
    refused = refused_datasets(config, "finetune", names)
    return ", ".join(d for d in names if d not in refused)


def _manifests(paths: Paths) -> list[str]:
    return [str(paths.results / "manifest" / "<stage>" / "<data set>" / "<batch>.parquet")]


def _common(config: Config, name: str | None) -> dict[str, Any]:
    return {
        "title": config.report.title,
        "config": config,
        "config_text": dump_config(config),
        "config_hash": stage_hash(config, "report", name),
        "software": software(),
    }


def _banners(config: Config, datasets: list[str], approximate: bool) -> list[str]:
    """Reasons why the page allows no conclusion about people."""
    synthetic = [n for n in datasets if config.datasets[n].synthetic]
    said = []
    if synthetic:
        said.append(
            f"Synthetic data: {', '.join(synthetic)} was generated by a program. Nothing on this "
            "page is a finding about people."
        )
    if approximate:
        said.append(
            f"Approximate atlas: {VORONOI} assigns grey matter to the nearest published centroid. "
            "It replaces the Schaefer atlas, which was not available, and is for synthetic data "
            "only."
        )
    return said
