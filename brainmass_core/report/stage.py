"""The stage: read results, draw, write one page. It computes no score and loads no model."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd

from brainmass_core.atlas import VORONOI
from brainmass_core.config import Config, dump_config, stage_hash
from brainmass_core.paths import Paths
from brainmass_core.report import cohort as people
from brainmass_core.report.connectome import dataset_connectome, read_connectome
from brainmass_core.report.interpretation import read_interpretation
from brainmass_core.report.names import METHODS
from brainmass_core.report.other import is_other, other_context, other_scores
from brainmass_core.report.page import render, software
from brainmass_core.report.pictures import draw_dataset, draw_loss, draw_task
from brainmass_core.report.scores import score_table, verdict, warnings_of
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
        If a result that the page shows is missing.
    """
    path = Paths(config.results).report(page)
    html = index_page(config) if page == "index" else task_page(config, page)
    with atomic_path(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    log.info("report: %s", path)


def task_page(config: Config, name: str) -> str:
    """HTML of a task's page; writes its figures on the way."""
    task, datasets = config.tasks[name], config.tasks[name].datasets
    tables = {t: _read(config, name, t) for t in ("cohort", "metrics", "roc")}
    cohort, metrics = tables["cohort"], tables["metrics"]
    if is_other(config, name):
        other = other_context(config, name, cohort, metrics)
        banners = {"banners": _banners(config, datasets, False)}
        return render("other.html.jinja", _common(config, name) | banners | other)
    classes = list(task.classes)
    connectome = read_connectome(config, cohort)
    pictures = draw_task(config, name, tables, connectome)
    for picture in pictures.values():
        with atomic_path(Paths(config.results).figure(name, picture.name)) as path:
            path.write_bytes(picture.png)
    context = _common(config, name) | {
        "name": name,
        "task": task,
        "classes": classes,
        "kinds": {config.datasets[d].kind for d in datasets},
        "banners": _banners(config, datasets, bool(connectome and connectome.approximate)),
        "warnings": warnings_of(metrics, config.finetune.permute_labels),
        "verdict": verdict(metrics),
        "scores": score_table(metrics),
        "methods": [
            {"Method": METHODS[m].short, "What it sees": METHODS[m].long} for m in metrics["method"]
        ],
        "people": people.summarise_cohort(cohort, classes),
        "sites": people.count_sites(cohort, classes),
        "flow": people.stage_flow(config, datasets) + people.task_flow(cohort),
        "exclusions": people.exclusions(config, datasets) + people.task_exclusions(cohort),
        "unmatched": people.unmatched_ids(config, datasets),
        "quality": people.quality(config, cohort, classes),
        "pictures": pictures,
        "interpretation": read_interpretation(config, name),
        "atlas": connectome.atlas if connectome else config.atlas.name,
        "n_rois": len(connectome.mean) if connectome else None,
        "n_tested": int(metrics["n_participants"].iloc[0]),
        "n_positive": int(metrics["n_positive"].iloc[0]),
    }
    return render("task.html.jinja", context)


def index_page(config: Config) -> str:
    """HTML of the front page."""
    tasks = []
    for name in config.tasks:
        metrics, cohort = _read(config, name, "metrics"), _read(config, name, "cohort")
        tasks.append(_summary(config, name, metrics, cohort))
    datasets = list(config.datasets)
    connectomes = {name: dataset_connectome(config, name) for name in datasets}
    approximate = any(c.approximate for c in connectomes.values() if c)
    context = _common(config, None) | {
        "banners": _banners(config, datasets, approximate),
        "tasks": tasks,
        "datasets": people.describe_datasets(config),
        "flow": people.stage_flow(config, datasets),
        "exclusions": people.exclusions(config, datasets),
        "unmatched": people.unmatched_ids(config, datasets),
        "connectivity": [p for name, c in connectomes.items() for p in draw_dataset(name, c)],
        "loss": draw_loss(config),
    }
    return render("index.html.jinja", context)


def _summary(
    config: Config, name: str, metrics: pd.DataFrame, cohort: pd.DataFrame
) -> dict[str, Any]:
    """What the front page says of a task."""
    keep = ("Method", "AUC", "Balanced accuracy", "AUC minus FC's")
    other = is_other(config, name)
    return {
        "name": name,
        "classes": list(config.tasks[name].classes),
        "label": config.tasks[name].label,
        "datasets": ", ".join(config.tasks[name].datasets),
        "n_used": int(cohort["used"].sum()),
        "n_tested": int(metrics["n_participants"].iloc[0]),
        "warnings": [] if other else warnings_of(metrics, config.finetune.permute_labels),
        "verdict": [] if other else verdict(metrics),
        "scores": other_scores(metrics)
        if other
        else [{k: row[k] for k in keep} for row in score_table(metrics)],
    }


def _common(config: Config, name: str | None) -> dict[str, Any]:
    return {
        "title": config.report.title,
        "config": config,
        "config_text": dump_config(config),
        "config_hash": stage_hash(config, "report", name),
        "software": software(),
        "max_rows": people.MAX_ROWS,
    }


def _banners(config: Config, datasets: list[str], approximate: bool) -> list[str]:
    """What makes the page unfit for any conclusion about people."""
    synthetic = [n for n in datasets if config.datasets[n].synthetic]
    said = []
    if synthetic:
        said.append(
            f"Synthetic data: {', '.join(synthetic)} was made by a program. Nothing on this page "
            "is a finding about people."
        )
    if approximate:
        said.append(
            f"Approximate atlas: {VORONOI} divides the grey matter by the nearest published "
            "centroid. It stands in for the Schaefer atlas, which could not be had, and is for "
            "synthetic data only."
        )
    return said


def _read(config: Config, task: str, name: str) -> pd.DataFrame:
    folder = Paths(config.results).finetune(task)
    return read_table(folder / f"{name}.parquet", name).to_pandas()
