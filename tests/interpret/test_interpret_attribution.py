import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from brainmass_core.connectivity import unvectorise
from brainmass_core.encoders.brainmass.model import build
from brainmass_core.finetune.methods.embedding import embed
from brainmass_core.interpret.attribution import (
    donors,
    edges_of,
    integrated_gradients,
    linear_pattern,
    permutation_importance,
    slope,
)
from brainmass_core.interpret.explained_model import Probe, fit_probe

N = 12
EDGES = N * (N - 1) // 2


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_the_edges_of_a_region_are_its_row_of_the_matrix(rng):
    fc = rng.standard_normal(EDGES)
    matrix = unvectorise(fc)
    for roi, edges in enumerate(edges_of(N)):
        np.testing.assert_array_equal(fc[edges], np.delete(matrix[roi], roi))


def test_the_slope_on_two_classes_is_the_difference_of_their_means(rng):
    y, values = np.array([0, 1, 1, 0, 1]), rng.standard_normal((5, 3))
    np.testing.assert_allclose(slope(values, y), values[y == 1].mean(0) - values[y == 0].mean(0))


class Linear:
    """An encoder whose embedding is the FC itself."""

    def eval(self):
        return self

    def to(self, device):
        return self

    def encode(self, fc):
        return fc


def test_integrated_gradients_of_a_linear_model_are_weight_times_change(rng):
    fc, y = rng.standard_normal((6, EDGES)), np.array([0, 1] * 3)
    weight, start = rng.standard_normal(EDGES), rng.standard_normal(EDGES)
    probe = Probe(np.zeros(EDGES), np.full(EDGES, 10.0), weight, 0.3, 2.0)
    found = integrated_gradients(Linear(), probe, fc, y, start, n_steps=4)
    edges = weight * (fc - start) / 20
    of_roi = 0.5 * edges[:, edges_of(N)].sum(-1)
    np.testing.assert_allclose(found.importance, slope(of_roi, y), rtol=1e-4, atol=1e-7)
    assert found.error < 1e-5


def test_the_contributions_of_all_regions_add_up_to_the_separation_of_the_classes(rng):
    model = build("tiny", N, seed=3).eval().requires_grad_(False)
    fc = np.tanh(rng.standard_normal((24, EDGES))).astype(np.float32)
    y = np.arange(24) % 2
    embedding = embed(model, fc)
    probe = fit_probe(embedding[:20], y[:20])
    found = integrated_gradients(model, probe, fc[20:], y[20:], fc[:20].mean(0), n_steps=200)
    whole = slope(probe.score(embedding[20:]), y[20:])
    # rectifiers have kinks, across which no quadrature is exact
    assert found.importance.sum() == pytest.approx(whole, abs=0.02)
    assert found.error < 0.02


def test_the_probe_is_the_pipeline_of_scikit_learn_on_both_sides(rng):
    embedding, y = rng.standard_normal((40, 8)), np.arange(40) % 2
    embedding[:, 0] += y
    probe = fit_probe(embedding, y)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(embedding, y)
    expected = pipeline.decision_function(embedding)
    np.testing.assert_allclose(probe.score(embedding) * probe.unit, expected, rtol=1e-6)
    tensor = probe.on(lambda x: x)(torch.from_numpy(embedding.astype(np.float32)))
    np.testing.assert_allclose(tensor.numpy(), probe.score(embedding), atol=1e-5)
    assert probe.score(embedding).std() == pytest.approx(1)


@pytest.mark.parametrize("scans", [[1, 1, 1, 1, 1], [2, 1, 1, 2], [3, 1, 2, 1]])
def test_nobody_is_given_a_region_of_their_own(rng, scans):
    people = np.repeat(np.arange(len(scans)), scans)
    for _ in range(20):
        given = donors(people, rng)
        assert sorted(given) == list(range(len(people)))
        assert (people[given] != people).all()


def test_a_region_that_a_score_does_not_use_has_no_permutation_importance(rng):
    fc, y = rng.standard_normal((40, EDGES)), np.arange(40) % 2
    used = edges_of(N)[4]
    fc[:, used] += 2.0 * y[:, None]

    def score(x):
        return x[:, used].sum(1)

    found = permutation_importance(score, fc, y, np.arange(40), 5, rng).importance
    assert found.argmax() == 4
    # each of the others contains one of the eleven edges
    assert found[4] == pytest.approx(slope(score(fc), y), rel=0.5)
    assert np.delete(found, 4).max() < found[4] / 4
    nothing = permutation_importance(lambda x: x[:, 0] * 0, fc, y, np.arange(40), 2, rng)
    assert (nothing.importance == 0).all()


def test_the_pattern_is_haufe_s_covariance_times_weights(rng):
    train, test = rng.standard_normal((60, EDGES)), rng.standard_normal((10, EDGES))
    y = np.arange(60) % 2
    train[:, :5] += 1.5 * y[:, None]
    found, score = linear_pattern(train, y, test, np.arange(10) % 2)
    scaler = StandardScaler().fit(train)
    x = scaler.transform(train)
    svm = SVC(kernel="linear", tol=1e-6).fit(x, y)
    w = svm.coef_[0]
    pattern = np.cov(x.T) @ w / (w @ np.cov(x.T) @ w)
    np.testing.assert_allclose(found.importance, np.abs(pattern)[edges_of(N)].mean(1), rtol=2e-3)
    np.testing.assert_allclose(score, svm.decision_function(scaler.transform(test)), atol=2e-3)


def test_weights_blame_the_noise_that_they_cancel_and_the_pattern_does_not(rng):
    # Haufe et al. 2014, first example: one edge contains
    # signal and noise, the other only the noise
    y = np.arange(400) % 2
    noise = rng.standard_normal(400)
    train = np.zeros((400, EDGES))
    signal, nothing = 0, EDGES - 1
    train[:, signal] += y + noise
    train[:, nothing] += noise
    found, _ = linear_pattern(train, y, train[:20], y[:20])
    w = SVC(kernel="linear").fit(StandardScaler().fit_transform(train), y).coef_[0]
    assert abs(w[nothing]) > 0.5 * abs(w[signal])
    # the first edge joins regions 0 and 1, the last one the last two
    assert found.importance[:2].min() > 5 * found.importance[-2:].max()
