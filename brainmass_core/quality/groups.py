"""Compare motion and quality between groups, by rank tests with effect sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

LEAST_IN_GROUP = 3


@dataclass(frozen=True)
class Difference:
    """Comparison of one measure between groups.

    Attributes
    ----------
    test : str
    p : float
    effect : float
        Two groups: rank-biserial correlation, 2 U / (n1 n2) - 1, positive if the first group
        has larger values. More groups: epsilon squared, H / (n - 1).
    medians : dict
        Group to median and number of participants.
    """

    test: str
    p: float
    effect: float
    medians: dict[str, tuple[float, int]]


def compare(values: pd.Series, groups: pd.Series) -> Difference | None:
    """Mann-Whitney U test for two groups, Kruskal-Wallis test for more.

    Parameters
    ----------
    values : Series (n_people,)
    groups : Series (n_people,)
        Labels; participants without a label and groups of fewer than three are ignored.

    Returns
    -------
    Difference or None
        None if fewer than two groups remain or all values are the same.
    """
    known = values.notna() & groups.notna()
    values, groups = values[known].astype(float), groups[known].astype(str)
    samples = {g: values[groups == g].to_numpy() for g in sorted(groups.unique())}
    samples = {g: s for g, s in samples.items() if len(s) >= LEAST_IN_GROUP}
    if len(samples) < 2 or np.ptp(np.concatenate(list(samples.values()))) == 0:
        return None
    medians = {g: (float(np.median(s)), len(s)) for g, s in samples.items()}
    parts = list(samples.values())
    if len(parts) == 2:
        u, p = stats.mannwhitneyu(*parts)
        effect = 2 * u / (len(parts[0]) * len(parts[1])) - 1
        return Difference("Mann-Whitney U", float(p), float(effect), medians)
    h, p = stats.kruskal(*parts)
    effect = h / (sum(map(len, parts)) - 1)
    return Difference("Kruskal-Wallis H", float(p), float(effect), medians)
