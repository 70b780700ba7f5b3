"""Which participants are used for early stopping, and when training stops."""

import numpy as np

from brainmass_core.finetune.methods.networks import BrainNetCNN
from brainmass_core.finetune.methods.neural import NetworkClassifier

N_EDGES = 28


def scans(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, N_EDGES)).astype(np.float32), np.arange(n) % 2


def test_edges_are_standardised_by_the_scans_that_are_trained_on_alone():
    X, y = scans()
    model = NetworkClassifier(BrainNetCNN(edge_maps=2), max_epochs=1).fit(X, y)
    inner = np.setdiff1d(np.arange(len(X)), model.validation_)
    assert 0 < len(model.validation_) < len(X)
    np.testing.assert_allclose(model.mean_, X[inner].mean(0), atol=1e-6)
    np.testing.assert_allclose(model.scale_, X[inner].std(0), atol=1e-6)


def test_training_ends_as_many_epochs_after_the_best_one_as_patience_says():
    X, y = scans()
    recipe = BrainNetCNN(edge_maps=2, lr=0.01)  # overfits the noise
    model = NetworkClassifier(recipe, max_epochs=60, patience=3).fit(X, y)
    held_back = [epoch["validation"] for epoch in model.history_]
    assert len(held_back) < 60
    assert int(np.argmin(held_back)) + 1 == model.n_epochs_
    assert len(held_back) == model.n_epochs_ + 3
