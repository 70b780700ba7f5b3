"""Searches for a hyper-parameter within a training set: whether it is large enough for one."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from brainmass_core.finetune.dataset import TaskError

log = logging.getLogger(__name__)


def fit_to_size(method: str, model: Any, y: np.ndarray, who: np.ndarray, task: str) -> None:
    """Refuse a search that the training scans are too few for; drop what it cannot try.

    Parameters
    ----------
    model : estimator
        Not fitted; changed where it is a search over more neighbours than an inner training set
        has scans.
    y, who : ndarray (n_train,)
        Class number, or target of a regression, and participant of each training scan.

    Raises
    ------
    TaskError
        If a class, or the whole of a regression, has fewer participants than inner folds.
    """
    search = getattr(model, "regressor", model)
    if not hasattr(search, "param_grid"):
        return
    n_splits = search.cv.get_n_splits(groups=who)
    classes = type(search.cv).__name__ == "StratifiedGroupKFold"
    sizes = [len(np.unique(who[y == c])) for c in np.unique(y)] if classes else []
    found = min(sizes or [len(np.unique(who))])
    if found < n_splits:
        lower = f"set finetune.inner_splits to {found}, " if found >= 2 else ""
        raise TaskError(
            f"task {task}: {method} chooses its hyper-parameter by cross-validation within the "
            f"training participants, of whom a fold has {found}"
            f"{' in its smallest class' if classes else ''}, expected at least {n_splits} "
            f"(finetune.inner_splits); {lower}leave it out of finetune.methods (methods that "
            "choose none end in _svm), or add participants"
        )
    for key, values in search.param_grid.items():
        if key.endswith("n_neighbors"):
            rows = np.arange(len(y))[:, None]
            smallest = min(len(train) for train, _ in _split(search.cv, rows, y, who))
            search.param_grid[key] = [k for k in values if k <= smallest] or [smallest]


def _split(splitter: Any, rows: np.ndarray, y: np.ndarray, who: np.ndarray) -> Any:
    return splitter.split(rows, y, who)


@contextmanager
def in_our_words(method: str) -> Iterator[None]:
    """Say in a log line what scikit-learn would print of a fit that did not converge."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # an inner fold may test one class only; the score of a search is the mean of several
        warnings.filterwarnings("ignore", "y_pred contains classes not in y_true", UserWarning)
        yield
    stopped = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
    if stopped:
        log.warning(
            "%s: %d fits stopped at the largest number of iterations, before they had converged; "
            "their scores are those of an estimator that is not quite the best",
            method,
            len(stopped),
        )
    for other in caught:
        if other not in stopped:
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
