"""`brainmass slurm-check` at a real site of two nodes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def check(folder: Path, slurm: dict[str, str], *options: str) -> subprocess.CompletedProcess:
    config = folder / "config.yaml"
    raw = {
        "results": str(folder / "results"),
        "datasets": {"toy": {"kind": "timeseries", "role": "internal", "path": str(folder)}},
        "resources": {"finetune": {"mem_mb": 9001}},
    }
    config.write_text(yaml.safe_dump(raw))
    command = [sys.executable, "-m", "brainmass_core.cli", "slurm-check", "--config", str(config)]
    command += ["--profile", str(ROOT / "slurm"), *options]
    return subprocess.run(
        command, env=slurm, cwd=folder, capture_output=True, text=True, timeout=2900
    )


def test_two_nodes_share_the_folder_and_reach_one_another(tmp_path, slurm):
    done = check(tmp_path, slurm, "--wait", "40")  # jobs of other tests may be before it
    assert "ok      accounting: sacct answers" in done.stdout, done.stderr
    assert "ok      partition: cpu: 2 usable nodes" in done.stdout
    assert "ok      shared folder: n1, n2 read and wrote" in done.stdout, done.stdout
    assert "ok      environment: " in done.stdout
    assert "ok      rendezvous: torchrun joined 2 processes on n1, n2" in done.stdout
    # a node has 9000 MB
    assert "failure stage finetune: requests 1 CPUs, 9001 MB" in done.stdout
    assert done.returncode == 1
    assert list((tmp_path / "results").iterdir()) == []


def test_a_partition_that_does_not_exist_is_refused(tmp_path, slurm):
    done = check(tmp_path, slurm, "--partition", "bach")
    assert done.returncode == 1
    assert "failure partition: no partition bach" in done.stdout, done.stderr
    assert 'slurm_partition: "cpu"' in done.stdout
    assert "trial job" not in done.stdout
