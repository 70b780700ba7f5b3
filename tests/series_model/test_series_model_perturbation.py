"""Planted differences between two states, with a linear encoder and with a model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainmass_core.encoders.brainlm import model as brainlm
from brainmass_core.encoders.brainlm import vit as brainlm_vit
from brainmass_core.series_model.fitting import Fit, Windows, fit
from brainmass_core.series_model.perturbation import (
    FORMS,
    Search,
    _added,
    _penalty,
    cls_state,
    decoded_state,
    perturb,
)

PARCELS, TIMEPOINTS, SHIFTED = 8, 40, [2, 5]
QUICK = Search(steps=100, restarts=3, n_draws=3)


def rest(n: int, seed: int, course: np.ndarray | float = 0.0, level: float = 0.0) -> Windows:
    rng = np.random.default_rng(seed)
    x = 0.5 * rng.normal(size=(n, PARCELS, TIMEPOINTS)) + course
    x = x + level * rng.normal(size=(n, PARCELS, 1))
    return Windows(torch.from_numpy(x).float(), np.arange(n) // 2)


def shift(size: float = 1.5) -> np.ndarray:
    return size * np.isin(np.arange(PARCELS), SHIFTED)[:, None]


def linear(series: torch.Tensor) -> torch.Tensor:
    """An encoder with known states: mixtures of the parcels' means over time."""
    weight = torch.randn(PARCELS, 12, generator=torch.Generator().manual_seed(0))
    return series.mean(-1) @ weight


@pytest.fixture(scope="module")
def trained():
    xyz = 40 * torch.randn(PARCELS, 3, generator=torch.Generator().manual_seed(0))
    model = brainlm.build("tiny", 0, embedding_dropout=0.0)
    generator = torch.Generator().manual_seed(0)

    def loss(series):
        mask = model.random_mask(len(series), PARCELS, TIMEPOINTS, 0.5, generator)
        return model(series, xyz, mask)["reconstruction"]

    fit(model, loss, rest(64, 0, level=1.0), Fit(epochs=25, batch=16, lr=3e-3))
    return model, xyz


@pytest.mark.parametrize("form", FORMS)
def test_a_planted_shift_is_recovered_through_a_linear_encoder(form):
    settings = replace(QUICK, form=form, l2=1e-3)
    found = perturb(linear, rest(20, 1), rest(20, 2, shift()), settings)
    np.testing.assert_allclose(found.added.mean(1), shift()[:, 0], atol=0.15)
    assert set(np.argsort(-found.magnitude)[:2]) == set(SHIFTED)
    assert (found.remaining < 0.01).all()
    assert found.over_restarts[0] > 0.95
    assert found.over_draws[0] > 0.9
    assert (found.low <= found.high).all()
    assert (found.low[SHIFTED] > 1).all()


def test_windows_that_differ_more_than_the_states_do_not_lead_the_search_astray():
    """As for the classes of a cohort: a step uses 8 of 40 windows, whose mean is far off."""
    here, there = rest(40, 1, level=3.0), rest(40, 2, shift(0.5), level=3.0)
    found = perturb(linear, here, there, replace(QUICK, l2=0.0, n_draws=0, batch=8))
    assert (found.remaining < 0.005).all()
    apart = (there.series.mean(0) - here.series.mean(0)).mean(1)
    np.testing.assert_allclose(found.added.mean(1), apart, atol=0.15)


def test_a_planted_time_course_is_recovered_at_its_parcels_where_the_state_is_the_series():
    course = shift() * np.sin(2 * np.pi * np.arange(TIMEPOINTS) / 20)
    settings = replace(QUICK, form="low_rank", steps=300)
    found = perturb(lambda series: series.flatten(1), rest(60, 1), rest(60, 2, course), settings)
    for parcel in SHIFTED:
        assert np.corrcoef(found.added[parcel], course[parcel])[0, 1] > 0.9
    assert set(np.argsort(-found.magnitude)[:2]) == set(SHIFTED)


def test_a_planted_shift_is_recovered_through_a_briefly_trained_model(trained):
    state = decoded_state(*trained)
    settings = Search(steps=50, restarts=2, n_draws=1)
    found = perturb(state, rest(12, 1), rest(12, 2, shift()), settings)
    assert set(np.argsort(-found.magnitude)[:2]) == set(SHIFTED)
    others = np.setdiff1d(np.arange(PARCELS), SHIFTED)
    assert found.magnitude[SHIFTED].min() > 3 * found.magnitude[others].max()
    assert (found.added[SHIFTED] > 0).all()
    assert (found.remaining < 0.1).all()
    assert found.over_restarts[0] > 0.9


