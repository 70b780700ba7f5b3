"""Fit methods on the same folds.

A method (`encoders.methods`) consists of features and an estimator. Features are computed once for
all scans (`methods.features.MAKERS`): ndarray (n_scans, n_features) or DataFrame. `predict_folds`
makes a new estimator with scikit-learn's interface in every fold and fits it to the training scans
only, after transformers of their features (`BEFORE`, such as the tangent space). If the ``fit`` of
an estimator takes ``groups``, it gets the participant of each training scan, so that
hyper-parameter searches and early stopping split by participant within the fold.

To add features or an estimator: an entry of ``_FEATURES`` or ``_ESTIMATORS`` in `encoders.methods`,
a line of ``_COMPOSED`` there, and a function in `methods.features.MAKERS` or
`methods.estimators.ESTIMATORS`.

``y_score`` increases with the evidence for the second of two classes: the decision function, or
else its probability. ``y_pred`` is the class predicted by the estimator; no threshold is adjusted.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, MinMaxScaler, StandardScaler
from threadpoolctl import threadpool_limits

from brainmass_core.config import Config
from brainmass_core.config.tasks import Task
from brainmass_core.encoders.methods import Method
from brainmass_core.encoders.registry import METHODS
from brainmass_core.finetune.adjustment import adjuster, match
from brainmass_core.finetune.confounds import confounds_of, refuse_codes_of_sex
from brainmass_core.finetune.folds.participants import Fold
from brainmass_core.finetune.methods import estimators
from brainmass_core.finetune.methods.components import Components
from brainmass_core.finetune.methods.estimators import ESTIMATORS, Setting
from brainmass_core.finetune.methods.network_estimators import make_network
from brainmass_core.finetune.methods.searches import fit_to_size, in_our_words
from brainmass_core.finetune.methods.tangent import TangentSpace

# transformers fitted to the training features before an estimator, by name of the features
BEFORE: dict[str, Callable[[], Any]] = {"tangent": TangentSpace, "series": Components}


def make_estimator(method: Method, setting: Setting) -> Any:
    """Make the unfitted estimator of a method."""
    if method.estimator.is_network:
        return make_network(method, setting)
    return ESTIMATORS[method.estimator.name](setting, method.features)


@dataclass(frozen=True)
class Design:
    """Labels, participants, confounds and settings of a task, the same for every method.

    Attributes
    ----------
    y : ndarray (n_scans,)
        Class number, or the target in its own unit.
    groups : ndarray (n_scans,)
        Participant of each scan.
    confounds : DataFrame (n_scans rows)
        site, sex, age, mean_fd.
    name, classes : str, tuple of str
        Names of the task and its classes, for messages.
    """

    y: np.ndarray
    groups: np.ndarray | None = None
    confounds: pd.DataFrame | None = None
    kind: str = "classification"
    handling: str = "none"
    columns: list[str] = field(default_factory=lambda: ["site", "sex", "age", "mean_fd"])
    transform: str = "none"
    inner_splits: int = 3
    config: Config | None = None
    name: str = "task"
    classes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        task: Task,
        scans: pd.DataFrame,
        inner_splits: int = 3,
        config: Config | None = None,
        name: str = "task",
    ) -> Design:
        """The design of a task's scans (`TaskData.scans`).

        Parameters
        ----------
        scans : DataFrame (n_scans rows)
            `TaskData.scans`.

        Raises
        ------
        TaskError
            If the sex is regressed out, and the data sets write it in ways that cannot be compared.
        """
        if task.confounds == "regress" and "sex" in task.confound_columns:
            refuse_codes_of_sex(scans)
        return cls(
            y=scans["y"].to_numpy(),
            groups=scans["participant"].to_numpy(),
            confounds=confounds_of(scans),
            kind=task.kind,
            handling=task.confounds,
            columns=list(task.confound_columns),
            transform=task.transform,
            inner_splits=inner_splits,
            config=config,
            name=name,
            classes=tuple(task.classes),
        )


def predict_folds(
    method: str, features: Any, design: Design | np.ndarray, folds: list[Fold], seed: int
) -> pd.DataFrame:
    """Fit to the training scans of each fold and score its test scans.

    Parameters
    ----------
    features : ndarray (n_scans, n_features) or DataFrame (n_scans rows)
    design : Design, or ndarray (n_scans,) of class numbers

    Returns
    -------
    DataFrame
        repeat, fold, row (position of the scan), y_score, y_pred, probability (a list, one number
        per class, or None), n_train (scans).
    """
    design = design if isinstance(design, Design) else Design(design)
    with threadpool_limits(limits=1):  # sums in another order would change the last digits
        parts = [_predict(method, features, design, f, seed) for f in folds]
    return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True)
class Fitted:
    """A fitted method: the steps that are applied to features, in this order.

    Attributes
    ----------
    kind : str
        Kind of the task.
    model : estimator
    before, adjust : optional
        Transformer of features; adjustment for confounds.
    rows : ndarray of int
        Scans to which it was fitted.
    """

    kind: str
    model: Any
    before: Any
    adjust: Any
    rows: np.ndarray

    def score(self, features: Any, confounds: pd.DataFrame | None) -> dict[str, Any]:
        """Scores, decisions and probabilities of scans, each independent of the others.

        Parameters
        ----------
        features : array or list (n_scans, ...)
            As the method's `before` takes them.
        confounds : DataFrame (n_scans rows), optional
            Result of `confounds_of`; needed if the method is adjusted for them.

        Returns
        -------
        dict
            See `score`.
        """
        if self.before is not None:
            features = self.before.transform(features)
        if self.adjust is not None:
            features = self.adjust.transform(features, confounds)
        return score(self.model, features, self.kind)


def fit_method(name: str, features: Any, design: Design, train: np.ndarray, state: int) -> Fitted:
    """Fit all steps of a method to the training scans only.

    Parameters
    ----------
    features : ndarray (n_scans, n_features) or DataFrame (n_scans rows)
        Features of all scans; rows that are not in `train` are not used.
    train : ndarray (n_train,) of int
        With ``confounds: match``, only the matched ones are used.
    state : int
        Seed of the fold.

    Returns
    -------
    Fitted

    Raises
    ------
    TaskError
        If the training scans are too few or too uniform for the method, or cannot be matched.
    """
    method = METHODS[name]
    if design.handling == "match" and design.confounds is not None:
        train = match(train, design.y, design.groups, design.confounds, state)
    shown = _take(features, train)
    before = adjust = None
    if method.features.name in BEFORE:
        before = BEFORE[method.features.name]().fit(shown)
        shown = before.transform(shown)
    if method.features.brain and design.confounds is not None:
        at_training = design.confounds.iloc[train]
        adjust = adjuster(design.handling, design.columns).fit(shown, at_training)
        shown = adjust.transform(shown, at_training)
    n_classes = len(np.unique(design.y)) if design.kind == "classification" else 0
    setting = Setting(design.kind, n_classes, state, design.inner_splits, design.config)
    groups = train if design.groups is None else design.groups[train]
    model = _with_target(make_estimator(method, setting), design)
    fit_to_size(name, model, design.y[train], groups, design.name, design.classes)
    with in_our_words(name):
        model = fit(model, shown, design.y[train], groups)
    return Fitted(design.kind, model, before, adjust, train)


def _predict(method: str, features: Any, design: Design, f: Fold, seed: int) -> pd.DataFrame:
    fitted = fit_method(method, features, design, f.train, seed + 1000 * f.repeat + f.fold)
    at_test = None if design.confounds is None else design.confounds.iloc[f.test]
    found = fitted.score(_take(features, f.test), at_test)
    shared = {"repeat": f.repeat, "fold": f.fold, "row": f.test, "n_train": len(fitted.rows)}
    return pd.DataFrame(shared | found)


def fit(model: Any, features: Any, y: np.ndarray, groups: np.ndarray | None) -> Any:
    """Fit, with participants as ``groups`` if the estimator accepts them.

    Parameters
    ----------
    features : array or list (n_scans, ...)
    y : ndarray (n_scans,)
    groups : ndarray (n_scans,), optional
        Participant of each scan; by default each scan is its own group.

    Returns
    -------
    estimator
        The fitted `model`.
    """
    if "groups" in inspect.signature(model.fit).parameters or hasattr(model, "param_grid"):
        return model.fit(features, y, groups=np.arange(len(y)) if groups is None else groups)
    return model.fit(features, y)


def score(model: Any, features: Any, kind: str) -> dict[str, Any]:
    """Scores, decisions and probabilities of tested scans.

    Parameters
    ----------
    model : estimator
        Fitted.
    features : array (n_scans, n_features)
    kind : {"classification", "regression"}

    Returns
    -------
    dict
        ``y_score`` (n_scans,): evidence for the second of two classes, NaN with more, the
        prediction of a regression; ``y_pred`` (n_scans,); ``class_scores``, for each scan the
        evidence for each class (absent for a regression); ``probability``, likewise, or None.
    """
    predicted = np.asarray(model.predict(features), dtype=float)
    if kind == "regression":
        return {"y_score": predicted, "y_pred": predicted, "probability": None}
    has_probability = hasattr(model, "predict_proba")
    probability = model.predict_proba(features) if has_probability else None
    values = (
        model.decision_function(features) if hasattr(model, "decision_function") else probability
    )
    assert values is not None
    if len(model.classes_) == 2:
        evidence = values if values.ndim == 1 else values[:, 1]
        per_class = np.stack([-evidence, evidence], axis=1)
    else:
        evidence, per_class = np.full(len(predicted), np.nan), values
    return {
        "y_score": evidence,
        "y_pred": predicted,
        "class_scores": list(np.asarray(per_class, dtype=float)),
        "probability": list(probability) if probability is not None else None,
    }


def _with_target(model: Any, design: Design) -> Any:
    """A regression on the transformed target, with constants of the training scans."""
    if design.transform == "none":
        return model
    return estimators.TransformedTarget(model, target_transformer(design.transform))


def target_transformer(name: str) -> Any:
    """Unfitted transformer of the target, by its name in the configuration."""
    log1p = FunctionTransformer(np.log1p, np.expm1, check_inverse=False)
    transformers: dict[str, Any] = {
        "zscore": StandardScaler(),
        "minmax": MinMaxScaler(),
        "max": MaxAbsScaler(),
        "log1p": log1p,
        "log1p_max": make_pipeline(log1p, MaxAbsScaler()),
    }
    return transformers[name]


def _take(features: Any, rows: np.ndarray) -> Any:
    return features.iloc[rows] if isinstance(features, pd.DataFrame) else features[rows]
