"""Confounds and series of one run, as a pipeline would leave them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brainmass_core.timeseries.design import MOTION

N = 200


@pytest.fixture
def confounds() -> pd.DataFrame:
    """Random walks under fMRIPrep's names, of realistic scales; FD and DVARS with five spikes."""
    rng = np.random.default_rng(0)
    names = [*MOTION, *(f"a_comp_cor_{i:02d}" for i in range(6))]
    names += ["csf", "white_matter", "global_signal"]
    table = pd.DataFrame(rng.standard_normal((N, len(names))).cumsum(axis=0), columns=names)
    table[["csf", "white_matter", "global_signal"]] += 8000
    table[MOTION[3:]] *= 1e-3
    fd = rng.uniform(0.05, 0.3, N)
    fd[[40, 41, 90, 130, 170]] = 1.2
    fd[0] = np.nan
    return table.assign(
        framewise_displacement=fd, rmsd=fd / 2, std_dvars=1 + (np.arange(N) == 55) * 1.0
    )


@pytest.fixture
def series() -> np.ndarray:
    """Random walks (200, 12) about a level, as BOLD has one."""
    return 8000 + 10 * np.random.default_rng(1).standard_normal((N, 12)).cumsum(axis=0)
