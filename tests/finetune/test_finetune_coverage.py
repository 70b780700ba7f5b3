"""Intervals hold the truth as often as they say, in simulated cohorts whose truth is known.

Participants are drawn from two normal distributions, and a classifier (difference of the class means)
is fitted in every fold of every repeat, as the stage does it. Given its weights w the AUC that it has
in the population is Phi(w d / (sqrt 2 |w|)), d being the distance of the means; the truth that an
interval must hold is the mean of that over cohorts, folds and repeats.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats

from brainmass_core.finetune.inference import corrected_interval, fold_values
from brainmass_core.finetune.metrics import LEVELS, Predictions, bootstrap

N_FEATURES, N_SPLITS, N_REPEATS = 8, 5, 3
FAST, LARGE = 250, 2500
N_DRAWS = 200


@dataclass
class Coverage:
    """Of how many cohorts each interval held the truth."""

    n: int
    bootstrap: int
    corrected: int
    paired: int
    rejected: int  # corrected t-tests of a difference that is none

    def __str__(self):
        return ", ".join(f"{k} {v / self.n:.3f}" for k, v in vars(self).items() if k != "n")


def folds_of(rng, y):
    """(n_repeats, n) fold of each participant, stratified."""
    fold = np.empty((N_REPEATS, len(y)), int)
    for r in range(N_REPEATS):
        for c in (0, 1):
            here = np.flatnonzero(y == c)
            fold[r, here] = rng.permutation(np.arange(len(here)) % N_SPLITS)
    return fold


def evaluate(x, y, fold, shift):
    """Predictions of the mean-difference classifier, and its mean AUC in the population."""
    score, truth = np.empty(fold.shape), []
    for r in range(len(fold)):
        for f in range(N_SPLITS):
            train, test = fold[r] != f, fold[r] == f
            w = x[train & (y == 1)].mean(0) - x[train & (y == 0)].mean(0)
            score[r, test] = x[test] @ w
            truth.append(stats.norm.cdf(w @ shift / (np.sqrt(2) * np.linalg.norm(w))))
    p = Predictions(y, np.arange(len(y)), score, (score > 0).astype(int), fold)
    return p, np.mean(truth)


@cache
def simulate(n_cohorts, n_per_class=30, distance=1.0, seed=0):
    """Two classifiers, each seeing its own half of equally good features, on the same cohorts."""
    half = N_FEATURES // 2
    shift = np.full(half, distance / np.sqrt(half))
    y = np.repeat([0, 1], n_per_class)
    truths, intervals, corrected, paired, p_values = [], [], [], [], []
    for i in range(n_cohorts):
        rng = np.random.default_rng([seed, i])
        x = rng.standard_normal((len(y), N_FEATURES)) + np.tile(shift, 2) * y[:, None]
        fold = folds_of(rng, y)
        (a, truth), (b, _) = (
            evaluate(x[:, part], y, fold, shift) for part in (slice(half), slice(half, None))
        )
        draws = [bootstrap(p, N_DRAWS, i)["auc"] for p in (a, b)]
        values = [fold_values(p, "auc") for p in (a, b)]
        share = 1 / (N_SPLITS - 1)
        truths.append(truth)
        intervals.append(np.quantile(draws[0], LEVELS))
        corrected.append(corrected_interval(values[0], share)[:2])
        paired.append(np.quantile(draws[0] - draws[1], LEVELS))
        p_values.append(corrected_interval(values[0] - values[1], share)[2])
    truth = np.mean(truths)

    def holds(found, value):
        low, high = np.array(found).T
        return int(((low <= value) & (value <= high)).sum())

    return Coverage(
        n_cohorts,
        holds(intervals, truth),
        holds(corrected, truth),
        holds(paired, 0.0),
        int((np.array(p_values) <= 0.05).sum()),
    )


def consistent(count, n, share):
    """Whether a count is one that this share explains."""
    return stats.binomtest(count, n, share).pvalue > 1e-3


def main():
    for n_per_class in (15, 30, 60):
        for distance in (0.0, 0.5, 1.0, 2.0):
            print(n_per_class, distance, simulate(600, n_per_class, distance), flush=True)


if __name__ == "__main__":
    main()