def test_a_state_that_does_not_tell_parcels_apart_is_seen_as_unstable():
    def total(series):
        return series.mean((1, 2))[:, None]

    settings = replace(QUICK, start=1.0, steps=60, l2=0.0)
    found = perturb(total, rest(20, 1), rest(20, 2, shift()), settings)
    assert (found.remaining < 0.05).all()
    assert found.over_restarts[0] < 0.6


def test_stronger_penalties_make_it_smaller_and_smoother():
    args = (lambda series: series.flatten(1), rest(20, 1), rest(20, 2, shift()))
    sizes, roughness = [], []
    for weight in (0.0, 10.0):
        settings = Search(
            "low_rank", l2=weight, smoothness=weight, steps=150, restarts=1, n_draws=0
        )
        added = perturb(*args, settings).added
        sizes.append(np.abs(added).mean())
        roughness.append(np.abs(np.diff(added)).mean() / np.abs(added).mean())
    assert sizes[1] < sizes[0] / 2
    assert roughness[1] < roughness[0]


def test_intervals_are_as_wide_as_participants_of_the_target_differ():
    alike, unlike = rest(20, 2, shift()), rest(20, 2, shift())
    unlike.series[:] = rest(20, 2).series + torch.from_numpy(
        shift() * (np.arange(20) // 2 % 2 * 2)[:, None, None]
    )
    settings = Search(steps=60, restarts=1, n_draws=8)
    widths = []
    for target in (alike, unlike):
        found = perturb(linear, rest(20, 1), target, settings)
        widths.append((found.high - found.low)[SHIFTED].min())
    assert widths[1] > 3 * widths[0]


def test_what_is_added_is_one_number_per_parcel_or_loadings_times_courses():
    a, b = torch.randn(3, 2), torch.randn(2, 5)
    torch.testing.assert_close(_added([a, b], 5), a @ b)
    constant = _added([a[:, :1]], 5)
    torch.testing.assert_close(constant, a[:, :1] * torch.ones(1, 5))
    expected = 0.1 * a[:, 0].square().mean()  # a constant has no roughness
    torch.testing.assert_close(_penalty(constant, Search(l2=0.1, smoothness=9.0)), expected)


def test_a_search_is_the_same_for_the_same_seed_also_in_parts():
    args = (linear, rest(20, 1), rest(20, 2, shift()))
    a, b = (perturb(*args, Search(steps=20, restarts=2, n_draws=2)) for _ in range(2))
    assert np.array_equal(a.added, b.added)
    assert np.array_equal(a.low, b.low)
    parts = perturb(*args, Search(steps=150, restarts=1, n_draws=0, batch=7))
    assert set(np.argsort(-parts.magnitude)[:2]) == set(SHIFTED)
    assert np.isnan(parts.low).all()
    assert np.isnan(parts.over_draws[0])


@pytest.mark.parametrize("mode", ["corrected", "reference"])
@pytest.mark.parametrize("kind", [brainlm, brainlm_vit])
@pytest.mark.parametrize("of", [cls_state, decoded_state])
def test_states_of_a_model_do_not_change_between_calls_and_carry_gradients(of, kind, mode):
    model, xyz = kind.build("tiny", 0, mode).train(), torch.eye(PARCELS, 3)
    state = of(model, xyz)
    series = rest(2, 0).series.requires_grad_()
    first, second = state(series), state(series)
    assert torch.equal(first, second)
    first.square().sum().backward()
    assert series.grad.abs().amax((0, 2)).min() > 0
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_states_that_do_not_differ_and_shapes_that_do_are_refused():
    with pytest.raises(ValueError, match="no difference to search for"):
        perturb(linear, rest(4, 1), rest(4, 1), QUICK)
    short = Windows(rest(4, 1).series[..., 1:], np.arange(4))
    with pytest.raises(ValueError, match="the same parcels and timepoints"):
        perturb(linear, rest(4, 1), short, QUICK)
    with pytest.raises(ValueError, match="found form 'wavelet'"):
        Search("wavelet")
