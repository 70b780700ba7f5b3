"""Ablations: the same tasks in several results folders, each with another configuration.

The differences between settings are read from the configurations. Folders may differ in seeds,
folds and scans, so differences between folders are not paired, and only the intervals of the
scores show the variation by chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from brainmass_core.config import Config
from brainmass_core.config.yaml_file import read_yaml
from brainmass_core.drawing import NotAvailableError, draw, new_figure
from brainmass_core.encoders.registry import is_pretrained
from brainmass_core.pipeline.paths import Paths
from brainmass_core.report.cells import number, score
from brainmass_core.report.names import LEADING, colour_of, kind_of, line_of, short_of
from brainmass_core.report.page import Picture
from brainmass_core.tables import TableError, read_table

# locations and appearance, which do not affect results
NO_KNOBS = ("results", "report", "resources", "presets")
BASELINE = "fc_svm"


@dataclass(frozen=True)
class Variant:
    """One results folder.

    Attributes
    ----------
    knobs : dict
        Dotted path to value, of the settings that differ between the folders.
    metrics : DataFrame
        `tables.METRICS` of the task.
    """

    name: str
    knobs: dict[str, Any]
    metrics: pd.DataFrame


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted path to value of every setting; a list is one value."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        here = f"{prefix}{key}"
        flat |= flatten(value, f"{here}.") if isinstance(value, Mapping) else {here: value}
    return flat


def differing(settings: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Settings that differ between configurations, for each configuration.

    A setting that a configuration lacks counts as ``None``.
    """
    flat = [
        {k: v for k, v in flatten(s).items() if k.split(".")[0] not in NO_KNOBS} for s in settings
    ]
    keys = sorted({k for f in flat for k in f})
    chosen = [k for k in keys if any(f.get(k) != flat[0].get(k) for f in flat)]
    return [{k: f.get(k) for k in chosen} for f in flat]


def read_variants(config: Config, task: str) -> list[Variant]:
    """This results folder and those of ``report.compare`` that have the task.

    Raises
    ------
    TableError
        If a folder has no configuration, or no metrics of the task.
    """
    folders = [config.results, *config.report.compare]
    own = config.model_dump(mode="json")
    settings: list[Any] = [own, *(_settings(f) for f in config.report.compare)]
    return [
        Variant(folder.name or str(folder), knobs, _metrics(folder, task))
        for folder, knobs in zip(folders, differing(settings), strict=True)
    ]


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    if not path.exists():
        raise TableError(
            f"{path}: no such file; expected the configuration of a finished run; correct "
            "report.compare, or run snakemake with `results` set to that folder"
        )
    return read_yaml(path)


def _metrics(folder: Path, task: str) -> pd.DataFrame:
    return read_table(Paths(folder).finetune(task) / "metrics.parquet", "metrics").to_pandas()


def compared_methods(variants: list[Variant]) -> list[str]:
    """The pre-trained methods of all variants, and the FC baseline if all have it."""
    names = [set(v.metrics["method"]) for v in variants]
    common = [m for m in variants[0].metrics["method"] if all(m in n for n in names)]
    return [m for m in common if is_pretrained(m) or m == BASELINE]


def variant_table(variants: list[Variant], kind: str) -> list[dict[str, Any]]:
    """One row per folder and method: the settings that differ, and the scores."""
    leading = str(variants[0].metrics["leading"].iloc[0])
    others = {"binary": "balanced_accuracy", "several": "balanced_accuracy"}
    other = others.get(kind, "pearson_r")
    rows = []
    for v in variants:
        for row in v.metrics.to_dict("records"):
            if row["method"] not in compared_methods(variants):
                continue
            cells: dict[str, Any] = {"Results": v.name}
            cells |= {k: _shown(value) for k, value in v.knobs.items()}
            cells["Method"] = short_of(row["method"])
            cells[LEADING[kind]] = score(row, leading)
            cells[other.replace("_", " ").capitalize()] = score(row, other)
            rows.append(cells)
    return rows


def _shown(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value, 4) if isinstance(value, float) else value
    return "" if value is None else str(value)


def draw_variants(variants: list[Variant], kind: str) -> Figure:
    """The leading metric of each method, by setting if a single number differs, otherwise by
    folder.

    The layout follows figures 2 to 4 of the BrainMass paper.
    """
    methods = compared_methods(variants)
    if not methods:
        raise NotAvailableError("The folders have no pre-trained method in common.")
    knob, places, labels = _axis(variants)
    leading = str(variants[0].metrics["leading"].iloc[0])
    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    step = 0.0 if knob else 0.12
    for i, method in enumerate(methods):
        rows = [v.metrics.set_index("method").loc[[method]].iloc[0] for v in variants]
        shift = step * (i - (len(methods) - 1) / 2)
        points = sorted(
            (
                x + shift,
                r[leading],
                r[leading] - r[f"{leading}_low"],
                r[f"{leading}_high"] - r[leading],
            )
            for x, r in zip(places, rows, strict=True)
        )
        x, y, below, above = zip(*points, strict=True)
        axes.errorbar(
            x,
            y,
            yerr=(below, above),
            color=colour_of(method),
            fmt="o",
            linestyle=line_of(method) if knob else "",
            capsize=2,
            label=short_of(method),
        )
    axes.set_xticks(places, labels, fontsize=9)
    axes.set(xlabel=knob, ylabel=LEADING[kind])
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=9)
    return figure


def _axis(variants: list[Variant]) -> tuple[str, list[float], list[str]]:
    """Name of the setting (empty unless exactly one number differs), positions and labels of
    variants."""
    knobs = list(variants[0].knobs)
    values = [v.knobs[knobs[0]] for v in variants] if len(knobs) == 1 else []
    numbers = [isinstance(v, int | float) and not isinstance(v, bool) for v in values]
    if values and all(numbers):
        return knobs[0], [float(v) for v in values], [f"{v:g}" for v in values]
    names = [str(v) for v in values] or [v.name for v in variants]
    return "", [float(i) for i in range(len(variants))], names


def ablations(config: Config) -> list[dict[str, Any]]:
    """Name, table and figure of each task for the front page; empty without folders."""
    if not config.report.compare:
        return []
    found = []
    for task in config.tasks:
        variants, kind = read_variants(config, task), kind_of(config.tasks[task].classes)
        png, missing = draw(partial(draw_variants, variants, kind))
        knobs = list(variants[0].knobs)
        caption = (
            f"{LEADING[kind]} with 95 % intervals over participants, by "
            f"{', '.join(knobs) if knobs else 'results folder: the configurations are the same'}. "
            "Folders are not paired."
        )
        picture = Picture(f"ablation_{task}", f"Ablation of {task}", caption, png, missing)
        found.append({"task": task, "rows": variant_table(variants, kind), "picture": picture})
    return found
