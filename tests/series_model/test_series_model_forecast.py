"""Forecasts, compared with processes whose best forecast is known, scikit-learn and scipy."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.stats import pearsonr
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from brainmass_core.encoders.brainlm import model as brainlm
from brainmass_core.encoders.brainlm import vit as brainlm_vit
from brainmass_core.series_model.autoregression import fit_autoregression, last_value
from brainmass_core.series_model.fitting import Fit, Windows, fit, hold_out
from brainmass_core.series_model.forecast import (
    compare_forecasts,
    fit_future,
    forecast,
    fresh,
    score_forecasts,
)
from brainmass_core.series_model.recurrent import fit_latent_ode, fit_lstm, rk4

PHI, OBSERVED, STEPS = 0.9, 40, 20


def first_order(n_people: int, n_rois: int = 3, seed: int = 0, per_person: int = 4) -> Windows:
    """Stationary AR(1) of unit variance; the best forecast is PHI^h of the last value."""
    rng = np.random.default_rng(seed)
    n = n_people * per_person
    x = np.empty((n, n_rois, OBSERVED + STEPS))
    x[..., 0] = rng.normal(size=(n, n_rois))
    for t in range(1, x.shape[-1]):
        x[..., t] = PHI * x[..., t - 1] + math.sqrt(1 - PHI**2) * rng.normal(size=(n, n_rois))
    who = np.repeat([f"{seed}-{i}" for i in range(n_people)], per_person)
    return Windows(torch.from_numpy(x).float(), who)


def oscillation(n_people: int, seed: int = 0) -> Windows:
    """Two waves of random phase and amplitude in three parcels: the future is fully determined."""
    rng = np.random.default_rng(seed)
    n = 4 * n_people
    size, phase = rng.uniform(0.5, 1.5, (n, 1, 1)), rng.uniform(0, 2 * np.pi, (n, 1, 1))
    shift = np.array([0.0, 1.0, 2.0])[None, :, None]
    x = size * np.sin(2 * np.pi * np.arange(OBSERVED + STEPS) / 20 + phase + shift)
    return Windows(torch.from_numpy(x).float(), np.repeat(np.arange(n_people), 4))


# ---- linear autoregression


def test_autoregression_reaches_the_best_possible_r2_at_every_step():
    model = fit_autoregression(first_order(40), OBSERVED)
    table = score_forecasts(
        {"last_value": last_value, "ar": model.forecast}, first_order(400, seed=1), OBSERVED, 50, 0
    )
    steps = np.arange(1, STEPS + 1)
    ar = table[(table["method"] == "ar") & (table["step"] > 0)]
    np.testing.assert_allclose(ar["r2"], PHI ** (2 * steps), atol=0.04)
    held = table[(table["method"] == "last_value") & (table["step"] > 0)]
    np.testing.assert_allclose(held["mse"], 2 * (1 - PHI**steps), atol=0.1)
    np.testing.assert_allclose(held["pearson"], PHI**steps, atol=0.04)
    assert table["variance"].to_numpy() == pytest.approx(1, abs=0.1)


def test_autoregression_is_scikit_learns_ridge_of_each_parcel():
    train = first_order(4, n_rois=2)
    model = fit_autoregression(train, OBSERVED, orders=(3,), penalties=(0.1,))
    for j in range(2):
        x, y = [], []
        for one in train.series[:, j].double().numpy():
            for t in range(3, len(one)):
                x.append(one[t - 3 : t])
                y.append(one[t])
        expected = Ridge(alpha=0.1 * len(y)).fit(x, y)
        np.testing.assert_allclose(model.coefficients[j], expected.coef_, rtol=1e-6)
        assert float(model.intercept[j]) == pytest.approx(expected.intercept_, abs=1e-8)


def test_the_order_is_chosen_by_participants_left_out():
    assert fit_autoregression(oscillation(6), OBSERVED).order >= 2
    assert fit_autoregression(first_order(100), OBSERVED, orders=(1, 20)).order == 1


def test_a_wave_is_forecast_by_an_autoregression_but_not_by_its_last_value():
    model, test = fit_autoregression(oscillation(6), OBSERVED), oscillation(6, seed=1)
    future = test.series[..., OBSERVED:]
    found = model.forecast(test.series[..., :OBSERVED], STEPS)
    assert r2_score(future.flatten(), found.flatten()) > 0.99
    held = last_value(test.series[..., :OBSERVED], STEPS)
    assert r2_score(future.flatten(), held.flatten()) < 0


def test_a_parcel_that_never_varies_is_forecast_as_it_is():
    train = first_order(4)
    train.series[:, 1] = 2.0
    found = fit_autoregression(train, OBSERVED).forecast(train.series[..., :OBSERVED], STEPS)
    torch.testing.assert_close(found[:, 1], torch.full_like(found[:, 1], 2.0), atol=1e-3, rtol=0)


# ---- networks


def test_runge_kutta_agrees_with_scipy_and_its_error_is_of_fourth_order():
    def field(z):
        return torch.stack([z[1], -z[0] - 0.3 * z[1] + z[0] ** 2 / 5])

    start = torch.tensor([1.0, 0.0], dtype=torch.float64)
    exact = solve_ivp(
        lambda _, z: field(torch.from_numpy(z)).numpy(), (0, 4), start, rtol=1e-11, atol=1e-12
    )
    errors = [
        (rk4(field, start, n, 4 / n)[-1] - torch.from_numpy(exact.y[:, -1])).norm()
        for n in (20, 40)
    ]
    assert errors[0] < 1e-4
    assert 12 < errors[0] / errors[1] < 20


@pytest.mark.parametrize("fit_method", [fit_lstm, fit_latent_ode])
def test_a_network_learns_to_go_on_with_a_wave(fit_method):
    train, test = (oscillation(n, seed).series[..., 20:50] for n, seed in ((16, 0), (8, 1)))
    settings = Fit(epochs=40, batch=8, lr=1e-2)
    model = fit_method(Windows(train, np.arange(len(train))), 20, settings, width=32)
    with torch.no_grad():
        found = model.forecast(test[..., :20], 10)
    assert found.shape == (32, 3, 10)
    assert r2_score(test[..., 20:].flatten(), found.flatten()) > 0.8


@pytest.mark.parametrize("fit_method", [fit_lstm, fit_latent_ode])
def test_a_fit_is_the_same_for_the_same_seed_and_leaves_the_global_generator(fit_method):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    x = first_order(4)
    a, b, c = (
        fit_method(x, OBSERVED, Fit(epochs=2, seed=s), width=8).state_dict() for s in (0, 0, 1)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not all(torch.equal(a[k], c[k]) for k in a)


def test_fitting_ends_with_the_weights_that_were_best_for_held_out_participants():
    x = first_order(10)
    module = torch.nn.Linear(OBSERVED, STEPS)  # overfits noise quickly

    def loss(series):
        return (module(series[..., :OBSERVED]) - series[..., OBSERVED:]).square().mean()

    history = fit(module, loss, x, Fit(epochs=100, patience=5, lr=1e-2))
    assert 5 < len(history) < 101
    rest = x[hold_out(x.who, 0)].series
    assert loss(rest).item() == pytest.approx(min(history), rel=1e-5)


def test_held_out_participants_have_no_window_among_the_others():
    who = first_order(10).who
    out = hold_out(who, 3)
    assert len(set(who[out])) == 2
    assert not set(who[out]) & set(who[~out])
    with pytest.raises(ValueError, match="found 1 training participants"):
        hold_out(np.array(["a", "a"]), 0)


# ---- the model


@pytest.mark.parametrize("mode", ["corrected", "reference"])
@pytest.mark.parametrize("kind", [brainlm, brainlm_vit])
@pytest.mark.parametrize(("n_observed", "steps"), [(40, 20), (45, 10)])
def test_any_future_is_forecast_from_what_is_observed(kind, mode, n_observed, steps):
    model, xyz = kind.build("tiny", 0, mode), torch.eye(3)
    observed = first_order(2).series[..., :n_observed]
    found = forecast(model, xyz, observed, steps)
    assert found.shape == (8, 3, steps)
    assert found.isfinite().all()
    changed = observed.clone()
    changed[..., 15] += 1  # in reference mode an image also hides some of the last ones
    assert not torch.equal(forecast(model, xyz, changed, steps), found)


@pytest.mark.parametrize("kind", [brainlm, brainlm_vit])
def test_a_forecast_is_what_the_model_predicts_where_the_future_is_hidden(kind):
    model, xyz = kind.build("tiny", 0).eval(), torch.eye(3)
    x = first_order(2).series
    mask = model.future_mask(len(x), 3, 60, 20)
    with torch.no_grad():
        predicted = model.reconstruct(x, xyz, mask)[0].flatten(2)[..., 40:]
    torch.testing.assert_close(forecast(model, xyz, x[..., :40], 20), predicted)


def test_too_short_a_past_is_refused():
    with pytest.raises(ValueError, match="found 10 observed timepoints, expected at least 20"):
        forecast(brainlm.build("tiny", 0), torch.eye(3), torch.zeros(1, 3, 10), 20)


def test_training_from_scratch_improves_on_initial_weights():
    model, xyz = brainlm.build("tiny", 0), torch.eye(3)
    train, test = oscillation(16), oscillation(8, seed=1)
    start = fresh(model, 0)
    scratch = fresh(model, 0)
    fit_future(scratch, xyz, train, OBSERVED, Fit(epochs=15, batch=8, lr=2e-3))
    future = test.series[..., OBSERVED:].flatten()
    errors = [
        (forecast(m, xyz, test.series[..., :OBSERVED], STEPS).flatten() - future).square().mean()
        for m in (start, scratch)
    ]
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize("kind", [brainlm, brainlm_vit])
def test_training_needs_no_whole_patches(kind):
    model = kind.build("tiny", 0)
    train = Windows(first_order(8).series[..., :55], first_order(8).who)
    before = forecast(model, torch.eye(3), train.series[..., :45], 10)
    fit_future(model, torch.eye(3), train, 45, Fit(epochs=8, batch=8))
    after = forecast(model, torch.eye(3), train.series[..., :45], 10)
    errors = [(p - train.series[..., 45:]).square().mean() for p in (before, after)]
    assert errors[1] < errors[0]


# ---- scores


def test_scores_of_a_step_are_scikit_learns_and_scipys():
    test, model = first_order(5, seed=2), fit_autoregression(first_order(5), OBSERVED)
    table = score_forecasts(
        {"last_value": last_value, "ar": model.forecast}, test, OBSERVED, 200, 0, batch=3
    ).set_index(["method", "step"])
    found = model.forecast(test.series[..., :OBSERVED], STEPS)
    future = test.series[..., OBSERVED:]
    for step, part in ((3, (..., 2)), (0, ...)):
        row = table.loc[("ar", step)]
        y, p = future[part].flatten(), found[part].flatten()
        assert row["r2"] == pytest.approx(r2_score(y, p), abs=1e-6)
        assert row["pearson"] == pytest.approx(pearsonr(y, p).statistic, abs=1e-6)
        assert row["r2_low"] < row["r2"] < row["r2_high"]
        held = last_value(test.series[..., :OBSERVED], STEPS)[part].flatten()
        gain = r2_score(y, p) - r2_score(y, held)
        assert row["r2_gain"] == pytest.approx(gain, abs=1e-6)
        assert row["r2_gain_low"] < gain < row["r2_gain_high"]
    assert (table.loc["last_value"][["r2_gain", "r2_gain_low", "r2_gain_high"]] == 0).all(axis=None)


def test_intervals_hold_participants_together():
    test = first_order(5, seed=2, per_person=1)
    copies = Windows(test.series.repeat(8, 1, 1), np.tile(test.who, 8))
    strangers = Windows(copies.series, np.arange(len(copies.who)))
    widths = []
    for windows in (test, copies, strangers):
        row = score_forecasts({"last_value": last_value}, windows, OBSERVED, 500, 0).iloc[0]
        widths.append(row["mse_high"] - row["mse_low"])
    assert widths[1] == pytest.approx(widths[0], rel=1e-6)  # repeated windows add no information
    assert widths[2] < widths[0] / 2


def test_all_methods_are_compared_and_no_test_value_enters_a_fit():
    model, xyz = brainlm.build("tiny", 0), torch.eye(3)
    train, test = first_order(4), first_order(3, seed=1)
    settings = Fit(epochs=2, batch=8)
    table = compare_forecasts(model, xyz, train, test, OBSERVED, settings, n_draws=20)
    assert table["method"].nunique() == 7
    assert len(table) == 7 * (1 + STEPS)
    assert table[["mse", "variance", "r2"]].notna().all(axis=None)
    one = Windows(test.series[:4], test.who[:4])
    alone = compare_forecasts(model, xyz, train, one, OBSERVED, settings, n_draws=20)
    again = compare_forecasts(model, xyz, train, one, OBSERVED, settings, n_draws=20)
    assert alone.equals(again)
    with pytest.raises(ValueError, match="such as 0-0"):
        compare_forecasts(model, xyz, train, train, OBSERVED, settings)
    short = Windows(test.series[..., 1:], test.who)
    with pytest.raises(ValueError, match="the same parcels and timepoints"):
        compare_forecasts(model, xyz, train, short, OBSERVED, settings)
