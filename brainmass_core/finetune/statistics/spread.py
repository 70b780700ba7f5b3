"""Standard errors of scores and of their differences, with the intervals and p-values they give.

Two sources, see `explanation/adaptation.md` for their coverage:

- ``halves``: the cross-validation was repeated in halves of the participants (`halving`), and
  Student's t has one degree of freedom per halving;
- ``doubled``: twice the variance of a bootstrap over tested participants, for methods that are not
  fitted again. If the predictions depend linearly on the training labels, as in kernel methods,
  this is an upper bound: a pair of participants contributes to the score once with each as the
  tested one, and the variance of the sum of two terms is at most twice the sum of the variances.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

LEVEL = 0.975
HalfScores = dict[str, np.ndarray]  # of each metric, (n_halvings, 2)
LIMITS = {"brier": (0.0, np.inf), "mse": (0.0, np.inf), "mae": (0.0, np.inf)}
LIMITS |= {"r2": (-np.inf, 1.0), "pearson_r": (-1.0, 1.0)}


@dataclass(frozen=True)
class Spread:
    """Repeated values of the scores of a method, or of differences of two methods.

    Attributes
    ----------
    how : {"halves", "doubled"}
    values : dict of ndarray
        Of each metric: (n_halvings, 2) scores in both halves, or (n_repeats, n_draws) scores in
        bootstrap draws.
    """

    how: Literal["halves", "doubled"]
    values: Mapping[str, np.ndarray]

    def minus(self, other: Spread) -> Spread:
        """The spread of the difference, from the same halves or draws.

        Raises
        ------
        ValueError
            If they are not of the same source.
        """
        if self.how != other.how:
            raise ValueError(f"found {self.how} minus {other.how}, expected the same source")
        return Spread(self.how, {m: v - other.values[m] for m, v in self.values.items()})

    def error(self, metric: str) -> float:
        """Standard error; NaN if the metric is unknown."""
        values = self.values[metric]
        if self.how == "doubled":
            return float(np.sqrt(2 * values.var(axis=1).mean()))
        squared = (values[:, 0] - values[:, 1]) ** 2
        squared = squared[np.isfinite(squared)]
        # half for the variance in a half, another half for that with all participants
        return float(np.sqrt(squared.mean() / 4)) if len(squared) else float("nan")

    def degrees(self) -> float:
        """Degrees of freedom of the error."""
        first = next(iter(self.values.values()))
        return float(len(first)) if self.how == "halves" else float("inf")

    def interval(self, value: float, metric: str) -> tuple[float, float]:
        """95 % interval around a value, without limits; NaN if the error is unknown."""
        half = float(stats.t.ppf(LEVEL, self.degrees())) * self.error(metric)
        return value - half, value + half

    def p_value(self, distance: float, metric: str) -> float:
        """Two-sided p-value of a distance; 0.05 or less if the interval excludes 0."""
        error = self.error(metric)
        if error == 0:
            return float(distance == 0)
        return float(2 * stats.t.sf(abs(distance) / error, self.degrees()))


def within_limits(metric: str, low: float, high: float) -> tuple[float, float]:
    """An interval without values that the metric cannot have."""
    least, most = LIMITS.get(metric, (0.0, 1.0))
    return max(low, least), min(high, most)
