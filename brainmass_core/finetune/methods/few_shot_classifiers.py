"""Simple classifiers for few labelled scans, for few-shot and zero-shot.

Features are neither z-scored nor selected, because the standard deviation of a feature cannot be
estimated from two scans. They are centred on the training scans and all divided by the same number.
All four classifiers then depend on inner products only, so the Gram matrix of all scans (nothing is
fitted) is computed once, and each fit works in the few dimensions that its training scans span.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import KernelPCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

MAX_NEIGHBOURS = 5


class Prototype(ClassifierMixin, BaseEstimator):
    """Nearest class mean (as in Snell et al. 2017, arXiv 1703.05175, without a network).

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    prototypes_ : ndarray (n_classes, n_features)
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Compute the mean of each class.

        Parameters
        ----------
        X : array (n_scans, n_features)
        y : array (n_scans,)
        """
        X, y = validate_data(self, X, y)
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        self.prototypes_ = np.stack([X[y == c].mean(axis=0) for c in self.classes_])
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Evidence from the squared distances to the class means.

        Parameters
        ----------
        X : array (n_scans, n_features)

        Returns
        -------
        ndarray (n_scans,) or (n_scans, n_classes)
            Of two classes the distance to the first minus that to the second, positive if the
            second is nearer. Of more classes minus the distance to each. All distances are squared.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        near = -euclidean_distances(X, self.prototypes_, squared=True)
        return near[:, 1] - near[:, 0] if len(self.classes_) == 2 else near

    def predict(self, X: Any) -> np.ndarray:
        """The class with the nearest mean.

        Parameters
        ----------
        X : array (n_scans, n_features)

        Returns
        -------
        ndarray (n_scans,)
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        return self.classes_[euclidean_distances(X, self.prototypes_).argmin(axis=1)]


# function of the number of training scans in the smallest class
CLASSIFIERS: dict[str, Callable[[int], Any]] = {
    "svm": lambda n: SVC(kernel="linear", C=1.0),
    "logistic": lambda n: LogisticRegression(C=1.0, max_iter=1000),
    "prototype": lambda n: Prototype(),
    "knn": lambda n: KNeighborsClassifier(min(MAX_NEIGHBOURS, 2 * n - 1), weights="distance"),
}


def gram(features: np.ndarray) -> np.ndarray:
    """Inner products (n_scans, n_scans) in float64 of features (n_scans, n_features).

    Features are shifted by those of the first scan, which preserves the precision of differences.

    Parameters
    ----------
    features : ndarray (n_scans, n_features)

    Returns
    -------
    ndarray (n_scans, n_scans) of float64
    """
    x = np.asarray(features, dtype=np.float64)
    x = x - x[:1]
    return x @ x.T


def coordinates(
    products: np.ndarray, train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of training and test scans in the space that the training scans span.

    Kernel PCA with all components: distances between training scans are those of the features,
    divided by a constant so that the average variance of a coordinate is 1.

    Parameters
    ----------
    products : ndarray (n_scans, n_scans)
        See `gram`.
    train, test : ndarray of int
        Rows.

    Returns
    -------
    ndarray (n_train, d), ndarray (n_test, d)
        With d < n_train. Rows of identical features give d = 1 and zeros.
    """
    pca = KernelPCA(kernel="precomputed", remove_zero_eig=True, eigen_solver="dense")
    inside = pca.fit_transform(products[np.ix_(train, train)])
    if not inside.shape[1] or not np.isfinite(inside).all():
        return np.zeros((len(train), 1)), np.zeros((len(test), 1))
    scale = np.sqrt(np.mean(inside**2))
    return inside / scale, pca.transform(products[np.ix_(test, train)]) / scale


def classify(
    name: str, inside: np.ndarray, y: np.ndarray, outside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit one of `CLASSIFIERS` and apply it.

    Parameters
    ----------
    inside, outside : ndarray (n_train, d), (n_test, d)
        Training and test scans, see `coordinates`.
    y : ndarray (n_train,) of int
        Class of each training scan.

    Returns
    -------
    scores : ndarray (n_test,) or (n_test, n_classes)
        Evidence for the second of two classes, or for each class.
    predicted : ndarray (n_test,)
    """
    model = CLASSIFIERS[name](int(np.unique(y, return_counts=True)[1].min()))
    model.fit(inside, y)
    if hasattr(model, "decision_function"):
        score = model.decision_function(outside)
    else:
        score = model.predict_proba(outside)
        score = score[:, 1] if score.shape[1] == 2 else score
    return score, model.predict(outside)
