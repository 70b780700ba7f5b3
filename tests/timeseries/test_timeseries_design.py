"""Regressors, against the columns that fMRIPrep wrote."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brainmass_core.config.timeseries import Timeseries
from brainmass_core.timeseries.design import MOTION, ConfoundsError, design_matrix

N = 200
NONE = {"motion": "none", "n_compcor": 0, "csf": False, "polynomial_order": 0}
ALL_36 = Timeseries(
    motion="24_derivative",
    signal_expansion=True,
    n_compcor=0,
    csf=True,
    white_matter=True,
    global_signal=True,
    polynomial_order=0,
)


def test_36_parameters_equal_the_columns_of_fmriprep(shared_data) -> None:
    (file,) = (shared_data / "oracle_fmriprep_confounds").glob("*regressors.tsv")
    table = pd.read_csv(file, sep="\t", na_values="n/a")
    endings = ("", "_derivative1", "_power2", "_derivative1_power2")
    names = [f"{s}{e}" for e in endings for s in (*MOTION, "csf", "white_matter", "global_signal")]
    ours = design_matrix(table, ALL_36)
    assert set(ours) == {*names, "polynomial_0"}
    assert len(names) == 36
    for name in names:
        mine, theirs = ours[name].to_numpy(), table[name].to_numpy()
        # they square and subtract before they round to the file's digits, we after it
        np.testing.assert_allclose(mine[1:], theirs[1:], rtol=1e-9, atol=1e-6, err_msg=name)
        assert np.isfinite(mine[0])


def test_24_lag_holds_the_motion_of_the_volume_before(confounds: pd.DataFrame) -> None:
    design = design_matrix(confounds, Timeseries(**NONE | {"motion": "24_lag"}))
    assert design.shape == (N, 25)
    lagged = design["trans_y_lag1"].to_numpy()
    np.testing.assert_array_equal(lagged, [0, *confounds["trans_y"][:-1]])
    np.testing.assert_array_equal(design["trans_y_lag1_power2"], lagged**2)


@pytest.mark.parametrize(
    ("settings", "n_columns"),
    [
        (Timeseries(), 24 + 5 + 1 + 3),
        (Timeseries(**NONE), 1),
        (Timeseries(motion="6", n_compcor=2, white_matter=True, global_signal=True), 6 + 2 + 3 + 3),
        (ALL_36, 36 + 1),
        (Timeseries(**NONE | {"signal_expansion": True, "global_signal": True}), 4 + 1),
    ],
)
def test_design_has_the_columns_of_the_settings(confounds, settings, n_columns: int) -> None:
    assert design_matrix(confounds, settings).shape == (N, n_columns)


def test_the_polynomials_are_the_last_columns_and_span_those_of_numpy(confounds) -> None:
    design = design_matrix(confounds, Timeseries(polynomial_order=3))
    assert list(design)[-4:] == [f"polynomial_{i}" for i in range(4)]
    powers = np.vander(np.linspace(-1, 1, N), 4)
    both = np.column_stack([design.iloc[:, -4:], powers])
    assert np.linalg.matrix_rank(both) == 4


def test_missing_confounds_are_named(confounds: pd.DataFrame) -> None:
    with pytest.raises(ConfoundsError, match=r"\['trans_z', 'csf'\]|\['csf', 'trans_z'\]"):
        design_matrix(confounds.drop(columns=["trans_z", "csf"]), Timeseries())


def test_missing_values_in_confounds_are_named(confounds: pd.DataFrame) -> None:
    confounds.loc[[0, 5], "a_comp_cor_03"] = np.nan
    with pytest.raises(ConfoundsError, match=rf"a_comp_cor_03.* in volume 1, 6 of the {N} that"):
        design_matrix(confounds, Timeseries())
