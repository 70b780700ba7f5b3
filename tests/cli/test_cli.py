"""Users' errors are one message, and no command imports what it does not need."""

import logging
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from brainmass_core.cli import main
from brainmass_core.config.inputs import Atlas
from brainmass_core.pipeline.batch import BatchError

HEAVY = {"torch", "pandas", "scipy", "numba", "nilearn", "sklearn", "matplotlib", "nibabel", "ants"}
# of the package, apart from the command line and the configuration
TABLES = {"numpy", "pyarrow", "psutil", "nipype"}


class Done(NamedTuple):
    """Result of a command."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text(
        "datasets: {mine: {kind: bids, role: internal, path: ., batches: 2}}\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def brainmass(folder, monkeypatch, capsys):
    """Run a command in this process; its log is set up as in a separate process."""
    root, ours = logging.getLogger(), logging.getLogger("brainmass_core")
    levels = root.level, ours.level

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["brainmass", *arguments])
        monkeypatch.setattr(
            root, "handlers", []
        )  # pytest's handler would keep the command from adding its own
        with pytest.raises(SystemExit) as end:
            main()
        return Done(end.value.code, *capsys.readouterr())

    with warnings.catch_warnings():
        yield run
    logging.captureWarnings(False)
    for handler in root.handlers:
        handler.close()
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def test_a_valid_configuration_is_said_to_be_valid(brainmass):
    done = brainmass("config", "check")
    assert done.returncode == 0
    assert "1 data sets, 0 tasks, valid" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("config", "check", "nowhere.yaml"), "no such configuration file"),
        (("scans", "--dataset", "other"), "expected one of ['mine']"),
        (("demo", "new", "--dataset", "other"), "expected one of ['mine']"),
        (("quality-dataset", "--dataset", "other"), "expected one of ['mine']"),
        (("pfc", "--dataset", "mine", "--batch", "2"), "has the batches 0 to 1"),
        (("finetune", "--task", "x"), "--task x: expected one of []"),
        (("interpret", "--task", "x"), "--task x: expected one of []"),
        (("series_model", "--analysis", "x"), "--analysis x: expected one of series_model"),
        (("report", "--page", "x"), "--page x: expected index"),
        (("preprocess", "--dataset", "mine", "--batch", "0"), "snakemake --cores all scans"),
    ],
)
def test_a_users_error_is_one_message(brainmass, arguments, message):
    done = brainmass(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError, "here is why"),
        (FileNotFoundError, "here is why"),
        (PermissionError, "here is why"),
        (BatchError, "here is why"),
        (KeyError, "unexpected error: please report it with this traceback"),
    ],
)
def test_only_what_nobody_foresaw_has_a_traceback(brainmass, monkeypatch, error, told):
    def fail(*_):
        raise error("here is why")

    monkeypatch.setattr("brainmass_core.scans.run", fail)
    done = brainmass("scans", "--dataset", "mine")
    assert done.returncode == 1
    assert told in done.stderr
    assert ("Traceback" in done.stderr) == (error is KeyError)


def test_the_log_file_holds_what_the_terminal_showed(brainmass, folder):
    brainmass("scans", "--dataset", "other", "--log", "logs/scans.log")
    assert "expected one of ['mine']" in (folder / "logs" / "scans.log").read_text()


def test_status_before_anything_ran(brainmass):
    done = brainmass("status")
    assert done.returncode == 0
    assert "nothing yet" in done.stdout


@pytest.mark.parametrize(("given", "atlas"), [((), Atlas().name), (("--atlas", "A424"), "A424")])
def test_an_imported_model_has_the_default_atlas_unless_another_is_named(
    brainmass, monkeypatch, given, atlas
):
    seen = []

    class Model:
        size, n_rois, heads = "base", 100, 8

    def bring(*arguments):
        seen.append(arguments)
        return Model

    official = SimpleNamespace(import_official=bring)  # in place of a package that loads torch
    monkeypatch.setitem(sys.modules, "brainmass_core.pretrain", official)
    monkeypatch.setitem(sys.modules, "brainmass_core.encoders.brainmass.official", official)
    assert brainmass("import-official", "best.pth", "new", *given).returncode == 0
    assert seen == [(Path("best.pth"), Path("new"), atlas, "ledoit_wolf", None, False)]


@pytest.mark.study
def test_the_command_ends_as_a_process_with_one_message_and_a_status(folder):
    command = [sys.executable, "-m", "brainmass_core.cli", "scans", "--dataset", "other"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 1
    assert "expected one of ['mine']" in done.stderr
    assert "Traceback" not in done.stderr


def loaded(code: str, *arguments: str) -> set[str]:
    """Top-level modules that a fresh process has loaded after it ran some code."""
    code = (
        f"import sys\ntry:\n    {code}\nexcept SystemExit as end:\n    assert not end.code\n"
        "print('\\nloaded:', *{name.partition('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=True)
    return set(done.stdout.rpartition("loaded:")[2].split())


RUN = "from brainmass_core.cli import main; main()"


@pytest.mark.study
@pytest.mark.parametrize(
    "arguments", [("--help",), ("finetune", "--help"), ("config", "check"), ("config", "presets")]
)
def test_help_and_the_check_of_a_configuration_load_no_numerical_library(folder, arguments):
    assert not loaded(RUN, *arguments) & (HEAVY | TABLES)


@pytest.mark.study
def test_help_does_not_even_load_the_configuration_and_the_package_loads_nothing(folder):
    helped = f"{RUN.partition(';')[0]}; assert 'brainmass_core.config' not in sys.modules; main()"
    assert not loaded(helped, "--help") & (HEAVY | TABLES | {"yaml"})
    assert not loaded("import brainmass_core") & (HEAVY | TABLES | {"pydantic", "typer", "rich"})


@pytest.mark.study
@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("retry",),
    ],
)
def test_the_state_of_a_run_is_shown_without_what_the_stages_compute_with(folder, arguments):
    assert not loaded(RUN, *arguments) & HEAVY


@pytest.mark.study
@pytest.mark.parametrize("option", ["--task", "--page"])
def test_a_wrong_name_is_refused_before_the_stage_is_loaded(folder, option):
    stage = {"--task": "finetune", "--page": "report"}[option]
    code = "from brainmass_core.cli import app; from brainmass_core.config import ConfigError"
    tried = f"{code}\n    try: app()\n    except ConfigError: pass"
    assert not loaded(tried, stage, option, "x") & HEAVY


@pytest.mark.parametrize("path", ["~/x.tsv", "$HOME/x.tsv", "${HOME}/x.tsv"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "model", "input", "--out={}"),
        ("predict", "model", "input", "--embeddings", "{}"),
        ("predict", "model", "{}"),
        ("predict", "model", "input", "--phenotype", "{}"),
        ("predict", "model", "input", "--work", "{}"),
        ("demo", "{}"),
        ("checksum", "{}"),
        ("config", "check", "{}"),
        ("scans", "--dataset", "mine", "--log", "{}"),
        ("preprocess", "--dataset", "mine", "--batch", "0", "--config={}"),
    ],
)
def test_home_and_variables_are_never_taken_as_they_are_written(brainmass, folder, arguments, path):
    done = brainmass(*(a.replace("{}", path) for a in arguments))
    assert done.returncode == 1
    assert f" {path}: `" in done.stderr
    assert "write it out" in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in folder.iterdir()] == ["config.yaml"]


def test_every_preset_is_listed(brainmass):
    listed = brainmass("config", "presets").stdout.split()
    assert "brainmass/official-release" in listed
