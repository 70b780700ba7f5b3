"""Gradients of a linear encoder, for which they are known."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from brainmass_core.interpret.explained_model import Probe
from brainmass_core.interpret.series import series_gradients


class Weighted(nn.Module):
    """A linear encoder with known gradients."""

    def __init__(self, n_timepoints: int) -> None:
        super().__init__()
        weights = torch.from_numpy(np.random.default_rng(3).standard_normal((2, 4, n_timepoints)))
        self.weights = nn.Parameter(weights.float(), requires_grad=False)

    def encode(self, series: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
        return torch.einsum("brt,drt->bd", series, self.weights)


def test_of_a_linear_encoder_each_parcel_has_its_own_part_of_the_score():
    rng, model = np.random.default_rng(0), Weighted(6)
    # as many windows as a recording has
    windows = [rng.standard_normal((n, 4, 6)).astype(np.float32) for n in (1, 3, 2, 2)]
    y, weight = np.array([0, 1, 0, 1]), np.array([0.7, -0.2])
    probe = Probe(np.zeros(2), np.full(2, 20.0), weight, 0.3, 2.0)
    found = series_gradients(model, probe, windows, np.zeros((4, 3), np.float32), y, 4)
    w = model.weights.numpy()
    by_hand = np.stack(
        [np.einsum("wrt,drt,d->r", x, w, weight) / len(x) / 20.0 / 2.0 for x in windows]
    )
    expected = by_hand[y == 1].mean(axis=0) - by_hand[y == 0].mean(axis=0)
    np.testing.assert_allclose(found.importance, expected, rtol=1e-4, atol=1e-6)
    assert found.error < 1e-4
