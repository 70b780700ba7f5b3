"""One thread, and runs that several test files use."""

from __future__ import annotations

import os

os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # before ANTs is loaded

import numpy as np
import preprocess_phantom as phantom
import pytest


@pytest.fixture(scope="session")
def motion() -> np.ndarray:
    """True motion of `run`, with a jump of 5 mm and 4 degrees for three volumes."""
    truth = phantom.slow_motion(30)
    jump = phantom.rigid(np.array([3.0, -3.0, 3.0, 4.0, -2.0, 2.0]))
    truth[17:20] = jump @ truth[17:20]
    return truth


@pytest.fixture(scope="session")
def run(motion: np.ndarray) -> np.ndarray:
    """A BOLD run of the phantom with that motion, (x, y, z, 30)."""
    return phantom.bold(motion)
