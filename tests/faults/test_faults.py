"""A short form of the fault drill (`make faults`), and that the drill finds what it looks for."""

from __future__ import annotations

import os
import random
import shutil

import drill
import fault_study
import pytest
from faults import KINDS, other_series

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


@pytest.fixture(scope="module")
def right(tmp_path_factory) -> drill.Reference:
    folder = tmp_path_factory.mktemp("faults") / "right"
    fault_study.write(folder, **drill.TIMEOUT)
    other_series(folder)
    return drill.Reference.of(folder)


@pytest.mark.parametrize(
    "kind", ["SIGKILL of a worker", "SIGTERM of Snakemake", "SIGSTOP of a worker", "bit flipped"]
)
def test_the_same_command_mends_a_fault(kind, right, tmp_path):
    chance = random.Random(os.urandom(8).hex())
    outcome = drill.one(tmp_path / "run", KINDS[kind], chance, right, right)
    assert outcome.wrong == ""


def test_the_drill_sees_other_results_litter_and_scans_done_again(right, tmp_path):
    folder = shutil.copytree(right.folder, tmp_path / "run")
    before = fault_study.recorded(folder)
    assert before
    assert drill.judged(folder, KINDS["SIGKILL of a job"], right, before).wrong == ""
    (folder / "results" / "pfc" / ".left.tmp").touch()
    again = dict.fromkeys(before, -1.0)
    fewer = drill.Reference(right.folder, dict(list(right.results.items())[1:]), right.names)
    wrong = drill.judged(folder, KINDS["SIGKILL of a job"], fewer, again).wrong
    assert "other tables" in wrong
    assert "files left: ['pfc/.left.tmp']" in wrong
    assert f"{len(before)} published scans were done again" in wrong
