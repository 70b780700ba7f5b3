"""Networks on time series as scikit-learn estimators, with the training loop of all networks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from brainmass_core.finetune.methods.neural import NetworkClassifier, NetworkRegressor, device


class _OfSeries:
    """Input is windows (n_scans, n_rois * window) instead of FC."""

    def _n_rois(self, n_features: int) -> int:
        return 0  # models of series accept any number

    def _matrices(self, X: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(X, np.float32)).to(device())


class SeriesClassifier(_OfSeries, NetworkClassifier):
    """See `NetworkClassifier`."""


class SeriesRegressor(_OfSeries, NetworkRegressor):
    """See `NetworkRegressor`."""


KINDS: dict[str, type[NetworkClassifier] | type[NetworkRegressor]] = {
    "classification": SeriesClassifier,
    "regression": SeriesRegressor,
}
