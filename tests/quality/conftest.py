import pickle
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from quality_study import write_raw_study

from brainmass_core.pipeline.paths import Paths
from brainmass_core.quality import run, run_dataset


@pytest.fixture(scope="session")
def raw_study(built_once):
    """Configuration of a study whose quality pages are written; changed by no test."""

    def build(folder):
        config = write_raw_study(folder)
        shutil.copytree(config.results, folder / "before-quality")
        run(config, "raw", 0)
        run_dataset(config, "raw")
        (folder / "config.pickle").write_bytes(pickle.dumps(config))

    return pickle.loads((built_once("quality-raw", build) / "config.pickle").read_bytes())


@pytest.fixture
def own_raw(raw_study, tmp_path):
    """Configuration of that study before the stage ran, for the test to change."""
    results = tmp_path / "results"
    shutil.copytree(raw_study.results.parent / "before-quality", results)
    return raw_study.model_copy(update={"results": results})


@pytest.fixture(scope="session")
def scan_pages(raw_study):
    """Scan to the HTML of its page."""
    folder = Paths(raw_study.results).quality("raw", "scans")
    return {f.stem: f.read_text() for f in folder.glob("*.html")}
