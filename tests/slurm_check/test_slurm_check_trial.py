"""What a trial job's reports show; the job itself runs in tests/slurm."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from brainmass_core import __version__
from brainmass_core.slurm_check import trial as trial_module
from brainmass_core.slurm_check.profile import Profile
from brainmass_core.slurm_check.site import SlurmError
from brainmass_core.slurm_check.trial import Trial, judge_trial, run_trial, submission

PROFILE = Profile(Path("slurm/config.yaml"))


def report(rank: int, **changes) -> dict:
    return {
        "rank": rank,
        "node": f"n{rank + 1}",
        "token": "abc",
        "python": sys.executable,
        "version": __version__,
        "torch": "2.13.0+cpu",
        "gpus": 0,
        "sum": 3,
        "seconds": 1.0,
    } | changes


GOOD = Trial(2, 0, "abc", [report(0), report(1)], 0.2, "", "")


def levels(trial: Trial) -> dict[str, str]:
    return {f.subject: f.level for f in judge_trial(trial, 60)}


def test_two_nodes_that_agree():
    assert levels(GOOD) == {"shared folder": "ok", "environment": "ok", "rendezvous": "ok"}


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({"token": "other"}, "shared folder"),
        ({"version": "0.0.1"}, "environment"),
        ({"python": "/usr/bin/python3"}, "environment"),
        ({"sum": 1}, "rendezvous"),
        ({"node": "n1"}, "rendezvous"),
    ],
)
def test_a_node_that_differs_is_a_failure(changes, subject):
    trial = replace(GOOD, reports=[report(0), report(1, **changes)])
    assert [s for s, level in levels(trial).items() if level == "failure"] == [subject]


def test_a_node_that_does_not_report_is_a_failure_with_the_last_lines():
    (finding,) = judge_trial(replace(GOOD, reports=[report(0)], log="connection refused"), 60)
    assert finding.level == "failure"
    assert "1 of 2 nodes" in finding.found
    assert "connection refused" in finding.found


def test_a_job_that_waits_too_long_is_a_failure():
    (finding,) = judge_trial(replace(GOOD, reports=[], waiting="PENDING Resources"), 60)
    assert "PENDING Resources" in finding.found


def test_gpus_that_torch_does_not_see_are_a_failure():
    assert levels(replace(GOOD, gpus=1))["GPUs"] == "failure"
    seen = replace(GOOD, gpus=1, reports=[report(0, gpus=1), report(1, gpus=1)])
    assert levels(seen)["GPUs"] == "ok"


def test_one_node_alone_tries_no_rendezvous():
    one = Trial(1, 0, "abc", [report(0, sum=1)], 0.0, "", "")
    assert {f.found for f in judge_trial(one, 60) if f.subject == "rendezvous"} == {
        "not tried: one node"
    }


def test_the_submission_names_partition_account_and_gpus(tmp_path):
    plain = submission(tmp_path / "a b", PROFILE, 2, 0)
    assert not any(word.startswith(("--partition", "--account", "--gpus")) for word in plain)
    assert plain[-1].endswith(f"'{tmp_path / 'a b'}' 2")  # quoted for the shell
    chosen = submission(tmp_path, replace(PROFILE, partition="p", account="q"), 2, 1)
    assert {"--partition=p", "--account=q", "--gpus-per-node=1", "--nodes=2"} <= set(chosen)


def fake_slurm(states: list[str], nodes: tuple[str, ...] = ()):
    """In place of `ask`: sbatch writes the reports, squeue gives one state after the other."""
    asked: list[tuple[str, ...]] = []

    def answer(*command: str) -> str:
        asked.append(command)
        if command[0] == "sbatch":
            output = next(w for w in command if w.startswith("--output=")).removeprefix("--output=")
            folder = Path(output).parent
            token = (folder / "token").read_text()
            for rank, node in enumerate(nodes):
                found = report(rank, token=token, node=node)
                (folder / f"rank-{rank}.json").write_text(json.dumps(found))
            Path(output).write_text("line\n" * 100)
            return "7;cluster"
        if command[0] == "squeue":
            if not states:
                raise SlurmError("squeue: Invalid job id specified")
            return states.pop(0)
        return ""

    return answer, asked


@pytest.fixture
def _quick(monkeypatch):
    monkeypatch.setattr(trial_module, "POLL_SECONDS", 0.001)


@pytest.mark.usefixtures("_quick")
def test_a_trial_waits_reads_its_reports_and_leaves_nothing(tmp_path):
    answer, asked = fake_slurm(["PENDING Resources", "RUNNING None"], nodes=("n1", "n2"))
    found = run_trial(tmp_path / "results", PROFILE, 2, ask=answer)
    assert levels(found) == levels(GOOD)
    assert len(found.log.splitlines()) == trial_module.LAST_LINES
    assert [c[0] for c in asked] == ["sbatch", "squeue", "squeue", "squeue"]
    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.usefixtures("_quick")
def test_nodes_are_listed_by_name_whichever_joined_first(tmp_path):
    answer, _ = fake_slurm([], nodes=("n2", "n1"))
    found = run_trial(tmp_path, PROFILE, 2, ask=answer)
    assert [(r["rank"], r["node"]) for r in found.reports] == [(1, "n1"), (0, "n2")]


@pytest.mark.usefixtures("_quick")
def test_a_job_that_does_not_start_is_cancelled(tmp_path):
    answer, asked = fake_slurm(["PENDING Resources"] * 10_000)
    found = run_trial(tmp_path, PROFILE, 2, minutes=0.001, ask=answer)
    assert found.waiting == "PENDING Resources"
    assert asked[-1] == ("scancel", "7")
    assert list(tmp_path.iterdir()) == []
