"""The tangent space of correlation matrices at their geometric mean."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from brainmass_core.connectivity import unvectorise

SHRINKAGE = 0.1
MEAN_SCANS = 100  # each needs ten eigendecompositions; more do not improve the reference point
CHUNK = 256  # scans transformed together


class _Given(BaseEstimator):
    """A covariance "estimator" that returns its input."""

    def fit(self, X: np.ndarray, y: None = None) -> Self:
        self.covariance_ = X
        return self


class TangentSpace(TransformerMixin, BaseEstimator):
    """Transform FC vectors to the tangent space at the mean of the training scans, with nilearn.

    FC is a correlation matrix R, which is singular and has no logarithm if there are fewer
    timepoints than parcels. So it is shrunk to the identity, ``0.9 R + 0.1 I``, whose eigenvalues
    are at least 0.1; the amount is fixed. Using R instead of the series gives this method exactly
    the same FC as the others. With G the geometric mean of the training scans, a scan becomes
    ``log(G^-1/2 R G^-1/2)`` (Varoquaux et al. 2010, doi:10.1007/978-3-642-15705-9_25).

    Parameters
    ----------
    mean_scans : int
        Maximum number of training scans for the mean, evenly spaced in their order, so that data
        sets and sites are represented proportionally. Any matrix near the scans can be the
        reference point; the following estimator uses all scans.
    """

    def __init__(self, shrinkage: float = SHRINKAGE, mean_scans: int = MEAN_SCANS) -> None:
        self.shrinkage = shrinkage
        self.mean_scans = mean_scans

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Compute the geometric mean.

        Parameters
        ----------
        X : ndarray (n_scans, n_edges)
        """
        # importing it is as slow as importing torch
        from nilearn.connectome import (
            ConnectivityMeasure,
        )

        self.measure_ = ConnectivityMeasure(
            cov_estimator=_Given(), kind="tangent", vectorize=True, standardize=False
        )
        rows = np.linspace(0, len(X) - 1, min(len(X), self.mean_scans)).round().astype(int)
        self.measure_.fit(self._matrices(X[rows]))
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Vectors in the tangent space at the mean of the training scans.

        Parameters
        ----------
        X : ndarray (n_scans, n_edges)

        Returns
        -------
        ndarray (n_scans, n_rois (n_rois + 1) / 2)
            With the diagonal, divided by sqrt 2.
        """
        parts = [X[i : i + CHUNK] for i in range(0, len(X), CHUNK)]
        return np.concatenate([self.measure_.transform(self._matrices(part)) for part in parts])

    def _matrices(self, X: np.ndarray) -> list[np.ndarray]:
        full = [unvectorise(np.asarray(x, dtype=np.float64)) for x in X]
        return [(1 - self.shrinkage) * m + self.shrinkage * np.eye(len(m)) for m in full]
