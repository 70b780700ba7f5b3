"""A small study with real pFC shards, written by the stage pfc itself from structured series."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from brainmass_core import pfc
from brainmass_core.config import Config, load_config
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.loop import progress
from brainmass_core.tables import SCANS, from_rows, read_table, timeseries_schema, write_table

N_ROIS = 20
OF_BRAINMASS = {"size": "tiny", "n_masked_classification": 5, "n_masked_reconstruction": 3}
OF_BRAINLM = {"brainlm": {"window": 40, "mask_ratio": 0.5, "future_share": 0.3}}
Make = Callable[[int, int], list]
MODELS = ["brainmass", "brainlm-tiny", "brainlm-vit-tiny"]


@dataclass
class Study:
    """A configuration file and its content."""

    path: Path
    config: Config

    @property
    def paths(self) -> Paths:
        return Paths(self.config.results)

    def changed(self, **pretrain: Any) -> Study:
        """The same study and results with other settings of pre-training."""
        raw = yaml.safe_load(self.path.read_text())
        raw["pretrain"] |= pretrain
        return write_config(self.path.with_name(f"{abs(hash(str(pretrain)))}.yaml"), raw)

    def listed_otherwise(self, folder: Path) -> Study:
        """The same scans and series: data sets, participants and rows in another order, and `a` in
        two batches instead of three. Only for models that read series."""
        raw = yaml.safe_load(self.path.read_text()) | {"results": str(folder / "results")}
        raw["datasets"] = dict(reversed(raw["datasets"].items()))
        raw["datasets"]["a"]["batches"] = 2
        folder.mkdir()
        other = write_config(folder / "config.yaml", raw)
        rng = np.random.default_rng(5)
        for name in ("a", "b"):
            scans = read_table(self.paths.scans(name), "scans")
            write_table(other.paths.scans(name), scans.take(rng.permutation(len(scans))), "scans")
            files = self.paths.scans(name).parents[1].glob(f"timeseries/{name}/*.parquet")
            rows = pa.concat_tables([read_table(file, "timeseries") for file in sorted(files)])
            rows = rows.take(rng.permutation(len(rows)))
            batches = other.config.datasets[name].batches
            digest = stage_hash(other.config, "timeseries", name)
            for batch in range(batches):
                part = rows.take(np.arange(batch, len(rows), batches))
                path = other.paths.batch("timeseries", name, batch)
                write_table(path, part, "timeseries", digest)
        return other


def write_config(path: Path, raw: dict) -> Study:
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return Study(path, load_config(path))


def series(n_timepoints: int, seed: int) -> list:
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_timepoints, 4)) @ rng.standard_normal((4, N_ROIS))
    return (shared + rng.standard_normal((n_timepoints, N_ROIS))).astype(np.float32).tolist()


def alike(n_timepoints: int, seed: int) -> list:
    """All parcels follow one slow signal, so that the other parcels predict a hidden part."""
    rng = np.random.default_rng(seed)
    slow = np.sin(np.arange(n_timepoints) / 8 + 7 * rng.random())[:, None]
    x = 100 + 5 * slow + rng.standard_normal((n_timepoints, N_ROIS))
    return x.astype(np.float32).tolist()


def write_series(study: Study, name: str, splits: dict[str, str], make: Make = series) -> None:
    """Scans and time-series tables of one data set; scan k lies in batch k % batches."""
    batches = study.config.datasets[name].batches
    scans = [{"scan_id": s, "participant_id": f"p-{s}", "split": v} for s, v in splits.items()]
    write_table(study.paths.scans(name), from_rows(scans, SCANS), "scans")
    for batch in range(batches):
        rows = [
            {
                "scan_id": s,
                "status": "ok",
                "coverage": [1.0] * N_ROIS,
                "t_r": 2.0,
                "n_timepoints": 50 + k % 7,
                "bold": make(50 + k % 7, k),
            }
            for k, s in enumerate(splits)
            if k % batches == batch
        ]
        table = from_rows(rows, timeseries_schema(N_ROIS))
        path = study.paths.batch("timeseries", name, batch)
        write_table(path, table, "timeseries", stage_hash(study.config, "timeseries", name))


@pytest.fixture(autouse=True)
def quick_start(monkeypatch):
    """Measure the peak of this machine with one product instead of for a second at each start."""
    monkeypatch.setattr(progress, "PEAK_SECONDS", 0.0)


@pytest.fixture
def slow_series() -> Make:
    """Series from which a BrainLM can learn much in a few steps."""
    return alike


def write_labels(path: Path) -> None:
    """Parcels and their coordinates."""
    places = np.random.default_rng(1).integers(-60, 60, (N_ROIS, 3))
    rows = [f"{i}\tparcel {i}\t{x}\t{y}\t{z}" for i, (x, y, z) in enumerate(places, 1)]
    path.write_text("\n".join(["index\tname\tx\ty\tz", *rows]) + "\n")


def declared(folder: Path, labels: Path, **pretrain: Any) -> Study:
    """The configuration of a study in a folder; the tables contain the path of `labels`."""
    of_series = pretrain.get("model", "brainmass") != "brainmass"
    settings = (OF_BRAINLM if of_series else OF_BRAINMASS) | {
        "epochs": 3,
        "batch_size": 8,
        "warmup_epochs": 2,
        "checkpoint_steps": 2,
        "processes_per_node": 1,
    }
    raw = {
        "results": str(folder / "results"),
        "datasets": {
            "a": {"kind": "timeseries", "role": "internal", "path": ".", "batches": 3},
            "b": {"kind": "timeseries", "role": "pretrain", "path": "."},
            "c": {"kind": "timeseries", "role": "external", "path": "."},
        },
        "atlas": {"name": "toy", "n_rois": N_ROIS, "labels": str(labels)},
        "pfc": {"n_views": 3},
        "pretrain": settings | pretrain,
        "resources": {"pretrain": {"cpus_per_task": 1}},
    }
    return write_config(folder / "config.yaml", raw)


def write_results(folder: Path, n_a: int, n_b: int, bold: Make) -> None:
    """Series and pFC of the study: the input of every model's pre-training."""
    folder.mkdir()
    write_labels(folder / "labels.tsv")
    study = declared(folder, folder / "labels.tsv")
    # every fifth participant of `a` is kept for evaluation and so has no pFC
    splits = {f"a{k:03}": "test" if k % 5 == 4 else "train" for k in range(n_a)}
    write_series(study, "a", splits, bold)
    write_series(study, "b", {f"b{k:03}": "pretrain" for k in range(n_b)}, bold)
    for name, batch in (("a", 0), ("a", 1), ("a", 2), ("b", 0)):
        pfc.run(study.config, name, batch)


@pytest.fixture
def make_study(tmp_path, built_once) -> Callable[..., Study]:
    """Build a study of two data sets: `a` internal with 3 batches, `b` for pre-training only.

    Studies of one size are computed once in a run, and copied.
    """

    def make(n_a: int = 14, n_b: int = 6, bold: Make = series, **pretrain: Any) -> Study:
        made = built_once(
            f"pretrain-{n_a}-{n_b}-{bold.__name__}",
            lambda folder: write_results(folder, n_a, n_b, bold),
        )
        study = declared(tmp_path, made / "labels.tsv", **pretrain)
        shutil.rmtree(tmp_path / "results", ignore_errors=True)
        shutil.copytree(made / "results", tmp_path / "results")
        if study.config.pretrain.encoder.sees_series:  # which has no pFC
            shutil.rmtree(tmp_path / "results" / "pfc")
        return study

    return make
