"""Cleaning of parcel series, against C-PAC's files, numpy and nilearn."""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import pytest
from nilearn import signal

from brainmass_core.config import list_presets, parse_config
from brainmass_core.config.timeseries import Timeseries
from brainmass_core.timeseries.censor import fill_matrix
from brainmass_core.timeseries.denoise import Cleaned, NoFreedomError, clean, ideal_bandpass
from brainmass_core.timeseries.design import design_matrix

T_R, N = 2.0, 200
ORDERS = ("regress_then_filter", "joint")
KINDS = ("ideal", "butterworth", "cosine")
METHODS = ("none", "spike_regression", "interpolate", "remove")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture
def design(confounds: pd.DataFrame) -> np.ndarray:
    """C-PAC's default without lags, linear drift."""
    return design_matrix(
        confounds, Timeseries(motion="24_derivative", polynomial_order=1)
    ).to_numpy()


@pytest.fixture
def censored() -> np.ndarray:
    mask = np.zeros(N, dtype=bool)
    mask[[20, 21, 50, 51, 52, 100, 150]] = True
    return mask


def with_settings(x: np.ndarray, design: np.ndarray, settings: Timeseries, bad=None) -> Cleaned:
    return clean(
        *(x, T_R, design, settings.low_hz, settings.high_hz, settings.order),
        kind=settings.filter,
        n_drift=settings.polynomial_order + 1,
        censored=bad,
        method=settings.censor.method,
    )


def power_outside(x: np.ndarray, low: float, high: float) -> float:
    f = np.fft.rfftfreq(len(x), T_R)
    power = np.abs(np.fft.rfft(x, axis=0)) ** 2
    return power[(f < low) | (f > high)].sum() / power.sum()


def test_regression_equals_least_squares(design, series: np.ndarray) -> None:
    found = clean(series, T_R, design)
    scaled = design / np.linalg.norm(design, axis=0)
    theirs = series - scaled @ np.linalg.lstsq(scaled, series, rcond=None)[0]
    np.testing.assert_allclose(found.series, theirs, atol=1e-7)
    assert found.residual_dof == pytest.approx(N - design.shape[1])
    assert found.n_regressors == design.shape[1]


def test_regression_ignores_the_scale_and_repetition_of_regressors(design, series) -> None:
    once = clean(series, T_R, design)
    scaled = design * np.geomspace(1e-4, 1e4, design.shape[1])
    twice = clean(series, T_R, np.column_stack([design[:, :3], scaled]))
    np.testing.assert_allclose(twice.series, once.series, atol=1e-7)
    assert twice.residual_dof == pytest.approx(once.residual_dof)


def test_regression_equals_nilearn(design, series: np.ndarray) -> None:
    theirs = signal.clean(
        series, confounds=design[:, :-2], detrend=True, standardize=False, filter=False, t_r=T_R
    )
    np.testing.assert_allclose(clean(series, T_R, design).series, theirs, atol=1e-6)


def test_averaging_and_cleaning_commute(design) -> None:
    """So the model on parcels is the one on voxels, for every filter."""
    rng = np.random.default_rng(2)
    voxels = 8000 + rng.standard_normal((N, 60)).cumsum(axis=0)
    parcels = rng.integers(0, 5, 60)
    mean = np.eye(5)[parcels] / np.bincount(parcels)
    for order, kind in product(ORDERS, KINDS):
        band = (0.01, None if kind == "cosine" else 0.1, order)
        apply = partial(clean, t_r=T_R, design=design, kind=kind, n_drift=2)
        voxelwise = apply(voxels, low_hz=band[0], high_hz=band[1], order=order).series @ mean
        parcelwise = apply(voxels @ mean, low_hz=band[0], high_hz=band[1], order=order).series
        np.testing.assert_allclose(parcelwise, voxelwise, atol=1e-9)


def test_joint_butterworth_equals_nilearn_which_filters_the_confounds_too(design, series) -> None:
    theirs = signal.clean(
        *(series, None, True, False),
        confounds=design[:, :-2],
        low_pass=0.1,
        high_pass=0.01,
        t_r=T_R,
    )
    ours = clean(series, T_R, design, 0.01, 0.1, "joint", kind="butterworth", n_drift=2)
    np.testing.assert_allclose(ours.series, theirs, atol=1e-6)


