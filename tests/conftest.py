"""Fixtures that every test folder may use."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# what an example takes says nothing on a machine that other work shares
hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """Root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data beside the project; `BRAINMASS_SHARED_DATA` names another place.

    Without it the test is skipped; with `BRAINMASS_REQUIRE_SHARED=1` (CI) it fails instead.
    """
    folder = Path(os.environ.get("BRAINMASS_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        reason = f"real data not found at {folder}; set BRAINMASS_SHARED_DATA"
        if os.environ.get("BRAINMASS_REQUIRE_SHARED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
