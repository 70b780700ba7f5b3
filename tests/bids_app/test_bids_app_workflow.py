"""The Snakemake command line of a BIDS App, its environment, and what it returns."""

from __future__ import annotations

import json
import logging
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from brainmass_core import workflow_files
from brainmass_core.bids_app import validation, workflow

ROOT = Path(__file__).parents[2]


def words(**over) -> list[str]:
    given = {"level": "participant", "config": Path("/o/c.yaml"), "work": Path("/o/work")} | over
    return workflow.command(**given)


def test_a_checkout_uses_its_own_workflow_and_an_installation_the_copy_in_the_package(
    tmp_path, monkeypatch
):
    assert workflow_files.workflow_root() == ROOT
    monkeypatch.setattr(workflow_files, "PACKAGE", tmp_path / "brainmass_core")
    with pytest.raises(FileNotFoundError, match="install brainmass-core again"):
        workflow_files.workflow_root()
    for place in (tmp_path, tmp_path / "brainmass_core" / "_workflow"):  # the latter wins
        (place / "workflow").mkdir(parents=True)
        (place / "workflow" / "Snakefile").touch()
        assert workflow_files.workflow_root() == place


def test_participant_ends_with_pages_and_group_with_all():
    assert words()[3:6] == ["timeseries", "connectivity", "quality"]
    assert words(level="group")[3] == "all"


def test_snakemake_keeps_its_state_in_the_working_folder_and_uses_what_it_is_given():
    found = words(cores=3, mem_mb=5000)
    assert found[found.index("--directory") + 1] == "/o/work"
    assert found[found.index("--cores") + 1] == "3"
    assert found[found.index("--resources") + 1] == "mem_mb=5000"
    assert words()[words().index("--cores") + 1] == "all"


def test_the_profile_of_slurm_is_that_of_the_package_and_a_folder_is_found_from_anywhere(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert words(profile="slurm")[-1] == str(ROOT / "slurm")
    assert words(profile="mine")[-1] == "mine"
    Path("mine").mkdir()
    assert words(profile="mine")[-1] == str(tmp_path / "mine")


def test_caches_move_to_the_working_folder_if_there_is_no_other_place(tmp_path, monkeypatch):
    found = workflow.environment(tmp_path, {"PATH": "/bin", "XDG_CACHE_HOME": str(tmp_path)})
    assert found["XDG_CACHE_HOME"] == str(tmp_path)
    assert found["PATH"].split(os.pathsep)[-2:] == [str(Path(sys.executable).parent), "/bin"]
    monkeypatch.setattr(workflow, "_writable", lambda folder: False)
    found = workflow.environment(tmp_path, {"PATH": "/bin"}, tmp_path / "tmp")
    assert found["XDG_CACHE_HOME"] == str(tmp_path / "cache")
    assert found["TMPDIR"] == str(tmp_path / "tmp")


@pytest.mark.study
def test_the_exit_status_is_that_of_snakemake():
    code = "import sys; sys.exit(3)"
    assert workflow.run([sys.executable, "-c", code], os.environ) == 3
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert workflow.run([sys.executable, "-c", code], os.environ) == 128 + signal.SIGKILL


@pytest.mark.study
def test_a_signal_to_end_reaches_snakemake():
    code = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "time.sleep(600)"
    )
    assert workflow.run([sys.executable, "-c", code], os.environ) == 7


def validator(folder: Path, monkeypatch, *issues: dict) -> None:
    """A program in place of the validator that reports these issues."""
    program = folder / validation.PROGRAM
    report = json.dumps({"issues": {"issues": list(issues)}})
    program.write_text(f"#!/bin/sh\ncat << 'END'\n{report}\nEND\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))


@pytest.mark.study
def test_errors_of_the_validator_are_refused_but_not_files_that_nobody_reads(
    tmp_path, monkeypatch, caplog
):
    extra = {"code": "NOT_INCLUDED", "severity": "error", "location": "/notes.md"}
    validator(tmp_path, monkeypatch, extra, {"code": "X", "severity": "warning"})
    validation.validate(tmp_path)
    assert "/notes.md: is not part of BIDS" in caplog.text
    wrong = {"code": "JSON_INVALID", "severity": "error", "location": "/a.json"}
    validator(tmp_path, monkeypatch, extra, wrong, wrong)
    with pytest.raises(validation.BidsError, match=r"2 errors\n  JSON_INVALID, 2 times.*a\.json"):
        validation.validate(tmp_path)


def test_without_the_validator_it_is_said_that_nothing_was_validated(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level(logging.INFO):
        validation.validate(tmp_path)
    assert "not validated" in caplog.text
