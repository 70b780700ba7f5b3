"""Networks of parcels: planted communities, scikit-learn's k-NN, and attention computed by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from brainmass_core.atlas import published_labels
from brainmass_core.encoders.brainlm import model as brainlm
from brainmass_core.encoders.brainlm import vit as brainlm_vit
from brainmass_core.series_model.fitting import Fit
from brainmass_core.series_model.graph import adjacency_of
from brainmass_core.series_model.networks import (
    _cells,
    _votes,
    classify_by_graph,
    classify_by_neighbours,
    known_networks,
)
from brainmass_core.series_model.profiles import (
    attention_profiles,
    correlation_profiles,
    fit_vae,
)
from brainmass_core.series_model.windows import mean_by_participant

PARCELS = 30
NETWORKS = np.array(["Vis", "Default", "Limbic"])[np.arange(PARCELS) % 3]
WHO = np.array(["a", "a", "b", "c"])


def communities(strength: float, seed: int = 0, n: int = len(WHO)) -> torch.Tensor:
    """Series (n, 30, 80) of parcels that share a signal with those of their network."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 3, 80))[:, np.arange(PARCELS) % 3]
    return torch.from_numpy(strength * shared + rng.normal(size=(n, PARCELS, 80)))


@pytest.mark.parametrize("scheme", ["within", "across"])
def test_planted_communities_are_found_and_shuffled_labels_are_not(scheme):
    profiles = correlation_profiles(communities(1.0))
    found = classify_by_neighbours(profiles, NETWORKS, WHO, scheme, 60, 0)
    assert found.balanced_accuracy > 0.95
    assert found.p == 1 / 61
    assert found.chance_high < 0.7
    assert found.chance_low < 1 / 3 < found.chance_high
    assert found.low <= found.balanced_accuracy <= found.high
    np.testing.assert_allclose(found.recalls.mean(), found.balanced_accuracy)


@pytest.mark.parametrize("scheme", ["within", "across"])
def test_series_without_communities_are_at_chance(scheme):
    found = classify_by_neighbours(
        correlation_profiles(communities(0.0)), NETWORKS, WHO, scheme, 40, 0
    )
    assert found.chance_low - 0.05 < found.balanced_accuracy < found.chance_high + 0.05
    assert found.p > 0.02


