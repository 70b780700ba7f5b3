"""Users' errors are one message without a traceback."""

import subprocess
import sys

import pytest


def brainmass(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "brainmass_core.cli", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "datasets: {mine: {kind: bids, role: internal, path: ., batches: 2}}\n"
    )
    return tmp_path


def test_a_valid_configuration_is_said_to_be_valid(folder):
    done = brainmass("config", "check", cwd=folder)
    assert done.returncode == 0
    assert "1 data sets, 0 tasks, valid" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("config", "check", "nowhere.yaml"), "no such configuration file"),
        (("scans", "--dataset", "other"), "expected one of ['mine']"),
        (("pfc", "--dataset", "mine", "--batch", "2"), "has the batches 0 to 1"),
        (("finetune", "--task", "x"), "--task x: expected one of []"),
        (("report", "--page", "x"), "--page x: expected index"),
        (("preprocess", "--dataset", "mine", "--batch", "0"), "snakemake --cores all scans"),
    ],
)
def test_a_users_error_is_one_message(folder, arguments, message):
    done = brainmass(*arguments, cwd=folder)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_log_file_holds_what_the_terminal_showed(folder):
    brainmass("scans", "--dataset", "other", "--log", "logs/scans.log", cwd=folder)
    assert "expected one of ['mine']" in (folder / "logs" / "scans.log").read_text()


def test_status_before_anything_ran(folder):
    done = brainmass("status", cwd=folder)
    assert done.returncode == 0
    assert "nothing yet" in done.stdout
