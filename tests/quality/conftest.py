import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from quality_study import write_raw_study

from brainmass_core.paths import Paths
from brainmass_core.quality import run, run_dataset


@pytest.fixture(scope="session")
def raw_study(tmp_path_factory):
    """Configuration of a study whose quality pages are written; changed by no test."""
    config = write_raw_study(tmp_path_factory.mktemp("raw"))
    run(config, "raw", 0)
    run_dataset(config, "raw")
    return config


@pytest.fixture(scope="session")
def scan_pages(raw_study):
    """Scan to the HTML of its page."""
    folder = Paths(raw_study.results).quality("raw", "scans")
    return {f.stem: f.read_text() for f in folder.glob("*.html")}
