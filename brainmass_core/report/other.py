"""The page of a task that does not have two classes: its scores, and who took part."""

from __future__ import annotations

from typing import Any

import pandas as pd

from brainmass_core.config import Config
from brainmass_core.paths import FIGURES, Paths
from brainmass_core.report import cohort as people
from brainmass_core.report.figures import NotAvailableError, draw
from brainmass_core.report.names import METHODS
from brainmass_core.report.scores import Cell
from brainmass_core.tables import atomic_path

REGRESSION = {"r2": "R2", "mse": "MSE", "mae": "MAE", "pearson_r": "Pearson r"}
CLASSES = {
    "auc": "AUC, one against the rest",
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "brier": "Brier score",
}


def is_other(config: Config, name: str) -> bool:
    """Whether a task is a regression or has more than two classes."""
    return len(config.tasks[name].classes) != 2


def other_scores(metrics: pd.DataFrame) -> list[dict[str, Any]]:
    """One row per method, each score with its interval; the target's variance beside the MSE."""
    regression = metrics["kind"].iloc[0] == "regression"
    shown = REGRESSION if regression else CLASSES
    rows = []
    for row in metrics.to_dict("records"):
        cells: dict[str, Any] = {"Method": METHODS[row["method"]].short}
        for metric, name in {**shown, "minus_best": "Minus best baseline's"}.items():
            cells[name] = _cell(*(row[metric + s] for s in ("", "_low", "_high")))
        if regression:
            variance = float(row["target_variance"])
            cells["Target variance"] = Cell(f"{variance:.3g}", "", variance)
        rows.append(cells)
    return rows


def _cell(value: float, low: float, high: float) -> Cell:
    if pd.isna(value):
        return Cell("", "", float("-inf"))
    return Cell(f"{value:.3g}", f"{low:.3g} to {high:.3g}", round(float(value), 6))


def other_context(
    config: Config, name: str, cohort: pd.DataFrame, metrics: pd.DataFrame
) -> dict[str, Any]:
    """What the page shows; writes a note in place of every figure of two classes."""
    for figure in FIGURES:
        png, _ = draw(_no_two_classes)
        with atomic_path(Paths(config.results).figure(name, figure)) as path:
            path.write_bytes(png)
    task = config.tasks[name]
    return {
        "name": name,
        "task": task,
        "classes": list(task.classes),
        "kinds": {config.datasets[d].kind for d in task.datasets},
        "scores": other_scores(metrics),
        "methods": [
            {"Method": METHODS[m].short, "What it sees": METHODS[m].long} for m in metrics["method"]
        ],
        "flow": people.stage_flow(config, task.datasets) + people.task_flow(cohort),
        "n_tested": int(metrics["n_participants"].iloc[0]),
        "permuted": config.finetune.permute_labels,
    }


def _no_two_classes() -> Any:
    raise NotAvailableError("drawn for tasks of two classes only")
