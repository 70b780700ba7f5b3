import pickle

import pytest
import report_studies
from report_studies import copy_of, draw_nothing


@pytest.fixture(scope="session")
def finished(built_once):
    """Function of the name of a study of `report_studies`, which it builds once."""

    def get(name, *given):
        def build(folder):
            study = getattr(report_studies, name)(folder, *given)
            (folder / "study.pickle").write_bytes(pickle.dumps(study))

        folder = built_once(f"report-{name}", build)
        return pickle.loads((folder / "study.pickle").read_bytes())

    return get


@pytest.fixture(scope="session")
def study(finished):
    """A finished task and its pages; changed by no test."""
    return finished("binary")


@pytest.fixture
def own_study(study, tmp_path):
    """A copy of it for the test to change."""
    return copy_of(study, tmp_path)


@pytest.fixture(scope="session")
def pages(study):
    """Name of a page to its HTML."""
    return {p: study.paths.report(p).read_text() for p in ("demo_task", "index")}


@pytest.fixture(scope="session")
def adapted(finished, study):
    """Configuration of the same task with few-shot curves, a zero-shot table, and its page."""
    return finished("adapted", study).config


@pytest.fixture(scope="session")
def regression(finished):
    """A finished regression and its pages."""
    return finished("regression")


@pytest.fixture(scope="session")
def several(finished):
    """A finished task of three classes and its pages."""
    return finished("several")


@pytest.fixture
def no_figures(monkeypatch):
    """Figures of pages are not drawn: for tests of the text around them."""
    draw_nothing(monkeypatch)
