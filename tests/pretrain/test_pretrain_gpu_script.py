"""The script for a machine with a GPU: its checks pass on the CPU, and it reports a missing GPU."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

CPU = torch.device("cpu")


@pytest.fixture
def gpu_check(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    import gpu_check

    return gpu_check


def gpu_script(root, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    command = ["bash", str(root / "benchmarks" / "gpu.sh"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.study
def test_the_script_is_valid_bash(root):
    script = str(root / "benchmarks" / "gpu.sh")
    assert subprocess.run(["bash", "-n", script], capture_output=True).returncode == 0


@pytest.mark.study
def test_without_a_gpu_the_script_says_that_nothing_was_measured(root, tmp_path):
    done = gpu_script(root, "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "no CUDA GPU that torch can use, so nothing was measured" in done.stderr
    assert f"torch {torch.__version__}" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.study
def test_a_wrong_argument_is_told_from_a_missing_gpu(root):
    done = gpu_script(root, "--wrong")
    assert done.returncode == 64
    assert "unknown argument --wrong" in done.stderr


@pytest.mark.slow
def test_every_check_holds_on_the_cpu(gpu_check):
    checks = gpu_check.all_checks(CPU)
    assert len(checks) >= 17
    assert [c.name for c in checks if not c.passed] == []
    # if the device is the CPU, there is no difference
    assert {c.difference for c in checks if "float32" in c.name} == {0.0}


@pytest.mark.study
@pytest.mark.parametrize("passes", ["separate", "merged"])
def test_the_cpu_differs_from_itself_by_nothing_and_from_bfloat16_by_little(
    gpu_check, monkeypatch, passes
):
    monkeypatch.setattr(gpu_check, "STEPS", 1)
    single, over, half = gpu_check.device_checks(CPU, "tiny", passes)
    assert single.difference == over.difference == 0
    assert 0 < half.difference < half.allowed
    assert all(c.passed for c in gpu_check.pfc_checks(CPU))


@pytest.mark.slow
def test_a_device_that_is_slightly_off_fails_the_checks(gpu_check, monkeypatch):
    build = gpu_check.set_reference_weights

    def off(model):
        build(model)
        with torch.no_grad():
            model.online.layers[0].linear1.weight *= 1.001
        return model

    monkeypatch.setattr(gpu_check, "set_reference_weights", off)
    failed = [c.name for c in gpu_check.reference_checks(CPU) if not c.passed]
    assert "embedding norms" in failed
    assert "total loss" in failed
    assert not gpu_check.Check("x", float("nan"), 1.0).passed


def test_random_batches_are_correlations_of_two_views_that_resemble_each_other(gpu_check):
    batch = gpu_check.random_batch(4)
    assert batch.view_1.shape == (4, 4950)
    assert np.abs(batch.view_1).max() <= 1
    same = [np.corrcoef(a, b)[0, 1] for a, b in zip(batch.view_1, batch.view_2, strict=True)]
    assert min(same) > 0.5
