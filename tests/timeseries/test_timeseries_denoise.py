"""Cleaning of parcel series, against C-PAC's files, numpy and nilearn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from nilearn.signal import clean as nilearn_clean

from brainmass_core.config import list_presets, parse_config
from brainmass_core.config.timeseries import Timeseries
from brainmass_core.timeseries.denoise import (
    MOTION,
    ConfoundsError,
    NoFreedomError,
    clean,
    design_matrix,
    ideal_bandpass,
)

T_R, N = 2.0, 200


@pytest.fixture
def confounds() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    names = [*MOTION, *(f"a_comp_cor_{i:02d}" for i in range(6))]
    names += ["csf", "white_matter", "global_signal"]
    table = pd.DataFrame(rng.standard_normal((N, len(names))).cumsum(axis=0), columns=names)
    table[["csf", "white_matter", "global_signal"]] += 8000
    table[MOTION[3:]] *= 1e-3
    return table


@pytest.fixture
def series() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((N, 12)).cumsum(axis=0)


def power_outside(x: np.ndarray, low: float, high: float) -> float:
    f = np.fft.rfftfreq(len(x), T_R)
    power = np.abs(np.fft.rfft(x, axis=0)) ** 2
    return power[(f < low) | (f > high)].sum() / power.sum()


def test_band_pass_equals_the_files_that_cpac_published(shared_data) -> None:
    folder = shared_data / "oracle_abide_cpac_dev"
    subjects = pd.read_csv(folder / "subjects.csv")
    for file_id, t_r in zip(subjects["FILE_ID"], subjects["TR_s"], strict=True):
        (before,) = (folder / "ho_nofilt_noglobal").glob(f"{file_id}_rois_ho.1D*")
        (after,) = (folder / "ho_filt_noglobal").glob(f"{file_id}_rois_ho.1D*")
        theirs = np.loadtxt(after)
        ours = ideal_bandpass(np.loadtxt(before), t_r, 0.01, 0.1)
        assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 1e-6


def test_band_pass_keeps_a_sine_inside_and_removes_one_outside() -> None:
    t = np.arange(256) * T_R
    inside = np.sin(2 * np.pi * 26 / 512 * t)  # 0.051 Hz
    outside = np.sin(2 * np.pi * 90 / 512 * t)  # 0.176 Hz
    filtered = ideal_bandpass(np.column_stack([inside, outside]), T_R, 0.01, 0.1)
    np.testing.assert_allclose(filtered[:, 0], inside, atol=1e-10)
    np.testing.assert_allclose(filtered[:, 1], 0, atol=1e-10)


def test_band_pass_without_limits_only_removes_the_mean(series: np.ndarray) -> None:
    np.testing.assert_allclose(
        ideal_bandpass(series, T_R, None, None), series - series.mean(axis=0), atol=1e-10
    )


def test_band_pass_outside_the_measured_frequencies_is_refused(series: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"no frequency of a run of 200 volumes at t_r 2 s"):
        ideal_bandpass(series, T_R, 0.3, 0.4)


def test_24_derivative_equals_the_expansion_of_fmriprep(shared_data) -> None:
    (file,) = (shared_data / "oracle_fmriprep_confounds").glob("*regressors.tsv")
    table = pd.read_csv(file, sep="\t", na_values="n/a")
    names = [
        f"{m}{s}" for s in ("", "_derivative1", "_power2", "_derivative1_power2") for m in MOTION
    ]
    settings = Timeseries(motion="24_derivative", n_compcor=0, csf=False, polynomial_order=0)
    ours = design_matrix(table, settings)
    for name in names:
        mine = ours[name].to_numpy()
        np.testing.assert_allclose(mine[1:], table[name].to_numpy()[1:], atol=1e-6)
        assert np.isfinite(mine[0])


def test_24_lag_holds_the_motion_of_the_volume_before(confounds: pd.DataFrame) -> None:
    settings = Timeseries(motion="24_lag", n_compcor=0, csf=False, polynomial_order=0)
    design = design_matrix(confounds, settings)
    assert design.shape == (N, 25)
    lagged = design["trans_y_lag1"].to_numpy()
    np.testing.assert_array_equal(lagged, [0, *confounds["trans_y"][:-1]])
    np.testing.assert_array_equal(design["trans_y_lag1_power2"], lagged**2)


@pytest.mark.parametrize(
    ("settings", "n_columns"),
    [
        (Timeseries(), 24 + 5 + 1 + 3),
        (Timeseries(motion="none", n_compcor=0, csf=False, polynomial_order=0), 1),
        (Timeseries(motion="6", n_compcor=2, white_matter=True, global_signal=True), 6 + 2 + 3 + 3),
    ],
)
def test_design_has_the_columns_of_the_settings(confounds, settings, n_columns: int) -> None:
    assert design_matrix(confounds, settings).shape == (N, n_columns)


def test_missing_confounds_are_named(confounds: pd.DataFrame) -> None:
    with pytest.raises(ConfoundsError, match=r"\['trans_z', 'csf'\]|\['csf', 'trans_z'\]"):
        design_matrix(confounds.drop(columns=["trans_z", "csf"]), Timeseries())


def test_missing_values_in_confounds_are_named(confounds: pd.DataFrame) -> None:
    confounds.loc[5, "a_comp_cor_03"] = np.nan
    with pytest.raises(ConfoundsError, match="a_comp_cor_03"):
        design_matrix(confounds, Timeseries())


def test_regression_equals_least_squares(confounds, series: np.ndarray) -> None:
    design = design_matrix(confounds, Timeseries()).to_numpy()
    ours, dof = clean(series, T_R, design)
    scaled = design / np.linalg.norm(design, axis=0)
    theirs = series - scaled @ np.linalg.lstsq(scaled, series, rcond=None)[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-8)
    assert dof == N - design.shape[1]


def test_regression_ignores_the_scale_and_repetition_of_regressors(confounds, series) -> None:
    design = design_matrix(confounds, Timeseries()).to_numpy()
    once, dof = clean(series, T_R, design)
    scaled = np.column_stack([design * np.geomspace(1e-4, 1e4, design.shape[1]), design[:, :3]])
    twice, same_dof = clean(series, T_R, scaled)
    np.testing.assert_allclose(twice, once, atol=1e-8)
    assert same_dof == dof


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_regression_equals_nilearn(confounds, series: np.ndarray) -> None:
    design = design_matrix(confounds, Timeseries(polynomial_order=0)).to_numpy()
    theirs = nilearn_clean(
        series, confounds=design[:, :-1], detrend=False, standardize=False, t_r=T_R
    )
    ours, _ = clean(series, T_R, design)
    np.testing.assert_allclose(ours - ours.mean(0), theirs - theirs.mean(0), atol=1e-6)


def test_regress_then_filter_is_one_after_the_other(confounds, series: np.ndarray) -> None:
    design = design_matrix(confounds, Timeseries()).to_numpy()
    residual, _ = clean(series, T_R, design)
    both, _ = clean(series, T_R, design, 0.01, 0.1, "regress_then_filter")
    np.testing.assert_allclose(both, ideal_bandpass(residual, T_R, 0.01, 0.1), atol=1e-12)


def test_joint_leaves_neither_confounds_nor_other_frequencies(confounds, series) -> None:
    design = design_matrix(confounds, Timeseries()).to_numpy()
    cleaned, dof = clean(series, T_R, design, 0.01, 0.1, "joint")
    unit = design / np.linalg.norm(design, axis=0)
    assert np.abs(unit.T @ cleaned).max() < 1e-8 * np.abs(series).max()
    assert power_outside(cleaned, 0.01 - 1e-9, 0.1 + 1e-9) < 1e-16
    assert 0 < dof < 80 - 24  # 80 in-band dimensions less what the regressors take


def test_regress_then_filter_lets_confounds_back_in_and_joint_does_not(confounds, series) -> None:
    """The known difference of the two orders (Lindquist 2019, doi:10.1002/hbm.24528)."""
    design = design_matrix(confounds, Timeseries()).to_numpy()
    left = {}
    for order in ("regress_then_filter", "joint"):
        cleaned, _ = clean(series, T_R, design, 0.01, 0.1, order)
        again, _ = clean(cleaned, T_R, design)
        left[order] = 1 - np.sum(again**2) / np.sum((cleaned - cleaned.mean(0)) ** 2)
    assert left["joint"] < 1e-10
    assert left["regress_then_filter"] > 1e-3


@pytest.mark.parametrize("order", ["regress_then_filter", "joint"])
@pytest.mark.parametrize("band", [(None, None), (0.01, 0.1)])
def test_residual_dof_is_the_trace_of_the_map(confounds, order: str, band) -> None:
    design = design_matrix(confounds, Timeseries()).to_numpy()
    mapped, dof = clean(np.eye(N), T_R, design, *band, order)
    # the explicit filter also removes each column's mean, which the model has removed already
    np.testing.assert_allclose(np.trace(mapped), dof, atol=0.2)


def test_a_model_that_leaves_nothing_is_refused(confounds: pd.DataFrame) -> None:
    short = confounds[:32]
    design = design_matrix(short, Timeseries()).to_numpy()
    with pytest.raises(NoFreedomError, match="of 32 volumes"):
        clean(np.random.default_rng(0).standard_normal((32, 4)), T_R, design, 0.01, 0.1)


@pytest.mark.parametrize("preset", [p for p in list_presets() if p.startswith("timeseries/")])
def test_every_preset_loads_under_its_own_name_and_cleans(preset: str, confounds, series) -> None:
    raw = {
        "presets": [preset],
        "datasets": {"demo": {"kind": "bids", "role": "internal", "path": "x", "synthetic": {}}},
    }
    settings = parse_config(raw).timeseries
    assert settings.denoise == preset.split("/")[1]
    design = design_matrix(confounds, settings).to_numpy()
    cleaned, dof = clean(series, T_R, design, settings.low_hz, settings.high_hz, settings.order)
    assert np.isfinite(cleaned).all()
    assert dof > 20
