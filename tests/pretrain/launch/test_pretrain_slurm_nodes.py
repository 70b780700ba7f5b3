"""The head of a Slurm job of several nodes."""

import logging
import os

import pytest

from brainmass_core.pretrain.launch import slurm_nodes
from brainmass_core.pretrain.launch.slurm_nodes import Head, slurm_head


@pytest.mark.study
def test_the_head_is_the_address_of_the_first_node_of_the_job(monkeypatch, tmp_path):
    """The answers have the form of Slurm 22.05; a test through the real Slurm is in tests/slurm."""
    scripts = {
        "squeue": 'test "$*" = "-h -j 77 -o %N" && echo "n[1-2]"',
        "scontrol": 'case "$*" in "show hostnames n[1-2]") printf "n1\\nn2\\n";; '
        '"-o show node n1") echo "NodeName=n1 NodeAddr=127.0.0.1 NodeHostName=n1";; '
        "*) exit 9;; esac",
    }
    for name, text in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert slurm_head(2) == Head("77", "127.0.0.1")
    assert slurm_head(1) is None


@pytest.mark.parametrize("job", [None, "5"])
def test_too_few_nodes_are_said_and_all_processes_run_here(monkeypatch, caplog, job):
    if job:
        monkeypatch.setenv("SLURM_JOB_ID", job)
        monkeypatch.setattr(slurm_nodes, "_ask", lambda *_: "n1")
    else:
        monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with caplog.at_level(logging.WARNING):
        assert slurm_head(2) is None
    assert "all processes run here" in caplog.text
