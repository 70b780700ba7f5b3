"""Repeat the cross-validation in random halves of the participants, for intervals of scores.

The score of a cross-validation varies with the tested and with the training participants. At chance
these contribute equally: how well i is predicted from j is correlated with how well j is predicted
from i, and a bootstrap over predictions of models that are not fitted again sees one of the two.
Its variance is half of the true one, and one of five nominal 95 % intervals excludes chance.

Two halves share no participant, so their scores are independent, and half the squared difference of
the two is an unbiased estimate of the variance of a cross-validation with half as many participants
(Nadeau and Bengio 2003, doi:10.1023/A:1024068626366, section 5). Variances of scores are inversely
proportional to the number of participants, so half of it is the variance with all, as for the
grouped jackknife and balanced half-samples (Shao and Wu 1989, doi:10.1214/aos/1176347263).
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from brainmass_core.encoders.registry import METHODS
from brainmass_core.finetune.cohort.dataset import place_of
from brainmass_core.finetune.cohort.labels import TaskError
from brainmass_core.finetune.evaluation import Evaluation
from brainmass_core.finetune.folds.participants import Fold, stratum_of
from brainmass_core.finetune.methods.fitting import Design, predict_folds
from brainmass_core.finetune.statistics import metrics, regression
from brainmass_core.finetune.statistics.metrics import Predictions
from brainmass_core.finetune.statistics.spread import HalfScores

log = logging.getLogger(__name__)
MIN_TRAINED = 2  # participants per class, for searches within the training set
MIN_TESTED = 5  # participants per class of a half, over all folds


def half_scores(e: Evaluation, methods: list[str]) -> dict[str, HalfScores]:
    """Scores in random halves, of the methods in `finetune.halving_methods`.

    Returns
    -------
    dict
        Without methods that cannot be fitted to halves, which is logged.
    """
    settings = e.config.finetune
    chosen = settings.halved(methods)
    if not chosen:
        return {}
    folds = halve(e.data.scans, e.folds, settings.n_halvings, e.seed)
    if not folds:
        log.warning(
            "%s: too few participants to repeat the cross-validation in halves; intervals have "
            "twice the variance of a bootstrap over tested participants",
            e.task,
        )
        return {}
    found: dict[str, HalfScores] = {}
    for method in chosen:
        try:
            shown = e.features[METHODS[method].given]
            found[method] = scores_in(method, shown, e.design, e.data.scans, folds, e.seed)
        except TaskError as error:
            log.warning("%s: %s cannot be fitted to halves: %s", e.task, method, error)
            continue
        log.info("%s: %s fitted in %d halves", e.task, method, 2 * settings.n_halvings)
    return found


def halve(scans: pd.DataFrame, folds: list[Fold], n_halvings: int, seed: int) -> list[Fold]:
    """Folds of random halves of the participants: those of the task, without the other half.

    Each halving takes the folds of one repeat, in turn, and divides the participants evenly within
    split, class (or fifth of the target), fold and site.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        `TaskData.scans`.
    folds : list of Fold
        Of all repeats.
    n_halvings, seed : int

    Returns
    -------
    list of Fold
        `repeat` is ``2 h`` and ``2 h + 1`` for the halves of halving h. Empty if a half has too few
        participants of a class to train or to test.
    """
    repeats = sorted({f.repeat for f in folds})
    label = _classes(scans)
    found = []
    for h in range(n_halvings):
        now = [f for f in folds if f.repeat == repeats[h % len(repeats)]]
        side = _sides(scans, now, np.random.default_rng([seed, h, 2]))
        for half in (0, 1):
            mine = [_within(f, side == half, 2 * h + half) for f in now]
            mine = [f for f in mine if len(f.test)]
            if not _suffices(mine, scans, label):
                return []
            found += mine
    return found


def _within(f: Fold, kept: np.ndarray, repeat: int) -> Fold:
    return replace(f, repeat=repeat, train=f.train[kept[f.train]], test=f.test[kept[f.test]])


def _classes(scans: pd.DataFrame) -> np.ndarray:
    """Class of each scan; one for all of a regression."""
    whole = pd.api.types.is_integer_dtype(scans["y"])
    return scans["y"].to_numpy() if whole else np.zeros(len(scans), int)


def _sides(scans: pd.DataFrame, folds: list[Fold], rng: np.random.Generator) -> np.ndarray:
    """Half (0 or 1) of each scan (n_scans,), the same for all scans of a participant."""
    fold = np.full(len(scans), -1)
    for f in folds:
        fold[f.test] = f.fold
    table = scans.assign(fold=fold, place=place_of(scans), part=stratum_of(scans))
    tested = table.groupby("participant", sort=True)["fold"].max()
    people = table.drop_duplicates("participant").set_index("participant").loc[tested.index]
    keys = [pd.factorize(people[k], sort=True)[0] for k in ("place", "part", "split")]
    place, part, split = keys
    # neighbours in this order are similar; one of each pair is in each half
    order = np.lexsort((rng.random(len(people)), place, tested.to_numpy(), part, split))
    side = np.empty(len(people), int)
    first = np.repeat(rng.integers(0, 2, (len(people) + 1) // 2), 2)[: len(people)]
    side[order] = (first + np.arange(len(people))) % 2
    return pd.Series(side, people.index).loc[scans["participant"]].to_numpy()


def _suffices(folds: list[Fold], scans: pd.DataFrame, label: np.ndarray) -> bool:
    """Whether all classes can be trained in all folds, and tested in some."""
    who = scans["participant"].to_numpy()

    def fewest(rows: np.ndarray) -> int:
        return min(len(np.unique(who[rows][label[rows] == c])) for c in np.unique(label))

    tested = np.concatenate([f.test for f in folds]) if folds else np.array([], int)
    trained = all(fewest(f.train) >= MIN_TRAINED for f in folds)
    return trained and fewest(tested) >= MIN_TESTED


def scores_in(
    method: str,
    features: Any,
    design: Design,
    scans: pd.DataFrame,
    folds: list[Fold],
    seed: int,
) -> HalfScores:
    """Fit and score a method in every half.

    Parameters
    ----------
    features : array or list (n_scans, ...)
    scans : DataFrame (n_scans rows)
        `TaskData.scans`.
    folds : list of Fold
        Result of `halve`.
    seed : int
        Modulo 2**31, of the fits.

    Returns
    -------
    dict of ndarray (n_halvings, 2)
    """
    found = predict_folds(method, features, design, folds, seed % 2**31)
    tested = scans.iloc[found["row"]].reset_index(drop=True)
    columns = {c: tested[c] for c in ("scan_id", "dataset", "participant_id")}
    table = found.assign(y_true=tested["y"].astype(float), **columns)
    scores: Any = regression if design.kind == "regression" else metrics
    rows = []
    for _, half in table.groupby("repeat", sort=True):
        p = Predictions.from_table(half, complete=False)
        rows.append(scores.weighted_scores(p, np.ones((1, int(p.who.max()) + 1))))
    return {m: np.array([row[m][0] for row in rows]).reshape(-1, 2) for m in scores.METRICS}
