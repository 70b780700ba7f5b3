"""Paths below the results folder, used by rules and stages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

FIGURES = (
    "scores",
    "roc",
    "calibration",
    "predicted",
    "sites",
    "few_shot",
    "motion",
    "fc_matrix",
    "fc_difference",
    "glass_brain",
    "carpet",
    "loss",
)

MAPS = ("attention", "regions", "glass_brain", "surface")  # figures of `interpret`
MODEL_FILES = ("contract.json", "estimator.json", "model.safetensors", "README.md")


@dataclass(frozen=True)
class Paths:
    """Paths below one results folder.

    Parameters
    ----------
    results : Path
        The setting ``results``.
    """

    results: Path

    def scans(self, dataset: str) -> Path:
        """Scans table of a data set."""
        return self.results / "scans" / f"{dataset}.parquet"

    def listed_from(self, dataset: str) -> Path:
        """Fingerprints of the inputs of the scans table of a data set."""
        return self.results / "scans" / f"{dataset}.inputs.json"

    def batch(self, stage: str, dataset: str, batch: int | str) -> Path:
        """Table of one batch of a stage."""
        return self.results / stage / dataset / f"{batch}.parquet"

    def manifest(self, stage: str, dataset: str, batch: int | str) -> Path:
        """Manifest of a batch, separate from the tables, so that `*.parquet` is always data."""
        return self.results / "manifest" / stage / dataset / f"{batch}.parquet"

    def retried(self, stage: str, dataset: str, batch: int | str) -> Path:
        """Input of a batch that `brainmass retry` repeats: one line for each time."""
        return self.manifest(stage, dataset, batch).with_suffix(".retried")

    def work(self, stage: str, name: str, part: str = "") -> Path:
        """Finished scans of a data set, or checkpoints of a model; not a declared output, which
        Snakemake would delete."""
        return self.results / "work" / stage / name / part

    def log(self, stage: str, *parts: str) -> Path:
        """Log of a job or a scan, below the results folder so that studies do not share logs."""
        return self.results.joinpath("logs", stage, *parts)

    def derivatives(self, dataset: str, stage: str = "preprocess") -> Path:
        """BIDS derivatives of a stage, such as transforms, masks and confounds of `preprocess`."""
        return self.results / stage / dataset / "derivatives"

    def quality(self, dataset: str, name: str = "index.html") -> Path:
        """A file of a data set's quality page: the page itself by default."""
        return self.results / "quality" / dataset / name

    def scan_page(self, dataset: str, scan_id: str) -> Path:
        """Quality page of a scan."""
        return self.results / "quality" / dataset / "scans" / f"{quote(scan_id, safe='')}.html"

    def pretrain(self, model: str) -> Path:
        """Folder of a pre-trained model."""
        return self.results / "pretrain" / model

    def finetune(self, task: str) -> Path:
        """Folder of a task's predictions and metrics."""
        return self.results / "finetune" / task

    def deployed(self, task: str, name: str = "") -> Path:
        """Folder of a task's model for new scans, or a file in it; see `MODEL_FILES`."""
        return self.results / "finetune" / task / "model" / name

    def interpret(self, task: str, name: str = "") -> Path:
        """Folder of a task's maps and regions, or a file in it."""
        return self.results / "interpret" / task / name

    def series_model(self, name: str = "") -> Path:
        """Folder of the analyses of a BrainLM on unseen participants, or a file in it."""
        return self.results / "series_model" / name

    def report(self, page: str) -> Path:
        """A page of the report: a task's name, or ``index``."""
        return self.results / "report" / f"{page}.html"

    def figure(self, task: str, name: str) -> Path:
        """A figure of a task's page as a separate file; `name` is one of `FIGURES`."""
        return self.results / "report" / "figures" / f"{task}_{name}.png"
