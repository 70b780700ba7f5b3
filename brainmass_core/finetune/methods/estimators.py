"""Unfitted estimators of the methods, each as a scikit-learn pipeline.

All SVMs have C = 1, as in the paper; regressions use epsilon-insensitive SVMs. Embeddings and
confounds use the radial kernel with ``gamma="scale"``. FC, with many more edges than scans, uses
the linear kernel, an established strong baseline (Dadi et al. 2019,
doi:10.1016/j.neuroimage.2019.02.062), without tuning. Logistic and ridge regression and nearest
neighbours choose their single hyper-parameter by cross-validation within the training set, with
participants kept together.

Unlike in the paper, standardised embeddings are clipped at 5 SD. A readout unit that is on the flat
side of its leaky ReLU in all training scans has a very small variance; a test scan on the other
side can be 90 SD away, so that its radial kernel with every training scan is 0 and its score is
only the intercept.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics.pairwise import linear_kernel
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, SVR

from brainmass_core.config import Config
from brainmass_core.encoders.methods import Features

CONFOUNDS_TEXT = ["site", "sex"]
CONFOUNDS_NUMBER = ["age", "mean_fd"]
CLIP_SD = 5.0
LOGISTIC_C = [1e-4, 1e-2, 1.0]
RIDGE_ALPHA = [1e0, 1e2, 1e4]
NEIGHBOURS = [3, 7, 15]


@dataclass(frozen=True)
class Setting:
    """Settings for making an estimator.

    Attributes
    ----------
    n_classes : int
        0 for a regression.
    seed : int
        Seed of the fold.
    inner_splits : int
        Folds within the training set.
    config : Config, optional
        For networks: settings and folder of the model.
    """

    kind: str
    n_classes: int
    seed: int
    inner_splits: int = 3
    config: Config | None = None


def chance(s: Setting, features: Features) -> Any:
    """Chance: a class drawn with the training proportions, or the training mean."""
    if s.kind == "regression":
        return DummyRegressor()
    return DummyClassifier(strategy="stratified", random_state=s.seed)


def svm(s: Setting, features: Features) -> Any:
    """SVM with a linear kernel if there are many more features than scans, otherwise a radial
    one."""
    if features.linear:
        # a callable kernel is a matrix product, ten times faster than libsvm's own loop
        return make_pipeline(StandardScaler(), _svm(s, kernel=linear_kernel))
    return make_pipeline(*_scaled(features), _svm(s)) if features.standardised else _svm(s)


def logistic(s: Setting, features: Features) -> Any:
    """Logistic regression with an L2 penalty chosen within the training set."""
    model = LogisticRegression(max_iter=2000)
    return _search(s, features, model, {"C": LOGISTIC_C})


def ridge(s: Setting, features: Features) -> Any:
    """Ridge regression (classes: regression of -1 and 1)."""
    model = Ridge() if s.kind == "regression" else RidgeClassifier(class_weight="balanced")
    return _search(s, features, model, {"alpha": RIDGE_ALPHA})


def knn(s: Setting, features: Features) -> Any:
    """Nearest neighbours by Euclidean distance, weighted by distance."""
    kinds = {"classification": KNeighborsClassifier, "regression": KNeighborsRegressor}
    # scikit-learn's choice beyond 15 features; with fewer it builds a tree, which is not stored
    model = kinds[s.kind](weights="distance", algorithm="brute")
    return _search(s, features, model, {"n_neighbors": NEIGHBOURS})


def _scaled(features: Features) -> list[Any]:
    """Steps before an estimator: encode confounds, standardise and clip other features."""
    clip = FunctionTransformer(np.clip, kw_args={"a_min": -CLIP_SD, "a_max": CLIP_SD})
    return [StandardScaler(), clip] if features.brain else [encoder()]


def encoder() -> Any:
    """Encode site and sex as one-hot; replace missing age and motion by the training median."""
    number = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()
    )
    text = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_column_transformer((text, CONFOUNDS_TEXT), (number, CONFOUNDS_NUMBER))


def _svm(s: Setting, **kernel: Any) -> Any:
    if s.kind == "regression":
        # the target is standardised, so epsilon and C are in units of its SD
        return TransformedTargetRegressor(SVR(C=1.0, **kernel), transformer=StandardScaler())
    return SVC(C=1.0, decision_function_shape="ovr", **kernel)


def _search(s: Setting, features: Features, model: Any, grid: dict[str, Any]) -> Any:
    """Grid search within the training set, with participants kept together."""
    if s.kind == "regression":
        splitter: Any = GroupKFold(s.inner_splits, shuffle=True, random_state=s.seed)
        scoring = "neg_mean_squared_error"
    else:
        splitter = StratifiedGroupKFold(s.inner_splits, shuffle=True, random_state=s.seed)
        scoring = "balanced_accuracy"
    steps = _scaled(features)
    pipeline = make_pipeline(make_pipeline(*steps) if len(steps) > 1 else steps[0], model)
    step = pipeline.steps[-1][0]
    named = {f"{step}__{key}": values for key, values in grid.items()}
    return GridSearchCV(pipeline, named, scoring=scoring, cv=splitter)


ESTIMATORS: dict[str, Callable[[Setting, Features], Any]] = {
    "chance": chance,
    "svm": svm,
    "logistic": logistic,
    "ridge": ridge,
    "knn": knn,
}


class TransformedTarget(RegressorMixin, BaseEstimator):
    """A regression on a transformed target that passes participants on to a search.

    scikit-learn's `TransformedTargetRegressor` would pass ``groups`` to the transformer as well.
    """

    def __init__(self, regressor: Any, transformer: Any) -> None:
        self.regressor = regressor
        self.transformer = transformer

    def fit(self, features: Any, y: np.ndarray, groups: Any = None) -> Self:
        """Fit the transformer to the training targets, and the regressor to the transformed ones.

        Parameters
        ----------
        features : array (n_scans, n_features)
        y : ndarray (n_scans,)
        groups : ndarray (n_scans,), optional
            Participant of each scan, passed on if the regressor accepts it.
        """
        self.transformer_ = clone(self.transformer)
        target = self.transformer_.fit_transform(np.asarray(y, float)[:, None])[:, 0]
        self.regressor_ = clone(self.regressor)
        takes_groups = "groups" in inspect.signature(self.regressor_.fit).parameters
        if takes_groups or hasattr(self.regressor_, "param_grid"):
            self.regressor_.fit(features, target, groups=groups)
        else:
            self.regressor_.fit(features, target)
        return self

    def predict(self, features: Any) -> np.ndarray:
        """Predict in the target's own unit.

        Parameters
        ----------
        features : array (n_scans, n_features)

        Returns
        -------
        ndarray (n_scans,)
        """
        found = self.regressor_.predict(features)
        return self.transformer_.inverse_transform(found[:, None])[:, 0]
