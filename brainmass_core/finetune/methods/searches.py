"""Adapt hyper-parameter searches to the size of the training set."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedGroupKFold

from brainmass_core.finetune.cohort.labels import TaskError

log = logging.getLogger(__name__)
MIN_SPLITS = 2


def fit_to_size(
    method: str, model: Any, y: np.ndarray, who: np.ndarray, task: str, classes: Sequence[str] = ()
) -> None:
    """Limit the inner folds of a search to the number of participants in the smallest class.

    Also limit the numbers of neighbours to the size of an inner training set.

    Parameters
    ----------
    model : estimator
        Unfitted; changed in place. Other estimators are not changed.
    y, who : ndarray (n_train,)
        Class number, or target of a regression, and participant of each training scan.
    classes : sequence of str, optional
        Names of the classes, for the message.

    Raises
    ------
    TaskError
        If a class, or a regression in total, has fewer than two participants.
    """
    search = getattr(model, "regressor", model)
    if not hasattr(search, "param_grid"):
        return
    of_classes = isinstance(search.cv, StratifiedGroupKFold)
    sizes = {int(c): len(np.unique(who[y == c])) for c in np.unique(y)} if of_classes else {}
    smallest = min(sizes, key=lambda c: sizes[c]) if sizes else None
    found = len(np.unique(who)) if smallest is None else sizes[smallest]
    if found < MIN_SPLITS:
        which = "" if smallest is None else f" of class {_name(smallest, classes)}"
        raise TaskError(
            f"task {task}: {method} chooses its hyper-parameter by cross-validation within each "
            f"training set; found one with {found}{which} among its participants, expected at "
            f"least {MIN_SPLITS}; leave {method} out of finetune.methods (those that end in _svm "
            "choose none), or add participants"
        )
    if found < search.cv.n_splits:
        _say_fewer(task, found, search.cv.n_splits, of_classes)
        search.cv.n_splits = found
    for key, values in search.param_grid.items():
        if key.endswith("n_neighbors"):
            parts = search.cv.split(np.arange(len(y))[:, None], y, who)
            most = min(len(train) for train, _ in parts)
            search.param_grid[key] = [k for k in values if k <= most] or [most]


def _name(number: int, classes: Sequence[str]) -> str:
    return repr(classes[number]) if number < len(classes) else str(number)


@cache  # once per process, not for each fold, method and shuffle of the labels
def _say_fewer(task: str, found: int, asked: int, of_classes: bool) -> None:
    log.warning(
        "%s: %s %d participants: hyper-parameters are chosen by %d inner folds, not %d "
        "(finetune.inner_splits)",
        *(task, "the smallest class of a training set has" if of_classes else "a training set has"),
        *(found, found, asked),
    )


@contextmanager
def in_our_words(method: str) -> Iterator[None]:
    """Log one line for all fits without convergence, instead of scikit-learn's warning for each."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    stopped = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
    if stopped:
        log.warning(
            "%s: %d fits stopped at the largest number of iterations before they had converged; "
            "their scores may be lower than those of a converged fit",
            method,
            len(stopped),
        )
    for other in caught:
        if other not in stopped:
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
