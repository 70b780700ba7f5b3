"""Principal components of wide features, fitted to the training scans of a fold."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted

N_COMPONENTS = 200  # as for raw series in BrainLM's notebooks


class Components(TransformerMixin, BaseEstimator):
    """The first principal components, limited by the number of training scans.

    Parameters
    ----------
    n_components : int
        Maximum number.
    """

    def __init__(self, n_components: int = N_COMPONENTS) -> None:
        self.n_components = n_components

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Fit to training scans.

        Parameters
        ----------
        X : ndarray (n_scans, n_features)
        """
        n = min(self.n_components, *X.shape)
        self.pca_ = PCA(n, svd_solver="full").fit(X)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Scores of the components.

        Parameters
        ----------
        X : ndarray (n_scans, n_features)

        Returns
        -------
        ndarray (n_scans, n)
            n is the smallest of `n_components`, the number of training scans and n_features.
        """
        check_is_fitted(self)
        return self.pca_.transform(X)