@pytest.mark.parametrize("method", ["interpolate", "remove"])
def test_joint_butterworth_with_censoring_equals_nilearn(design, series, censored, method) -> None:
    theirs = signal.clean(
        *(series, None, True, False),
        confounds=design[:, :-2],
        low_pass=0.1,
        high_pass=0.01,
        t_r=T_R,
        sample_mask=np.flatnonzero(~censored),
    )
    band = (0.01, 0.1, "joint")
    ours = clean(
        *(series, T_R, design, *band),
        kind="butterworth",
        n_drift=2,
        censored=censored,
        method=method,
    )
    np.testing.assert_allclose(ours.series, theirs, atol=1e-6)


@pytest.mark.parametrize("method", ["none", "remove"])
def test_joint_cosine_equals_nilearn(series, censored, method: str) -> None:
    # white noise: nilearn leaves its cosines out where a confound resembles one of them
    noise = np.random.default_rng(4).standard_normal((N, 20))
    kept = np.flatnonzero(~censored) if method == "remove" else None
    theirs = signal.clean(
        *(series, None, False, False),
        confounds=noise,
        filter="cosine",
        high_pass=0.01,
        t_r=T_R,
        sample_mask=kept,
    )
    design = np.column_stack([noise, np.ones(N)])
    ours = clean(
        *(series, T_R, design, 0.01, None, "joint"), kind="cosine", censored=censored, method=method
    )
    # they leave a level behind
    np.testing.assert_allclose(ours.series, theirs - theirs.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("kind", ["ideal", "cosine"])
def test_joint_is_one_least_squares_problem_on_the_volumes_that_are_left(
    design, series, censored, kind: str
) -> None:
    f = np.fft.rfftfreq(N, T_R)
    out = f[(f < 0.01) | (f > 0.1)]
    phase = 2 * np.pi * np.outer(np.arange(N) * T_R, out)
    slow = signal.create_cosine_drift(0.01, np.arange(N) * T_R)
    terms = {"ideal": np.column_stack([np.cos(phase), np.sin(phase)]), "cosine": slow}[kind]
    model = np.column_stack([design / np.linalg.norm(design, axis=0), terms])[~censored]
    x = series[~censored]
    theirs = x - model @ np.linalg.lstsq(model, x, rcond=1e-9)[0]
    high = 0.1 if kind == "ideal" else None
    ours = clean(
        *(series, T_R, design, 0.01, high, "joint"),
        kind=kind,
        n_drift=2,
        censored=censored,
        method="remove",
    )
    np.testing.assert_allclose(ours.series, theirs, atol=1e-6)


def test_regress_then_filter_is_one_after_the_other(design, series: np.ndarray) -> None:
    residual = clean(series, T_R, design).series
    both = clean(series, T_R, design, 0.01, 0.1, "regress_then_filter").series
    np.testing.assert_allclose(both, ideal_bandpass(residual, T_R, 0.01, 0.1), atol=1e-9)


def test_removing_fits_what_is_left_fills_its_residual_and_filters_that(
    design, series, censored
) -> None:
    scaled = (design / np.linalg.norm(design, axis=0))[~censored]
    x = series[~censored]
    residual = x - scaled @ np.linalg.lstsq(scaled, x, rcond=None)[0]
    filled = fill_matrix(~censored) @ residual
    expected = ideal_bandpass(filled, T_R, 0.01, 0.1)[~censored]
    found = clean(series, T_R, design, 0.01, 0.1, censored=censored, method="remove")
    np.testing.assert_allclose(found.series, expected, atol=1e-7)
    np.testing.assert_array_equal(found.kept, ~censored)


def test_values_of_removed_volumes_do_not_matter(design, series, censored) -> None:
    other = series.copy()
    other[censored] = 1e6
    spoilt = design.copy()
    spoilt[censored, :5] += 1e3
    for order, kind, method in product(ORDERS, KINDS, ("interpolate", "remove")):
        high = None if kind == "cosine" else 0.1
        options = {"kind": kind, "n_drift": 2, "censored": censored, "method": method}
        found = clean(series, T_R, design, 0.01, high, order, **options)
        same = clean(other, T_R, spoilt, 0.01, high, order, **options)
        np.testing.assert_allclose(same.series, found.series, atol=1e-6)
        assert len(found.series) == N - censored.sum()


def test_spike_regression_fits_as_removing_does_and_leaves_nothing_at_the_spikes(
    design, series, censored
) -> None:
    spikes = clean(series, T_R, design, censored=censored, method="spike_regression")
    removed = clean(series, T_R, design, censored=censored, method="remove")
    np.testing.assert_allclose(spikes.series[~censored], removed.series, atol=1e-7)
    np.testing.assert_allclose(spikes.series[censored], 0, atol=1e-7)
    assert spikes.residual_dof == pytest.approx(removed.residual_dof)
    assert spikes.n_regressors == removed.n_regressors + censored.sum()


def test_without_a_censored_volume_every_method_is_the_same(design, series) -> None:
    none = np.zeros(N, dtype=bool)
    for order, kind in product(ORDERS, KINDS):
        high = None if kind == "cosine" else 0.1
        call = partial(clean, series, T_R, design, 0.01, high, order, kind=kind, n_drift=2)
        first = call()
        for method in METHODS:
            np.testing.assert_array_equal(call(censored=none, method=method).series, first.series)


def test_joint_leaves_neither_confounds_nor_other_frequencies(design, series) -> None:
    found = clean(series, T_R, design, 0.01, 0.1, "joint", n_drift=2)
    unit = design / np.linalg.norm(design, axis=0)
    assert np.abs(unit.T @ found.series).max() < 1e-8 * np.abs(series).max()
    assert power_outside(found.series, 0.01 - 1e-9, 0.1 + 1e-9) < 1e-16
    assert 0 < found.residual_dof < 80 - 24  # 80 in-band dimensions less what regressors take


@pytest.mark.parametrize("kind", ["ideal", "butterworth"])
def test_regress_then_filter_lets_confounds_back_in_and_joint_does_not(
    design, series, kind: str
) -> None:
    """The known difference of the two orders (Lindquist 2019, doi:10.1002/hbm.24528)."""
    in_band = design
    if kind == "butterworth":
        filtered = clean(design[:, :-2], T_R, None, 0.01, 0.1, kind=kind).series
        in_band = np.column_stack([filtered, np.ones(N)])
    left = {}
    for order in ORDERS:
        cleaned = clean(series, T_R, design, 0.01, 0.1, order, kind=kind, n_drift=2).series
        again = clean(cleaned, T_R, in_band).series
        left[order] = 1 - np.sum(again**2) / np.sum((cleaned - cleaned.mean(0)) ** 2)
    assert left["joint"] < 1e-4
    assert left["regress_then_filter"] > 10 * left["joint"] + 1e-3


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", [*KINDS, None])
@pytest.mark.parametrize("method", METHODS)
def test_residual_dof_is_the_trace_of_the_map(design, censored, order, kind, method) -> None:
    low, high = (
        (None if kind is None else 0.01),
        (0.1 if kind in ("ideal", "butterworth") else None),
    )
    options = {"kind": kind or "ideal", "n_drift": 2, "censored": censored, "method": method}
    kept = clean(np.zeros((N, 1)), T_R, design, low, high, order, **options).kept
    unit = np.zeros((N, kept.sum()))
    unit[kept] = np.eye(kept.sum())
    found = clean(unit, T_R, design, low, high, order, **options)
    assert np.trace(found.series) == pytest.approx(found.residual_dof, abs=1e-9)
    assert found.residual_dof < kept.sum() - 25


def test_gsr_takes_a_rank_one_part_out_of_what_cpac_published(shared_data) -> None:
    """The regressor's own residual times the parcels' weights; C-PAC filters after it."""
    folder = shared_data / "oracle_abide_cpac_dev"
    subjects = pd.read_csv(folder / "subjects.csv").set_index("FILE_ID")
    files = sorted((folder / "cc200_filt_global").iterdir())
    assert len(files) >= 3
    for file in files:
        file_id = file.name.split("_rois_")[0]
        (before,) = (folder / "cc200_nofilt_noglobal").glob(f"{file_id}_rois_*")
        t_r = subjects.loc[file_id, "TR_s"]
        ours = clean(np.loadtxt(before), t_r, None, 0.01, 0.1).series
        singular = np.linalg.svd(ours - np.loadtxt(file), compute_uv=False)
        assert singular[0] > 1e-3 * np.linalg.norm(ours)
        assert singular[1] < 1e-6 * singular[0]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_one_more_regressor_takes_a_rank_one_part_out(
    design, series, confounds, order, kind
) -> None:
    high = None if kind == "cosine" else 0.1
    more = np.column_stack([confounds["global_signal"], design])
    band = (0.01, high, order)
    without = clean(series, T_R, design, *band, kind=kind, n_drift=2).series
    with_it = clean(series, T_R, more, *band, kind=kind, n_drift=2).series
    singular = np.linalg.svd(without - with_it, compute_uv=False)
    assert singular[0] > 1
    assert singular[1] < 1e-7 * singular[0]


def test_a_regressor_that_the_filter_removes_costs_nothing(series) -> None:
    fast = np.sin(2 * np.pi * 0.2 * np.arange(N) * T_R)
    design = np.column_stack([np.full(N, 7.0), np.ones(N)])
    alone = clean(series, T_R, None, 0.01, 0.1, "joint", kind="butterworth")
    constant = clean(series, T_R, design, 0.01, 0.1, "joint", kind="butterworth")
    np.testing.assert_allclose(constant.series, alone.series, atol=1e-9)
    assert constant.residual_dof == pytest.approx(alone.residual_dof)
    outside = clean(series, T_R, np.column_stack([fast, np.ones(N)]), 0.01, 0.1, "joint")
    ideal = clean(series, T_R, None, 0.01, 0.1, "joint")
    assert outside.residual_dof == pytest.approx(ideal.residual_dof)


def test_a_model_that_leaves_nothing_is_refused(confounds: pd.DataFrame) -> None:
    design = design_matrix(confounds[:32], Timeseries()).to_numpy()
    with pytest.raises(NoFreedomError, match="of 32 volumes"):
        clean(np.random.default_rng(0).standard_normal((32, 4)), T_R, design, 0.01, 0.1)


@pytest.mark.parametrize("method", ["interpolate", "remove"])
def test_a_run_without_an_uncensored_volume_is_refused(design, series, method: str) -> None:
    with pytest.raises(NoFreedomError, match="200 of 200 volumes are censored"):
        clean(series, T_R, design, censored=np.ones(N, dtype=bool), method=method)


def test_spikes_that_use_up_a_run_are_refused(design, series) -> None:
    bad = np.arange(N) < 190
    with pytest.raises(NoFreedomError, match="degrees of freedom"):
        clean(series, T_R, design, 0.01, 0.1, censored=bad, method="spike_regression")


@pytest.mark.parametrize("preset", [p for p in list_presets() if p.startswith("timeseries/")])
def test_every_preset_loads_under_its_own_name_and_cleans(preset: str, confounds, series) -> None:
    raw = {
        "presets": [preset],
        "datasets": {"demo": {"kind": "bids", "role": "internal", "path": "x", "synthetic": {}}},
    }
    settings = parse_config(raw).timeseries
    assert settings.denoise == preset.split("/")[1]
    bad = confounds["framewise_displacement"].to_numpy() > settings.censor.fd_threshold
    found = with_settings(series, design_matrix(confounds, settings).to_numpy(), settings, bad)
    assert np.isfinite(found.series).all()
    assert found.residual_dof > 15


def test_the_presets_that_issue_and_papers_name_are_there() -> None:
    names = {p.split("/")[1] for p in list_presets() if p.startswith("timeseries/")}
    pcp = {f"abide-pcp-{f}-{g}" for f in ("filt", "nofilt") for g in ("global", "noglobal")}
    assert names >= {"cpac-default", "fmriprep-like", "minimal", "36p", "36p-scrubbed", *pcp}


def test_presets_differ_in_what_they_do() -> None:
    def settings(preset: str) -> dict:
        data = {"kind": "bids", "role": "internal", "path": "x", "synthetic": {}}
        parsed = parse_config({"presets": [preset], "datasets": {"demo": data}})
        return parsed.timeseries.model_dump(exclude={"denoise"})

    presets = [p for p in list_presets() if p.startswith("timeseries/")]
    made = [settings(p) for p in presets]
    assert all(made.count(m) == 1 for m in made)
