"""Attention of the CLS token by participant, and contrasts of groups, compared with scipy."""

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind

from brainmass_core.encoders.brainlm import model as brainlm
from brainmass_core.encoders.brainlm import vit as brainlm_vit
from brainmass_core.series_model.attention import attention_by_participant, contrast

PARCELS = 6
WHO = np.array(["b", "a", "b", "c"])


@pytest.fixture
def windows():
    return torch.randn(len(WHO), PARCELS, 60, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def coordinates():
    return 40 * torch.randn(PARCELS, 3, generator=torch.Generator().manual_seed(1))


def test_attention_is_the_mean_over_heads_patches_and_windows_of_a_participant(
    windows, coordinates
):
    model = brainlm.build("tiny", 0)
    people, found = attention_by_participant(model, windows, coordinates, WHO, batch=3)
    model.eval()
    with torch.no_grad():
        x, attention = model.before_last(windows, coordinates)
        weights = attention.weights(x, torch.zeros(4, 1, dtype=torch.long))[:, :, 0, 1:]
    by_window = 18 * weights.unflatten(2, (PARCELS, 3)).mean((1, 3)).numpy()
    assert people.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(found[1], by_window[[0, 2]].mean(0), rtol=1e-5)
    np.testing.assert_allclose(found[0], by_window[1], rtol=1e-5)


def test_attention_is_one_where_it_is_uniform(windows, coordinates):
    model = brainlm.build("tiny", 0)
    with torch.no_grad():
        for part in (model.layers[-1].attention.qkv.weight, model.layers[-1].attention.qkv.bias):
            part.zero_()
    found = attention_by_participant(model, windows, coordinates, WHO)[1]
    np.testing.assert_allclose(found, 18 / 19, rtol=1e-5)  # the CLS token also attends to itself


def test_parcels_cannot_be_told_apart_by_a_model_whose_tokens_mix_them(windows, coordinates):
    with pytest.raises(ValueError, match="tokens mix 16 parcels"):
        attention_by_participant(brainlm_vit.build("tiny", 0), windows, coordinates, WHO)
    with pytest.raises(ValueError, match="1 participants for 4 windows"):
        attention_by_participant(brainlm.build("tiny", 0), windows, coordinates, WHO[:1])


def test_a_planted_difference_is_found_and_no_other():
    rng = np.random.default_rng(0)
    group = np.repeat(["patient", "control"], [15, 20])
    attention = rng.normal(1, 0.1, (35, 40))
    attention[:15, [3, 17]] += 0.3
    found = contrast(attention, group, 999, 0)
    assert found.groups == ("control", "patient")
    assert found.n == (20, 15)
    assert np.flatnonzero(found.p_family < 0.05).tolist() == [3, 17]
    assert (found.difference[[3, 17]] > 0.2).all()
    expected = ttest_ind(attention[:15], attention[15:], equal_var=False)
    np.testing.assert_allclose(found.t, expected.statistic)
    np.testing.assert_allclose(found.p, expected.pvalue, atol=0.06)
    assert (found.p_family >= found.p - 1e-12).all()


def test_without_a_difference_the_chance_of_any_finding_is_held():
    rng = np.random.default_rng(1)
    group = np.repeat(["a", "b"], 8)
    runs = [contrast(rng.normal(size=(16, 20)), group, 99, i) for i in range(100)]
    assert np.mean([r.p_family.min() <= 0.05 for r in runs]) < 0.12
    assert np.mean([r.p.min() <= 0.05 for r in runs]) > 0.4  # one by one it is not


def test_copies_of_a_parcel_cost_nothing():
    one = np.random.default_rng(3).normal(size=(16, 1))
    found = contrast(one.repeat(10, 1), np.repeat(["a", "b"], 8), 499, 0)
    np.testing.assert_allclose(found.p_family, found.p, atol=1e-12)


def test_exact_p_values_count_all_shuffles():
    attention = np.array([0.0, 0.1, 0.2, 1.0, 1.1, 1.2])[:, None]
    found = contrast(attention, np.repeat(["a", "b"], 3), 9999, 0)
    assert (
        found.p[0] == found.p_family[0] == pytest.approx(2 / 20)
    )  # this one and its mirror image, of 6 over 3


def test_groups_that_cannot_be_compared_are_refused_with_what_was_found():
    with pytest.raises(ValueError, match="found 3 of a, expected two groups"):
        contrast(np.zeros((3, 2)), np.array(["a", "a", "a"]), 9, 0)
    with pytest.raises(ValueError, match="2 of a, 1 of b"):
        contrast(np.zeros((3, 2)), np.array(["a", "a", "b"]), 9, 0)
