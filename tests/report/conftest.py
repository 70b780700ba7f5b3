import pytest
from synthetic_study import write_study

from brainmass_core.finetune import run as finetune
from brainmass_core.report import run


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished task; made once, changed by no test."""
    study = write_study(tmp_path_factory.mktemp("study"))
    finetune(study.config, "demo_task")
    return study


@pytest.fixture(scope="module")
def pages(study):
    """Name of a page to its HTML."""
    for page in ("demo_task", "index"):
        run(study.config, page)
    return {p: study.paths.report(p).read_text() for p in ("demo_task", "index")}
