"""Fixtures that every test folder may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

pytest_plugins = ["tiers"]

# durations of examples are not informative on a machine with other work
hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """Root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data next to the project; `BRAINMASS_SHARED_DATA` sets another one.

    Without it the test is skipped; with `BRAINMASS_REQUIRE_SHARED=1` (CI) it fails instead.
    """
    folder = Path(os.environ.get("BRAINMASS_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        reason = f"real data not found at {folder}; set BRAINMASS_SHARED_DATA"
        if os.environ.get("BRAINMASS_REQUIRE_SHARED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def built_once(tmp_path_factory, request) -> Callable[[str, Callable[[Path], object]], Path]:
    """Folder of a study that is built once per run, by the first worker that requests it.

    ``built_once(name, build)`` calls ``build(folder)`` unless another test has already done so. All
    tests of the run share the folder: a test that changes it makes a copy first.
    """
    base = tmp_path_factory.getbasetemp()
    root = base.parent if hasattr(request.config, "workerinput") else base

    def get(name: str, build: Callable[[Path], object]) -> Path:
        folder, done = root / "built-once" / name, root / "built-once" / f"{name}.done"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(folder.parent / f"{name}.lock"):
            if not done.exists():
                build(folder)
                done.touch()
        return folder

    return get


@pytest.fixture(scope="session")
def finished(built_once):
    """A small study after `finetune` (`synthetic_study.write_finished`), which no test changes."""
    from synthetic_study import shared, write_finished

    return shared(built_once, "finished", write_finished)
