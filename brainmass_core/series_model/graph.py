"""A graph convolutional network that predicts the networks of parcels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

DEGREE = 10  # strongest neighbours of a parcel


class GCN(nn.Module):
    """Two graph convolutions (Kipf and Welling 2017, arXiv:1609.02907) over a dense adjacency."""

    def __init__(self, n_features: int, width: int, n_classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.first = nn.Linear(n_features, width)
        self.second = nn.Linear(width, n_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """Scores of the classes for each parcel.

        Parameters
        ----------
        x : Tensor (n, n_rois, n_features)
        adjacency : Tensor (n, n_rois, n_rois)
            See `adjacency_of`.

        Returns
        -------
        Tensor (n, n_rois, n_classes)
        """
        x = functional.relu(adjacency @ self.first(self.dropout(x)))
        return adjacency @ self.second(self.dropout(x))


def adjacency_of(correlation: np.ndarray, degree: int = DEGREE) -> Tensor:
    """Symmetrically normalised graphs of the strongest positive correlations, with self-loops.

    Parameters
    ----------
    correlation : ndarray (n, n_rois, n_rois)
        On any scale that increases with the correlation, such as Fisher's z; the diagonal is
        ignored.
    degree : int
        Number of neighbours of each parcel; an edge exists if either parcel selects the other.

    Returns
    -------
    Tensor (n, n_rois, n_rois)
        ``D^-1/2 (A + I) D^-1/2``.
    """
    a = torch.from_numpy(np.asarray(correlation, np.float32)).clone()
    a.diagonal(dim1=1, dim2=2).zero_()
    a = a.clamp(min=0)
    strongest = a.topk(min(degree, a.shape[-1] - 1), dim=-1).indices
    kept = torch.zeros_like(a).scatter(-1, strongest, a.gather(-1, strongest))
    a = torch.maximum(kept, kept.transpose(1, 2)) + torch.eye(a.shape[-1])
    root = a.sum(-1).rsqrt()
    return a * root[:, :, None] * root[:, None]


def fit_gcn(
    x: Tensor,
    adjacency: Tensor,
    labels: Tensor,
    train: Tensor,
    n_classes: int,
    seed: int,
    width: int = 32,
    steps: int = 100,
    batch: int = 16,
) -> GCN:
    """Fit to the labels of some parcels, with classes weighted equally.

    Parameters
    ----------
    x, adjacency : Tensor (n, n_rois, n_features), (n, n_rois, n_rois)
        Training recordings; features of unlabelled parcels are also used.
    labels : Tensor (n_rois,), int64
    train : Tensor (n_train,), int64
        Labelled parcels.
    steps, batch : int
        Number of updates, and of recordings per update, drawn without replacement. Recordings are
        similar, and every shuffle of the labels is fitted again, so small numbers suffice.
    """
    counts = torch.bincount(labels[train], minlength=n_classes)
    weight = torch.where(counts > 0, 1 / counts.clamp(min=1), 0.0)
    target = labels[train].repeat(min(batch, len(x)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = GCN(x.shape[-1], width, n_classes)
        optimiser = torch.optim.Adam(module.parameters(), lr=1e-2, weight_decay=5e-4)
        for _ in range(steps):
            optimiser.zero_grad()
            some = torch.randperm(len(x))[:batch]
            scores = module(x[some], adjacency[some])[:, train]
            functional.cross_entropy(scores.flatten(0, 1), target, weight).backward()
            optimiser.step()
    return module.eval()