@pytest.mark.parametrize("scheme", ["within", "across"])
def test_predictions_are_scikit_learns_neighbours(scheme):
    profiles = correlation_profiles(communities(0.3))
    found = classify_by_neighbours(profiles, NETWORKS, WHO, scheme, 0, 0, neighbours=(5,))
    expected = np.empty((len(WHO), PARCELS), dtype=object)
    for known, unknown, train, test in _cells(WHO, PARCELS, scheme, 0):
        for i in test:
            rows = profiles[np.ix_([i] if scheme == "within" else train, known)]
            rows = rows.reshape(-1, PARCELS)
            scaler = StandardScaler().fit(rows)
            names = np.tile(NETWORKS[known], len(rows) // len(known))
            knn = KNeighborsClassifier(5).fit(scaler.transform(rows), names)
            expected[i, unknown] = knn.predict(scaler.transform(profiles[i, unknown]))
    assert (found.predicted == expected).all()
    truth = np.tile(NETWORKS, len(WHO))
    score = balanced_accuracy_score(truth, expected.ravel().astype(str))
    assert found.balanced_accuracy == pytest.approx(score)


@pytest.mark.parametrize("scheme", ["within", "across"])
def test_no_parcel_is_told_its_network_by_itself_nor_across_by_its_own_participant(scheme):
    tested = np.zeros((len(WHO), PARCELS), int)
    for known, unknown, train, test in _cells(WHO, PARCELS, scheme, 0):
        assert not set(known) & set(unknown)
        if scheme == "across":
            assert not set(WHO[train]) & set(WHO[test])
        tested[np.ix_(test, unknown)] += 1
    assert (tested == 1).all()


def test_ties_go_to_the_lowest_class_and_the_nearest_alone_decides_for_one_neighbour():
    assert _votes(np.array([[2, 1, 1], [2, 1, 0]]), np.array([1, 3])).tolist() == [[2, 2], [1, 0]]


def test_the_number_of_neighbours_is_chosen_among_known_parcels():
    # nine of ten labels are right within two clusters: one neighbour errs more often than many
    rng = np.random.default_rng(0)
    cluster = np.arange(60) % 2
    features = (4 * cluster + rng.normal(size=(3, 60)))[..., None]
    networks = np.where(rng.random(60) < 0.15, 1 - cluster, cluster).astype(str)
    args = (features, networks, np.arange(3), "within", 0, 0)
    one = classify_by_neighbours(*args, neighbours=(1,)).balanced_accuracy
    chosen = classify_by_neighbours(*args, neighbours=(1, 15)).balanced_accuracy
    assert chosen > one + 0.03


@pytest.mark.parametrize("scheme", ["within", "across"])
def test_a_graph_network_finds_planted_communities(scheme):
    profiles = correlation_profiles(communities(0.7))
    n_permutations = int(scheme == "within")
    found = classify_by_graph(profiles, profiles, NETWORKS, WHO, scheme, n_permutations, 0)
    assert found.balanced_accuracy > 0.9
    assert (found.chance < 0.7).all()


def test_a_graph_is_symmetric_normalised_and_keeps_the_strongest_neighbours():
    z = correlation_profiles(communities(0.5))
    a = adjacency_of(z, degree=4).numpy()
    np.testing.assert_allclose(a, a.transpose(0, 2, 1), atol=1e-7)
    assert np.linalg.eigvalsh(a).max() == pytest.approx(1, abs=1e-5)
    for graph, weights in zip(a, z, strict=True):
        for i in range(PARCELS):
            strongest = np.argsort(-weights[i])[:4]
            assert (graph[i, strongest[weights[i, strongest] > 0]] > 0).all()


def test_an_embedding_fitted_to_other_participants_keeps_the_communities():
    other = correlation_profiles(communities(0.7, seed=1, n=8))
    embed = fit_vae(other, np.arange(8), 4, Fit(epochs=40, batch=2), width=32)
    features = embed(correlation_profiles(communities(0.7, seed=2)))
    assert features.shape == (len(WHO), PARCELS, 4)
    found = classify_by_neighbours(features, NETWORKS, WHO, "within", 0, 0)
    assert found.balanced_accuracy > 0.8


def test_correlation_profiles_are_fishers_z_of_numpys_correlation():
    series = communities(0.5)
    series[0, 3] = 1.0
    z = correlation_profiles(series)
    expected = np.arctanh(np.corrcoef(series[1].numpy()) - np.eye(PARCELS))
    np.testing.assert_allclose(z[1], expected, atol=1e-7)
    assert (z[0, 3] == 0).all()


def test_attention_profiles_are_sums_of_the_last_layers_weights(monkeypatch):
    model = brainlm.build("tiny", 0).eval()
    series, xyz = communities(0.5)[:2, :6].float(), 40 * torch.randn(6, 3)
    found = attention_profiles(model, series, xyz)
    with torch.no_grad():
        x, attention = model.before_last(series, xyz)
        rows = torch.arange(25).expand(2, -1)
        weights = attention.weights(x, rows).mean(1)[:, :, 1:].unflatten(2, (6, 4)).sum(3)
        cls = model.cls_attention(series, xyz)
    between = weights[:, 1:].unflatten(1, (6, 4)).mean(2).numpy()
    off = ~np.eye(6, dtype=bool)
    np.testing.assert_allclose(found[:, :, :6][:, off], between[:, off], atol=1e-6)
    assert (found[:, range(6), range(6)] == 0).all()
    np.testing.assert_allclose(found[:, :, 6], cls, atol=1e-6)
    monkeypatch.setattr("brainmass_core.series_model.profiles.MAX_WEIGHTS", 7 * 25 * 2)
    np.testing.assert_allclose(attention_profiles(model, series, xyz), found, atol=1e-6)


def test_attention_of_tokens_that_mix_parcels_is_refused():
    with pytest.raises(ValueError, match="BrainLMViT, whose tokens mix 16 parcels"):
        attention_profiles(brainlm_vit.build("tiny", 0), torch.zeros(1, 6, 40), torch.zeros(6, 3))


def test_networks_are_the_atlas_or_the_nearest_schaefer_centroids_and_far_parcels_have_none():
    labels = published_labels()
    kept, networks, source = known_networks(labels)
    assert (source, len(kept), len(set(networks))) == ("atlas", 100, 7)
    nameless = labels.assign(network="", x=labels["x"] + 1)
    nameless.loc[4, ["x", "y", "z"]] = [0.0, -60.0, -80.0]
    kept, found, source = known_networks(nameless)
    assert source == "nearest"
    assert kept.tolist() == [*range(4), *range(5, 100)]
    assert (found == networks[kept]).all()
    with pytest.raises(ValueError, match="coordinates"):
        known_networks(nameless.assign(x=np.nan))


def test_means_by_participant_count_each_window_once():
    rows = np.arange(8.0).reshape(4, 2)
    np.testing.assert_allclose(mean_by_participant(rows, WHO), [[1, 2], [4, 5], [6, 7]])


def test_what_does_not_fit_is_refused_with_what_was_found():
    profiles = correlation_profiles(communities(1.0))
    with pytest.raises(ValueError, match="found scheme 'between'"):
        classify_by_neighbours(profiles, NETWORKS, WHO, "between", 0, 0)
    with pytest.raises(ValueError, match=r"shape \(4, 30, 30\), expected \(4, 29"):
        classify_by_neighbours(profiles, NETWORKS[1:], WHO, "within", 0, 0)
    with pytest.raises(ValueError, match="found one participant"):
        classify_by_neighbours(profiles, NETWORKS, np.zeros(4), "across", 0, 0)
    with pytest.raises(ValueError, match="found 8 parcels"):
        classify_by_neighbours(profiles[:, :8], NETWORKS[:8], WHO, "within", 0, 0)
