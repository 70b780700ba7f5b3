"""Motion of a run from its table of confounds."""

import numpy as np
import pandas as pd
import pytest

from brainmass_core.timeseries.inputs import mean_displacement, n_non_steady


def test_the_first_volume_has_no_displacement_and_does_not_count():
    fd = pd.DataFrame({"framewise_displacement": [np.nan, 0.2, 0.4]})
    assert mean_displacement(fd) == pytest.approx(0.3)
    assert mean_displacement(pd.DataFrame({"other": [1.0]})) is None
    assert mean_displacement(pd.DataFrame({"framewise_displacement": [np.nan]})) is None


def test_volumes_before_the_steady_state_are_those_at_the_start():
    marks = pd.DataFrame(
        {"non_steady_state_outlier00": [1, 0, 0, 0], "non_steady_state_outlier01": [0, 1, 0, 0]}
    )
    assert n_non_steady(marks) == 2
    assert n_non_steady(pd.DataFrame({"csf": [1.0, 2.0]})) == 0
