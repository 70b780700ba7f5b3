"""Scores with intervals from a bootstrap over participants.

Per repeat, accuracy, sensitivity, specificity, balanced accuracy and F1 are computed over the
predictions of all folds. The AUC compares only scans of the same fold, because the scores of two
models have no common scale: concordant pairs of all folds divided by pairs of all folds. Scores are
means over repeats. `roc` averages the curves in the same way.

An interval spans the 2.5 % to 97.5 % quantiles over bootstrap draws. A draw samples participants
with replacement, within each class (class sizes are set by the study), with all their scans and
repeats. It reflects the choice of tested participants, not of training participants. If every
prediction is correct (or wrong), resampling has no variance, and Wilson's bound for n of n is used.

With more than two classes, AUC, sensitivity, specificity and F1 are means over one-versus-rest
comparisons; balanced accuracy is the mean sensitivity. The Brier score is the mean squared
distance of the probabilities from the truth, halved for two classes, and is missing for methods
without probabilities (distances of support vector machines are not converted to probabilities).
A regression is scored by `regression.weighted_scores`. A scan may be untested in some repeat.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from brainmass_core.auc import weighted_auc, wilson_lower

METRICS = ("accuracy", "auc", "sensitivity", "specificity", "balanced_accuracy", "f1", "brier")
LEVELS = (0.025, 0.975)
CHUNK = 50_000_000  # maximum number of weights in memory


@dataclass(frozen=True)
class Predictions:
    """Predictions of one method, as arrays.

    Attributes
    ----------
    y : ndarray (n_scans,)
        Number of the class.
    who : ndarray (n_scans,) of int
        Participant of each scan, 0 to n_participants - 1.
    score, pred, fold : ndarray (n_repeats, n_scans)
        fold is -1 if a scan is not tested.
    class_scores, probability : ndarray (n_repeats, n_scans, n_classes), optional
    """

    y: np.ndarray
    who: np.ndarray
    score: np.ndarray
    pred: np.ndarray
    fold: np.ndarray
    class_scores: np.ndarray | None = None
    probability: np.ndarray | None = None

    @classmethod
    def from_table(cls, table: pd.DataFrame, complete: bool = True) -> Predictions:
        """Make from rows of `tables.PREDICTIONS` of one method.

        Parameters
        ----------
        table : DataFrame
            One row per repeat and tested scan.
        complete : bool
            Whether every scan must be tested in every repeat.

        Returns
        -------
        Predictions
            Scans are sorted by scan_id, repeats by number.

        Raises
        ------
        ValueError
            If `complete` and a repeat lacks a scan.
        """
        pivots = [
            table.pivot(index="repeat", columns="scan_id", values=c).sort_index(axis=1)
            for c in ("y_score", "y_pred", "fold")
        ]
        if complete and pivots[-1].isna().to_numpy().any():
            raise ValueError("a repeat lacks predictions of some scans")
        scans = table.drop_duplicates("scan_id").sort_values("scan_id")
        who = pd.factorize(scans["dataset"] + "/" + scans["participant_id"])[0]
        score, pred, fold = (p.to_numpy() for p in pivots)
        tested = ~np.isnan(fold)
        fold = np.where(tested, fold, -1).astype(int)
        score, pred = np.where(tested, score, 0.0), np.where(tested, pred, 0.0)
        lists = [_stack(table, c, tested) for c in ("class_scores", "probability")]
        return cls(scans["y_true"].to_numpy(), who, score, pred, fold, *lists)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return 2 if self.class_scores is None else self.class_scores.shape[2]

    def against_rest(self, k: int) -> Predictions:
        """One class against the others, as a binary problem."""
        assert self.class_scores is not None
        return replace(
            self,
            y=(self.y == k).astype(int),
            pred=(self.pred == k).astype(int),
            score=self.class_scores[:, :, k],
            class_scores=None,
            probability=None,
        )

    @property
    def label_of(self) -> np.ndarray:
        """Label of each participant's first scan (n_participants,), the stratum of the
        bootstrap."""
        return self.y[np.unique(self.who, return_index=True)[1]]


def _stack(table: pd.DataFrame, column: str, tested: np.ndarray) -> np.ndarray | None:
    """Convert a column of lists to (n_repeats, n_scans, n_classes); None if the method has none."""
    if column not in table or table[column].isna().any():
        return None
    ordered = table.sort_values(["repeat", "scan_id"])[column]
    values = np.stack([np.asarray(v, dtype=float) for v in ordered])
    full = np.zeros((*tested.shape, values.shape[1]))
    full[tested] = values
    return full


def draw_weights(label: np.ndarray, n_draws: int, seed: int) -> np.ndarray:
    """Draw bootstrap weights: the number of times each participant is drawn, within its class.

    Parameters
    ----------
    label : ndarray (n_participants,)
        Class of each participant; as many are drawn of each class as there are.
    n_draws, seed : int

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
        All ones give the plain metric.

    Returns
    -------
    dict of ndarray (n_draws,)
        Means over the repeats.
    """
    w = weights.astype(np.float64)[:, p.who]  # (n_draws, n_scans)
    if p.n_classes == 2:
        scores = _two_classes(p, w)
    else:
        parts = [_two_classes(p.against_rest(k), w) for k in range(p.n_classes)]
        scores = {name: np.mean([part[name] for part in parts], axis=0) for name in parts[0]}
        tested = (p.fold >= 0).T.astype(float)
        right = ((p.pred == p.y) & (p.fold >= 0)).T.astype(float)
        scores["accuracy"] = _ratio(w @ right, w @ tested)
        scores["balanced_accuracy"] = scores["sensitivity"]
    scores["brier"] = _brier(p, w)
    return {name: values.mean(axis=1) for name, values in scores.items()}


def _two_classes(p: Predictions, w: np.ndarray) -> dict[str, np.ndarray]:
    """All metrics except the Brier score, (n_draws, n_repeats)."""
    tested = (p.fold >= 0).T.astype(float)  # (n_scans, n_repeats)
    positive, hit = w * p.y, p.pred.T.astype(float) * tested
    tp = positive @ hit  # (n_draws, n_repeats)
    fn = positive @ tested - tp
    fp = (w - positive) @ hit
    tn = (w - positive) @ tested - fp
    sensitivity, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
    return {
        "accuracy": _ratio(tp + tn, tp + tn + fp + fn),
        "auc": np.stack([_auc(p, r, w) for r in range(len(p.score))], axis=1),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
    }


def _auc(p: Predictions, repeat: int, w: np.ndarray) -> np.ndarray:
    """AUC (n_draws,), 0.5 without pairs."""
    found = weighted_auc(p.y, p.score[repeat], p.fold[repeat], w)
    return np.nan_to_num(found, nan=0.5)


def _brier(p: Predictions, w: np.ndarray) -> np.ndarray:
    """Brier score (n_draws, n_repeats); NaN without probabilities."""
    if p.probability is None:
        return np.full((len(w), len(p.fold)), np.nan)
    tested = (p.fold >= 0).T.astype(float)
    truth = p.y[:, None] == np.arange(p.probability.shape[2])
    squared = ((p.probability - truth) ** 2).sum(2).T * tested
    halved = squared / 2 if p.probability.shape[2] == 2 else squared
    return _ratio(w @ halved, w @ tested)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotient, 0 if the denominator is 0, as in scikit-learn."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def bootstrap(p: Predictions, n_draws: int, seed: int) -> dict[str, np.ndarray]:
    """Every metric in every bootstrap draw, see `weighted_scores`; draws follow from the seed.

    Returns
    -------
    dict of ndarray (n_draws,)
        Keys are `METRICS`.
    """
    weights = draw_weights(p.label_of, n_draws, seed)
    size = max(1, CHUNK // max(1, len(p.y)))
    parts = [weighted_scores(p, weights[i : i + size]) for i in range(0, n_draws, size)]
    return {m: np.concatenate([part[m] for part in parts]) for m in METRICS}


def summarise(p: Predictions, draws: dict[str, np.ndarray]) -> dict[str, float]:
    """Each metric with its interval: ``auc``, ``auc_low``, ``auc_high``, ...

    Parameters
    ----------
    draws : dict of ndarray (n_draws,)
        Result of `bootstrap`.

    Returns
    -------
    dict of float
        Limits are the 2.5 % and 97.5 % quantiles of the draws; for a perfect or zero score one of
        them is Wilson's (1927).
    """
    point = weighted_scores(p, np.ones((1, len(p.label_of))))
    sizes = _sizes(p)
    row: dict[str, float] = {}
    for metric in METRICS:
        value = float(point[metric][0])
        low, high = (float(q) for q in np.quantile(draws[metric], LEVELS))
        if value == 1 and metric != "brier":
            low = min(low, wilson_lower(sizes.get(metric, min(sizes.values()))))
        if value == 0 and metric != "brier":
            high = max(high, 1 - wilson_lower(sizes.get(metric, min(sizes.values()))))
        row |= {metric: value, f"{metric}_low": low, f"{metric}_high": high}
    return row


def paired_gain(
    p: Predictions, draws: dict[str, np.ndarray], base: Predictions, base_draws: dict
) -> dict[str, float]:
    """AUC of a method minus that of a baseline, with the interval over the same draws.

    Parameters
    ----------
    draws, base_draws : dict of ndarray (n_draws,)
        Results of `bootstrap` with the same seed.

    Returns
    -------
    dict of float
    """
    ones = np.ones((1, len(p.label_of)))
    value = weighted_scores(p, ones)["auc"][0] - weighted_scores(base, ones)["auc"][0]
    low, high = np.quantile(draws["auc"] - base_draws["auc"], LEVELS)
    names = ("auc_minus_fc_svm", "auc_minus_fc_svm_low", "auc_minus_fc_svm_high")
    return dict(zip(names, (float(value), float(low), float(high)), strict=True))


def _sizes(p: Predictions) -> dict[str, int]:
    """Number of participants in the denominator of a proportion; for other metrics the smallest."""
    if p.n_classes > 2:
        return {
            "accuracy": len(p.label_of),
            "all": int(np.unique(p.label_of, return_counts=True)[1].min()),
        }
    positive = int(p.label_of.sum())
    negative = len(p.label_of) - positive
    return {"accuracy": positive + negative, "sensitivity": positive, "specificity": negative}
