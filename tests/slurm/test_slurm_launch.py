"""Pre-training over two nodes of a real Slurm is the same training as on one machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from brainmass_core import pfc
from brainmass_core.config import load_config
from brainmass_core.pipeline.paths import Paths
from brainmass_core.tables import SCANS, from_rows, read_table, timeseries_schema, write_table

pytestmark = pytest.mark.slow
N_ROIS, N_SCANS = 20, 12


def write_study(folder: Path) -> Path:
    """A configuration for two nodes, and the pFC shard it is trained on."""
    raw = {
        "results": str(folder / "results"),
        "datasets": {"toy": {"kind": "timeseries", "role": "internal", "path": str(folder)}},
        "atlas": {"name": "toy", "n_rois": N_ROIS},
        "pfc": {"n_views": 3},
        "pretrain": {
            "nodes": 2,
            "processes_per_node": 1,
            "epochs": 3,
            "batch_size": 6,
            "warmup_epochs": 2,
            "n_masked_classification": 5,
            "n_masked_reconstruction": 3,
        },
        "resources": {"pretrain": {"cpus_per_task": 1}},
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(raw))
    config, paths = load_config(file), Paths(folder / "results")
    ids = [f"toy_{i:02}" for i in range(N_SCANS)]
    scans = [{"scan_id": s, "participant_id": s, "split": "train", "batch": 0} for s in ids]
    write_table(paths.scans("toy"), from_rows(scans, SCANS), "scans")
    rng = np.random.default_rng(1)
    rows = [
        {
            "scan_id": s,
            "status": "ok",
            "coverage": [1.0] * N_ROIS,
            "bold": rng.standard_normal((60, N_ROIS)).astype("f4").tolist(),
        }
        for s in ids
    ]
    table = from_rows(rows, timeseries_schema(N_ROIS))
    write_table(paths.batch("timeseries", "toy", 0), table, "timeseries")
    pfc.run(config, "toy", 0)
    return file


def moved(file: Path, folder: Path) -> Path:
    """The same study, with its own copy of the shards."""
    raw = yaml.safe_load(file.read_text())
    shutil.copytree(raw["results"], folder / "results")
    other = folder / "config.yaml"
    other.write_text(yaml.safe_dump(raw | {"results": str(folder / "results")}))
    return other


def test_two_nodes_train_the_model_that_two_processes_train(
    tmp_path: Path, slurm: dict[str, str], accounts: Callable[..., list[str]]
) -> None:
    over_nodes = write_study(tmp_path)
    (tmp_path / "one").mkdir()
    on_one_machine = moved(over_nodes, tmp_path / "one")

    wrapped = f"brainmass pretrain --config {over_nodes}"
    sbatch = ["sbatch", "--parsable", "--wait", "-N", "2", "-n", "2", "-c", "1", "--mem=1500"]
    sbatch += ["--time=60", f"--output={tmp_path}/job.log", "--wrap", wrapped]
    job = subprocess.run(sbatch, env=slurm, capture_output=True, text=True, timeout=3000)
    printed = (tmp_path / "job.log").read_text() if (tmp_path / "job.log").exists() else ""
    assert job.returncode == 0, job.stderr + printed

    command = [sys.executable, "-m", "brainmass_core.cli", "pretrain", "--config"]
    subprocess.run([*command, str(on_one_machine)], env=slurm, check=True, timeout=3000)

    number = job.stdout.strip()
    assert f"COMPLETED|{number}.0|2|n[1-2]" in accounts(number, "JobID,NTasks,NodeList")

    models = [
        Paths(f.parent / "results").pretrain("brainmass") for f in (over_nodes, on_one_machine)
    ]
    histories = [read_table(m / "history.parquet", "history") for m in models]
    assert histories[0].num_rows == 3 * N_SCANS // 6
    assert histories[0].equals(histories[1])
    weights = [(m / "model.safetensors").read_bytes() for m in models]
    assert weights[0] == weights[1]
