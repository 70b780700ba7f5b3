"""Scores of hidden values and complete recordings, compared with scikit-learn, scipy and numpy."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from sklearn.metrics import mean_squared_error, r2_score

from brainmass_core.encoders.brainlm import model as brainlm
from brainmass_core.encoders.brainlm import vit as brainlm_vit
from brainmass_core.series_model.reconstruction import (
    METHODS,
    _each_hidden_once,
    fill_with_mean,
    interpolate,
    mean_of_visible,
    reconstruct_recording,
    score_reconstruction,
)
from brainmass_core.series_model.scores import score_draws
from brainmass_core.series_model.windows import predict_values

PARCELS, TIMEPOINTS = 6, 60
WHO = np.array(["b", "a", "b", "c", "a"])
MODELS = [
    (brainlm, "corrected"),
    (brainlm, "reference"),
    (brainlm_vit, "corrected"),
    (brainlm_vit, "reference"),
]


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def windows():
    return numbers(len(WHO), PARCELS, TIMEPOINTS)


@pytest.fixture
def coordinates():
    return 40 * numbers(PARCELS, 3, seed=1)


@pytest.fixture(params=MODELS, ids=lambda p: f"{p[0].__name__.rsplit('.', 1)[1]}-{p[1]}")
def model(request):
    return request.param[0].build("tiny", 3, request.param[1])


def hidden_values(model, windows, coordinates, ratio, seed):
    """Target and prediction of each window, one window at a time."""
    generator = torch.Generator().manual_seed(seed)
    pairs = []
    model.eval()
    for one in windows[:, None]:
        mask = model.random_mask(1, PARCELS, TIMEPOINTS, ratio, generator)
        with torch.no_grad():
            predicted, hidden = predict_values(model, one, coordinates, mask)
        pairs.append((one[hidden].numpy(), predicted[hidden].numpy()))
    return pairs


def test_pooled_scores_and_those_of_each_participant_are_scikit_learns(model, windows, coordinates):
    found = score_reconstruction(model, windows, coordinates, WHO, 0.5, 7)
    pairs = hidden_values(model, windows, coordinates, 0.5, 7)
    y, p = (np.concatenate(side) for side in zip(*pairs, strict=True))
    pooled = found.pooled["model"]
    assert pooled["r2"] == pytest.approx(r2_score(y, p), abs=1e-5)
    assert pooled["pearson"] == pytest.approx(pearsonr(y, p).statistic, abs=1e-5)
    assert pooled["mse"] == pytest.approx(mean_squared_error(y, p), rel=1e-5)
    assert pooled["variance"] == pytest.approx(y.var(), rel=1e-5)
    assert found.participants.tolist() == ["a", "b", "c"]
    mine = [pairs[i] for i in np.flatnonzero(WHO == "b")]
    y, p = (np.concatenate(side) for side in zip(*mine, strict=True))
    assert found.each["model"]["r2"][1] == pytest.approx(r2_score(y, p), abs=1e-5)


def test_scores_do_not_depend_on_the_batch_but_on_the_seed(windows, coordinates):
    model = brainlm.build("tiny", 3)
    runs = [
        score_reconstruction(model, windows, coordinates, WHO, 0.5, seed, batch)
        for seed, batch in ((7, 1), (7, 2), (7, 32), (8, 32))
    ]
    r2 = [run.pooled["parcel_mean"]["r2"] for run in runs]
    assert r2[0] == r2[1] == r2[2] != r2[3]
    assert runs[0].pooled["model"]["r2"] == pytest.approx(runs[2].pooled["model"]["r2"], abs=1e-6)


def test_a_bad_prediction_scores_below_zero(windows, coordinates):
    model = brainlm.build("tiny", 3)
    with torch.no_grad():
        model.decoder.head[2].bias += 3
    found = score_reconstruction(model, windows, coordinates, WHO, 0.5, 7)
    assert found.pooled["model"]["r2"] < -5


def test_scoring_leaves_the_model_in_training_as_it_was(windows, coordinates):
    model = brainlm.build("tiny", 3).train()
    score_reconstruction(model, windows, coordinates, WHO, 0.5, 7)
    assert model.training


def test_interpolation_is_numpys_and_hidden_values_do_not_enter(windows):
    rng = np.random.default_rng(0)
    hidden = torch.from_numpy(rng.random((len(WHO), PARCELS, 3)) < 0.5).repeat_interleave(20, 2)
    hidden[0, 0] = True
    series = torch.where(hidden, torch.nan, windows)
    found = interpolate(series, hidden).numpy()
    time = np.arange(TIMEPOINTS)
    for i, j in np.ndindex(len(WHO), PARCELS):
        seen = ~hidden[i, j].numpy()
        expected = np.interp(time, time[seen], windows[i, j].numpy()[seen]) if seen.any() else 0.0
        np.testing.assert_allclose(found[i, j], np.broadcast_to(expected, 60), atol=1e-5)


def test_a_straight_line_is_interpolated_without_error_between_visible_patches():
    line = torch.arange(60.0)[None, None] / 10
    hidden = torch.zeros(1, 1, 60, dtype=torch.bool)
    hidden[..., 20:40] = True
    torch.testing.assert_close(interpolate(line, hidden), line)


def test_the_mean_is_that_of_the_visible_timepoints_of_the_parcel(windows):
    hidden = torch.zeros_like(windows, dtype=torch.bool)
    hidden[..., :20] = True
    hidden[0, 0] = True
    found = fill_with_mean(windows, hidden)
    expected = windows[..., 20:].mean(-1, keepdim=True).repeat(1, 1, TIMEPOINTS)
    expected[0, 0] = 0
    torch.testing.assert_close(found, expected)


def test_the_mean_of_visible_parcels_is_numpys_of_masked_values(windows):
    hidden = numbers(*windows.shape, seed=2) < 0
    hidden[0, :, 3] = True
    found = mean_of_visible(torch.where(hidden, torch.nan, windows), hidden)
    masked = np.ma.masked_array(windows.numpy(), hidden.numpy())
    expected = np.broadcast_to(masked.mean(1, keepdims=True).filled(0), windows.shape)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_sums_of_participants_give_the_scores_of_draws(windows, coordinates):
    found = score_reconstruction(brainlm.build("tiny", 3), windows, coordinates, WHO, 0.5, 7)
    draws = score_draws(found.sums["model"], 50, 0)["r2"]
    assert draws.shape == (50,)
    assert draws.min() < found.pooled["model"]["r2"] < draws.max()
    assert set(found.sums) == set(METHODS)


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.75])
def test_every_value_of_a_recording_is_predicted_while_it_is_hidden(model, coordinates, ratio):
    recording = numbers(PARCELS, 150, seed=2)
    args = (coordinates, TIMEPOINTS, ratio, 5)
    found = reconstruct_recording(model, recording, *args)
    assert found.shape == recording.shape
    assert found.isfinite().all()
    torch.testing.assert_close(found, reconstruct_recording(model, recording, *args, batch=2))
    assert not torch.equal(found, reconstruct_recording(model, recording, *args[:-1], 6))
    # a value has no influence on itself: it was hidden when it was predicted
    changed = recording.clone()
    changed[2, 3] += 100
    again = reconstruct_recording(model, changed, *args)
    assert again[2, 3] == found[2, 3]
    if ratio <= 0.5:  # with two masks of 0.75 it may be visible in neither
        assert not torch.equal(again, found)


def test_masks_of_a_recording_hide_each_token_once_where_the_ratio_divides(coordinates):
    model = brainlm.build("tiny", 3)
    masks = _each_hidden_once(model, PARCELS, TIMEPOINTS, 0.5, torch.Generator().manual_seed(0))
    hidden = [set(range(18)) - set(m.tolist()) for m in masks]
    assert len(hidden) == 2
    assert not hidden[0] & hidden[1]
    assert hidden[0] | hidden[1] == set(range(18))
    masks = _each_hidden_once(model, PARCELS, TIMEPOINTS, 0.75, torch.Generator().manual_seed(0))
    assert {len(m) for m in masks} == {4}  # 14 of 18 are hidden by every mask


def test_what_cannot_be_scored_is_refused_with_the_reason(windows, coordinates):
    model = brainlm.build("tiny", 3)
    with pytest.raises(ValueError, match="hides no token"):
        score_reconstruction(model, windows, coordinates, WHO, 0.0, 7)
    with pytest.raises(ValueError, match="2 participants for 5 windows"):
        score_reconstruction(model, windows, coordinates, WHO[:2], 0.5, 7)
    with pytest.raises(ValueError, match="recording of 40 timepoints, expected at least 60"):
        reconstruct_recording(model, windows[0, :, :40], coordinates, 60, 0.5, 0)
    with pytest.raises(ValueError, match="hides none"):
        reconstruct_recording(model, windows[0], coordinates, 60, 0.0, 0)
