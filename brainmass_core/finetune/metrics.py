"""Scores with intervals from a bootstrap over participants.

Per repeat, accuracy, sensitivity, specificity, balanced accuracy and F1 are taken over the
predictions of all folds. The AUC compares only scans of the same fold, since two models' scores
have no common scale: concordant pairs of all folds over pairs of all folds. Scores are means over
the repeats.

An interval spans the 2.5 % to 97.5 % quantiles over bootstrap draws. A draw takes participants
with replacement, within each class (case numbers are a choice of the study), with all their scans
and repeats. It reflects which participants were tested, not which were trained on. Where every
prediction is right (or wrong), resampling shows no spread, and Wilson's bound for n of n is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

METRICS = ("accuracy", "auc", "sensitivity", "specificity", "balanced_accuracy", "f1")
LEVELS = (0.025, 0.975)
GRID = np.linspace(0, 1, 101)
ROC_DRAWS = 1000
CHUNK = 50_000_000  # weights held at once


@dataclass(frozen=True)
class Predictions:
    """Predictions of one method, as arrays.

    Attributes
    ----------
    y : ndarray (n_scans,)
        0 or 1.
    who : ndarray (n_scans,) of int
        Participant of each scan, 0 to n_participants - 1.
    score, pred, fold : ndarray (n_repeats, n_scans)
    """

    y: np.ndarray
    who: np.ndarray
    score: np.ndarray
    pred: np.ndarray
    fold: np.ndarray

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> Predictions:
        """From rows of `tables.PREDICTIONS` of one method; every scan once per repeat.

        Raises
        ------
        ValueError
            If a repeat lacks a scan.
        """
        pivots = [
            table.pivot(index="repeat", columns="scan_id", values=c).sort_index(axis=1)
            for c in ("y_score", "y_pred", "fold")
        ]
        if any(p.isna().to_numpy().any() for p in pivots):
            raise ValueError("a repeat lacks predictions of some scans")
        scans = table.drop_duplicates("scan_id").sort_values("scan_id")
        who = pd.factorize(scans["dataset"] + "/" + scans["participant_id"])[0]
        return cls(scans["y_true"].to_numpy(), who, *(p.to_numpy() for p in pivots))

    @property
    def label_of(self) -> np.ndarray:
        """(n_participants,) label of the first scan, the stratum of the bootstrap."""
        return self.y[np.unique(self.who, return_index=True)[1]]


def draw_weights(label: np.ndarray, n_draws: int, seed: int) -> np.ndarray:
    """How often each participant is drawn, within its class.

    Returns
    -------
    ndarray (n_draws, n_participants), float32
    """
    rng = np.random.default_rng(seed)
    weights = np.zeros((n_draws, len(label)), dtype=np.float32)
    for value in np.unique(label):
        here = np.flatnonzero(label == value)
        weights[:, here] = rng.multinomial(len(here), np.full(len(here), 1 / len(here)), n_draws)
    return weights


def weighted_scores(p: Predictions, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Every metric for every set of weights.

    Parameters
    ----------
    weights : ndarray (n_draws, n_participants)
        Ones give the plain metric.

    Returns
    -------
    dict of ndarray (n_draws,)
        Means over the repeats.
    """
    w = weights.astype(np.float64)[:, p.who]  # (n_draws, n_scans)
    positive, hit = w * p.y, p.pred.T.astype(float)  # (n_draws, n_scans), (n_scans, n_repeats)
    tp = positive @ hit  # (n_draws, n_repeats)
    fn = positive.sum(1, keepdims=True) - tp
    fp = (w - positive) @ hit
    tn = (w - positive).sum(1, keepdims=True) - fp
    sensitivity, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
    scores = {
        "accuracy": _ratio(tp + tn, tp + tn + fp + fn),
        "auc": np.stack([_auc(p, r, w) for r in range(len(p.score))], axis=1),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
    }
    return {name: values.mean(axis=1) for name, values in scores.items()}


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotient, 0 where there is nothing to divide by (as scikit-learn does)."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _auc(p: Predictions, repeat: int, w: np.ndarray) -> np.ndarray:
    """(n_draws,) share of concordant pairs within folds; ties count half."""
    concordant = np.zeros(len(w))
    pairs = np.zeros(len(w))
    for positive, negative in _fold_masses(p, repeat, w):
        below = np.cumsum(negative, axis=1) - negative
        concordant += (positive * (below + negative / 2)).sum(1)
        pairs += positive.sum(1) * negative.sum(1)
    return np.divide(concordant, pairs, out=np.full(len(w), 0.5), where=pairs > 0)


