"""A disk that cannot be written gives one line in every command, never a traceback."""

from __future__ import annotations

import errno
import logging
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file

from brainmass_core import cli
from brainmass_core.cli import application, logs
from brainmass_core.pipeline.disk import explain
from brainmass_core.tables import atomic_path, write_table

CODES = ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EFBIG", "EIO", "ENAMETOOLONG")


@pytest.mark.parametrize("code", CODES)
def test_an_error_of_the_disk_is_one_line_with_path_and_remedy(code, monkeypatch, caplog):
    number = getattr(errno, code)

    def command() -> None:
        raise OSError(number, os.strerror(number), "/data/results/scans/x.parquet")

    monkeypatch.setattr(application, "app", command)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    (line,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert line.getMessage().startswith("/data/results/scans/x.parquet: ")
    assert os.strerror(number) in line.getMessage()
    assert "then run the same command again" in line.getMessage()
    assert "\n" not in line.getMessage()
    assert not line.exc_info


@pytest.mark.parametrize("code", CODES)
def test_an_error_while_a_file_is_written_names_the_file(tmp_path, code):
    path = tmp_path / "sub" / "table.parquet"
    with pytest.raises(OSError, match=r"table\.parquet") as raised, atomic_path(path):
        raise OSError(getattr(errno, code), "said")  # as `write` raises it: without a file name
    assert raised.value.errno == getattr(errno, code)
    assert raised.value.filename == str(path)
    assert list(path.parent.iterdir()) == []


def test_an_error_about_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as raised, atomic_path(tmp_path / "a"):
        Path("/no/such/file").read_text()
    assert raised.value.filename == "/no/such/file"


@pytest.fixture
def small_files():
    """Limit files to 4 kB; Python ignores the signal that reports the limit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_every_writer_names_its_file_when_the_disk_takes_no_more(tmp_path, small_files):
    noise = np.random.default_rng(0).standard_normal(20_000)
    writers = {
        "table.parquet": lambda p: write_table(p, pa.table({"x": noise}), "scans"),
        "text.md": lambda p: written(p, lambda f: f.write_text("x" * 10_000)),
        "model.safetensors": lambda p: written(p, lambda f: save_file({"w": noise}, f)),
    }
    for name, write in writers.items():
        with pytest.raises(OSError, match="File too large") as raised:
            write(tmp_path / name)
        assert raised.value.filename == str(tmp_path / name)
        assert explain(raised.value).startswith(f"{tmp_path / name}: cannot write (")
    assert list(tmp_path.iterdir()) == []


def written(path: Path, write) -> None:
    with atomic_path(path) as temporary:
        write(temporary)


def test_a_log_that_cannot_be_written_ends_with_one_line(capsys):
    handler = logs.LogFile("/dev/full")
    log = logging.Logger("full")
    log.addHandler(handler)
    for _ in range(3):
        log.error("a line")
    handler.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("the log ends here: /dev/full: cannot write (No space left on device)")


LIMITED = """
import resource, sys
sys.dont_write_bytecode = True  # a truncated one would be left in the checkout
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from brainmass_core.cli import main
main()
"""


@pytest.mark.study
@pytest.mark.parametrize(
    "arguments",
    [("demo", "{}/demo"), ("demo", "{}/demo", "--log", "{}/x.log"), ("config", "schema")],
    ids=["demo", "log", "stdout"],
)
def test_a_command_on_a_full_disk_prints_no_traceback(tmp_path, arguments):
    command = [sys.executable, "-c", LIMITED, *(a.format(tmp_path) for a in arguments)]
    with open("/dev/full", "wb") as full:
        stdout = full if arguments[0] == "config" else subprocess.DEVNULL
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert "cannot write (" in done.stderr
