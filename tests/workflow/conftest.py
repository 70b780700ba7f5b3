"""Studies that the tests of the DAG share, each built once in a run: copy it to change it."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import study


@pytest.fixture(scope="session")
def ready_series(built_once):
    """Folder with 32 participants' parcel series, one of them damaged."""
    return built_once("ready-series", study.write_ready_series)


@pytest.fixture(scope="session")
def finished_study(ready_series, built_once):
    """A study of ready series, run to its end by one command. Dry runs may use it as it is."""

    def build(folder: Path) -> None:
        study.write_config(folder, study.ready_series_config(ready_series))
        study.succeed(folder)

    return built_once("finished-study", build)


@pytest.fixture
def copied_study(finished_study, tmp_path):
    """The finished study in a folder of its own."""
    return shutil.copytree(finished_study, tmp_path / "copied")


@pytest.fixture(scope="session")
def raw_study(built_once):
    """Synthetic participants from raw BIDS to FC, never interrupted."""

    def build(folder: Path) -> None:
        study.write_config(folder, study.raw_bids_config())
        study.succeed(folder, "connectivity")

    return built_once("raw-study", build)
