"""The model that is explained: a linear probe on the frozen pre-trained encoder.

`explain` has the exceptions: ``fc_pattern`` explains a linear model of FC, and ``attention`` is
that of the encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

CLIP_SD = 5.0  # as in the scored methods: a readout unit may only become active in test scans


@dataclass(frozen=True)
class Probe:
    """Logistic regression on the standardised, clipped embedding.

    Attributes
    ----------
    centre, scale, weight : ndarray (embedding_dim,)
    bias : float
    unit : float
        Standard deviation of its score over the training scans.
    """

    centre: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    bias: float
    unit: float

    def score(self, embedding: np.ndarray) -> np.ndarray:
        """Log odds of the positive class (n_scans,), in units of their training SD."""
        z = np.clip((embedding - self.centre) / self.scale, -CLIP_SD, CLIP_SD)
        return (z @ self.weight + self.bias) / self.unit

    def on(self, encode: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The same score as a differentiable function of FC: (B, n_edges) to (B,)."""

        def tensor(x: np.ndarray, like: Tensor) -> Tensor:
            return torch.as_tensor(x, dtype=torch.float32, device=like.device)

        def score(fc: Tensor) -> Tensor:
            embedding = encode(fc).float()
            z = (embedding - tensor(self.centre, fc)) / tensor(self.scale, fc)
            linear = z.clamp(-CLIP_SD, CLIP_SD) @ tensor(self.weight, fc)
            return (linear + self.bias) / self.unit

        return score


def fit_probe(embedding: np.ndarray, y: np.ndarray) -> Probe:
    """Fit to the training scans of a fold, with C = 1 and without tuning.

    Parameters
    ----------
    embedding : ndarray (n_scans, embedding_dim)
    y : ndarray (n_scans,)
        0 or 1.
    """
    scaler = StandardScaler().fit(embedding.astype(np.float64))
    z = np.clip(scaler.transform(embedding.astype(np.float64)), -CLIP_SD, CLIP_SD)
    model = LogisticRegression(C=1.0, max_iter=2000).fit(z, y)
    score = model.decision_function(z)
    unit = float(score.std()) or 1.0
    return Probe(scaler.mean_, scaler.scale_, model.coef_[0], float(model.intercept_[0]), unit)
