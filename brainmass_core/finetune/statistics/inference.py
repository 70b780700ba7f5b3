"""Inference about scores: corrected intervals, the best baseline, shuffled labels.

Each task has one leading metric, the AUC of a classification and R2 of a regression.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import r2_score

from brainmass_core.auc import weighted_auc
from brainmass_core.finetune.statistics.metrics import LEVELS, Predictions

BINS = 10


def fold_values(p: Predictions, leading: str) -> np.ndarray:
    """The leading metric in every fold of every repeat; NaN if a fold lacks a class.

    Parameters
    ----------
    p : Predictions
    leading : {"auc", "r2"}

    Returns
    -------
    ndarray (n_values,)
    """
    values = []
    for repeat in range(len(p.fold)):
        for fold in np.unique(p.fold[repeat][p.fold[repeat] >= 0]):
            rows = np.flatnonzero(p.fold[repeat] == fold)
            if leading == "r2":
                ok = len(rows) > 1
                values.append(r2_score(p.y[rows], p.pred[repeat, rows]) if ok else np.nan)
            else:
                values.append(_mean_auc(p, p.y[rows][None], repeat, rows)[0])
    return np.array(values, dtype=float)


def corrected_interval(
    values: np.ndarray, test_to_train: float
) -> tuple[float, float, float] | None:
    """Corrected interval of a mean over folds and repeats, and the p-value of the mean being 0.

    Folds share training scans, so their variance is increased: ``s^2 (1/J + n_test/n_train)`` with
    Student's t of J - 1 degrees of freedom (Nadeau and Bengio 2003,
    doi:10.1023/A:1024068626366).

    Parameters
    ----------
    values : ndarray (n_folds,)
        One per fold and repeat, such as differences of scores; values that are not finite are
        ignored.
    test_to_train : float
        Test scans of a fold divided by its training scans.

    Returns
    -------
    low, high, p : float, or None if there are fewer than two values
        95 % interval, and two-sided p-value.
    """
    values = values[np.isfinite(values)]
    j = len(values)
    if j < 2:
        return None
    error = float(np.sqrt(values.var(ddof=1) * (1 / j + test_to_train)))
    mean = float(values.mean())
    half = float(stats.t.ppf(LEVELS[1], j - 1)) * error
    if error == 0:
        return mean, mean, float(mean == 0)
    return mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / error, j - 1))


def permutation_p(p: Predictions, leading: str, n_permutations: int, seed: int) -> float | None:
    """Fraction of shuffles of the tested participants' labels that score at least as well.

    No model is fitted again: the null hypothesis is that the predictions are unrelated to the
    labels of the tested participants. `permutation` has the test that fits every model again. The
    statistic is the AUC or Pearson's r within folds. All scans of a participant have the label of
    the first.
    """
    if not n_permutations:
        return None
    rng = np.random.default_rng(seed)
    label = p.y[np.unique(p.who, return_index=True)[1]]
    shuffled = np.stack([rng.permutation(label) for _ in range(n_permutations)])
    y = np.concatenate([p.y[None], shuffled[:, p.who]])  # (1 + n_permutations, n_scans)
    parts = []
    for repeat in range(len(p.fold)):
        rows = np.flatnonzero(p.fold[repeat] >= 0)
        one = _correlation if leading == "r2" else _mean_auc
        parts.append(one(p, y[:, rows], repeat, rows))
    found = np.mean(parts, axis=0)
    return float((1 + (found[1:] >= found[0] - 1e-12).sum()) / (1 + n_permutations))


def _mean_auc(p: Predictions, y: np.ndarray, repeat: int, rows: np.ndarray) -> np.ndarray:
    """AUC within folds (n_labelings,) for every labelling, one class against the rest."""
    scores = {1: p.score}
    if p.class_scores is not None:
        scores = {k: p.class_scores[:, :, k] for k in range(p.n_classes)}
    fold, once = p.fold[repeat, rows], np.ones((1, len(rows)))
    return np.mean(
        [weighted_auc(y == k, s[repeat, rows], fold, once) for k, s in scores.items()], axis=0
    )


def _correlation(p: Predictions, y: np.ndarray, repeat: int, rows: np.ndarray) -> np.ndarray:
    """Pearson's r within folds (n_labelings,)."""
    pred, fold = p.pred[repeat, rows].copy(), p.fold[repeat, rows]
    y = y.astype(float)
    for f in np.unique(fold):
        here = fold == f
        pred[here] -= pred[here].mean()
        y[:, here] -= y[:, here].mean(1, keepdims=True)
    spread = np.sqrt((pred**2).sum() * (y**2).sum(1))
    return np.divide(y @ pred, spread, out=np.zeros(len(y)), where=spread > 0)


def best_baseline(points: Mapping[str, float], baselines: set[str], method: str) -> str | None:
    """The baseline other than `method` with the highest leading metric.

    It is chosen by the scores on which it is compared, which biases the baseline upwards, so a gain
    over it is harder to show.
    """
    others = {m: v for m, v in points.items() if m in baselines and m != method}
    return max(others, key=lambda m: others[m]) if others else None


def reliability(p: Predictions) -> pd.DataFrame:
    """Calibration: observed frequency of each class by predicted probability.

    Parameters
    ----------
    p : Predictions
        `probability` is (n_repeats, n_scans, n_classes).

    Returns
    -------
    DataFrame
        class_number, bin, predicted (mean probability), observed (frequency), n (predictions); ten
        bins of equal width, without empty ones. With two classes only the second. Empty if the
        method gives no probabilities.
    """
    columns = ["class_number", "bin", "predicted", "observed", "n"]
    if p.probability is None:
        return pd.DataFrame(columns=columns)
    tested, frames = p.fold >= 0, []
    truth = np.broadcast_to(p.y, p.fold.shape)[tested]
    numbers = [1] if p.probability.shape[2] == 2 else range(p.probability.shape[2])
    for k in numbers:
        given = np.clip(p.probability[:, :, k][tested], 0, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            observed, predicted = calibration_curve(truth == k, given, n_bins=BINS)
        # the bins of scikit-learn's calibration_curve: inner edges belong to the bin below
        place = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], given)
        bins, n = np.unique(place, return_counts=True)
        values = {"bin": bins, "predicted": predicted, "observed": observed, "n": n}
        frames.append(pd.DataFrame({"class_number": k, **values}))
    return pd.concat(frames, ignore_index=True)