def _fold_masses(
    p: Predictions, repeat: int, w: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Per fold, the weight of positives and of negatives at each distinct score, ascending."""
    for fold in np.unique(p.fold[repeat]):
        rows = np.flatnonzero(p.fold[repeat] == fold)
        rows = rows[np.argsort(p.score[repeat, rows], kind="stable")]
        starts = np.flatnonzero(np.diff(p.score[repeat, rows], prepend=np.nan) != 0)
        inside, y = w[:, rows], p.y[rows]
        yield (
            np.add.reduceat(inside * y, starts, axis=1),
            np.add.reduceat(inside * (1 - y), starts, axis=1),
        )


def bootstrap(p: Predictions, n_draws: int, seed: int) -> dict[str, np.ndarray]:
    """Every metric in every bootstrap draw, see `weighted_scores`; the same draws per seed."""
    weights = draw_weights(p.label_of, n_draws, seed)
    size = max(1, CHUNK // max(1, len(p.y)))
    parts = [weighted_scores(p, weights[i : i + size]) for i in range(0, n_draws, size)]
    return {m: np.concatenate([part[m] for part in parts]) for m in METRICS}


def summarise(p: Predictions, draws: dict[str, np.ndarray]) -> dict[str, float]:
    """Each metric with its interval: ``auc``, ``auc_low``, ``auc_high``, ..."""
    point = weighted_scores(p, np.ones((1, len(p.label_of))))
    sizes = _sizes(p)
    row: dict[str, float] = {}
    for metric in METRICS:
        value = float(point[metric][0])
        low, high = (float(q) for q in np.quantile(draws[metric], LEVELS))
        if value == 1:
            low = min(low, wilson_lower(sizes.get(metric, min(sizes.values()))))
        if value == 0:
            high = max(high, 1 - wilson_lower(sizes.get(metric, min(sizes.values()))))
        row |= {metric: value, f"{metric}_low": low, f"{metric}_high": high}
    return row


def paired_gain(
    p: Predictions, draws: dict[str, np.ndarray], base: Predictions, base_draws: dict
) -> dict[str, float]:
    """AUC of a method minus that of a baseline, with the interval over the same draws."""
    ones = np.ones((1, len(p.label_of)))
    value = weighted_scores(p, ones)["auc"][0] - weighted_scores(base, ones)["auc"][0]
    low, high = np.quantile(draws["auc"] - base_draws["auc"], LEVELS)
    names = ("auc_minus_fc_svm", "auc_minus_fc_svm_low", "auc_minus_fc_svm_high")
    return dict(zip(names, (float(value), float(low), float(high)), strict=True))


def wilson_lower(n: int) -> float:
    """Lower end of Wilson's 95 % interval for n successes of n."""
    z2 = float(norm.ppf(LEVELS[1])) ** 2
    return n / (n + z2)


def _sizes(p: Predictions) -> dict[str, int]:
    """Participants that a proportion is over; other metrics take the smallest."""
    positive = int(p.label_of.sum())
    negative = len(p.label_of) - positive
    return {"accuracy": positive + negative, "sensitivity": positive, "specificity": negative}


def roc_band(p: Predictions, n_draws: int, seed: int) -> pd.DataFrame:
    """ROC averaged over folds and repeats, with a pointwise 95 % band.

    Curves of single folds are averaged vertically, weighted by their numbers of pairs, so that
    the area under the average is the AUC of `weighted_scores` (up to the grid of 0.01).

    Returns
    -------
    DataFrame (101 rows)
        fpr, tpr, tpr_low, tpr_high.
    """
    weights = draw_weights(p.label_of, min(n_draws, ROC_DRAWS), seed)
    weights = np.concatenate([np.ones((1, weights.shape[1])), weights])[:, p.who]
    curves = np.mean([_mean_curve(p, r, weights) for r in range(len(p.score))], axis=0)
    low, high = np.quantile(curves[1:], LEVELS, axis=0)
    return pd.DataFrame({"fpr": GRID, "tpr": curves[0], "tpr_low": low, "tpr_high": high})


def _mean_curve(p: Predictions, repeat: int, w: np.ndarray) -> np.ndarray:
    """(n_draws, 101) curves of one repeat."""
    total = np.zeros((len(w), len(GRID)))
    pairs = np.zeros((len(w), 1))
    for positive, negative in _fold_masses(p, repeat, w):
        mass = positive.sum(1) * negative.sum(1)
        for draw in np.flatnonzero(mass):
            curve = _curve(positive[draw], negative[draw])
            total[draw] += mass[draw] * curve
            pairs[draw] += mass[draw]
    return np.where(pairs > 0, total / np.where(pairs > 0, pairs, 1), GRID)


def _curve(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """True positive rate at each false positive rate of the grid."""
    tpr = np.concatenate([[0], np.cumsum(positive[::-1])]) / positive.sum()
    fpr = np.concatenate([[0], np.cumsum(negative[::-1])]) / negative.sum()
    curve = np.interp(GRID, fpr, tpr)
    curve[0] = 0.0
    return curve
