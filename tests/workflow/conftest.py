"""The studies that the tests of the DAG share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import study


@pytest.fixture(scope="session")
def ready_series(tmp_path_factory):
    """Folder with 32 participants' parcel series, one of them damaged."""
    return study.write_ready_series(tmp_path_factory.mktemp("data") / "ready")


@pytest.fixture(scope="session")
def finished_study(ready_series, tmp_path_factory):
    """A study of ready series, run to its end by one command."""
    folder = tmp_path_factory.mktemp("finished")
    study.write_config(folder, study.ready_series_config(ready_series))
    done = study.snakemake(folder, "--cores", "2")
    assert done.returncode == 0, done.stderr[-5000:]
    return folder
