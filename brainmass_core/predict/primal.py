"""Linear support vector machines as weights, without the training scans.

A fitted linear SVM in scikit-learn stores its training scans. But its decision is ``w'x + b``, so
the weights are sufficient for prediction, take a thousandth of the space, and contain no
participant's FC.
"""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.svm import SVC, SVR
from sklearn.utils.multiclass import _ovr_decision_function


class LinearClassifier(ClassifierMixin, BaseEstimator):
    """The decision of a fitted `SVC` with a linear kernel.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    coef_ : ndarray (n_pairs, n_features)
        Weights of each pair of classes, in libsvm's order; the second of two classes is positive.
    intercept_ : ndarray (n_pairs,)
    """

    classes_: np.ndarray
    coef_: np.ndarray
    intercept_: np.ndarray

    def fit(self, X: Any, y: Any) -> Self:
        """Raise an error, because it is made from a fitted SVM; scikit-learn requires the
        method."""
        raise TypeError("weights of a fitted SVM; fit an SVC")

    def decision_function(self, X: Any) -> np.ndarray:
        """Decision values of the one-versus-one classifiers, combined as scikit-learn does.

        Parameters
        ----------
        X : array (n_scans, n_features)

        Returns
        -------
        ndarray (n_scans,) or (n_scans, n_classes)
            For two classes the value of their only pair; for more scikit-learn's ``ovr``.
        """
        pairs = self._pairs(X)
        if len(self.classes_) == 2:
            return pairs[:, 0]
        return _ovr_decision_function(pairs < 0, -pairs, len(self.classes_))

    def predict(self, X: Any) -> np.ndarray:
        """The class that wins most pairs; the first one in a tie."""
        pairs = self._pairs(X)
        if len(self.classes_) == 2:
            return self.classes_[(pairs[:, 0] > 0).astype(int)]
        votes = np.zeros((len(pairs), len(self.classes_)))
        for won, (i, j) in zip(pairs.T, _pairs_of(len(self.classes_)), strict=True):
            votes[:, i] += won > 0
            votes[:, j] += won <= 0
        return self.classes_[votes.argmax(axis=1)]

    def _pairs(self, X: Any) -> np.ndarray:
        return _weighed(X, self.coef_) + self.intercept_


class LinearRegressor(RegressorMixin, BaseEstimator):
    """The prediction of a fitted `SVR` with a linear kernel.

    Attributes
    ----------
    coef_ : ndarray (1, n_features)
    intercept_ : ndarray (1,)
    """

    coef_: np.ndarray
    intercept_: np.ndarray

    def fit(self, X: Any, y: Any) -> Self:
        """Raise an error; see `LinearClassifier`."""
        raise TypeError("weights of a fitted SVM; fit an SVR")

    def predict(self, X: Any) -> np.ndarray:
        """(n_scans,)"""
        return (_weighed(X, self.coef_) + self.intercept_)[:, 0]


def primal(svm: SVC | SVR) -> LinearClassifier | LinearRegressor:
    """Weights of a fitted SVM whose kernel is the callable `linear_kernel`."""
    shown = getattr(svm, "_BaseLibSVM__Xfit")  # noqa: B009 - where scikit-learn stores the scans
    linear = copy.copy(svm)
    linear.kernel, linear.support_vectors_ = "linear", shown[svm.support_]
    made: Any = LinearClassifier() if isinstance(svm, SVC) else LinearRegressor()
    made.coef_ = np.ascontiguousarray(linear.coef_)
    made.intercept_ = np.array(svm.intercept_, dtype=np.float64)
    if isinstance(svm, SVC):
        made.classes_ = svm.classes_
    return made


def _weighed(X: Any, coef: np.ndarray) -> np.ndarray:
    """``X coef'`` (n_scans, n_pairs), summed by row, so that results do not depend on other
    scans."""
    x = np.ascontiguousarray(X, dtype=np.float64)
    return np.stack([(x * weights).sum(axis=1) for weights in coef], axis=1)


def _pairs_of(n: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(n) for j in range(i + 1, n)]
