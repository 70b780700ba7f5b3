"""Few-shot learning curves: scores by the number of labelled participants, for each feature.

Per fold and draw, k participants of each class are drawn from the fold's training part; classifiers
fitted to their scans are tested on all test scans of the fold. Draws of larger k include those of
smaller k, and all methods use the same draws.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from brainmass_core.auc import auc_influence, interval, standard_error
from brainmass_core.config.adaptation import FewShot
from brainmass_core.config.tasks import Task
from brainmass_core.finetune.adjustment import adjuster, match
from brainmass_core.finetune.cohort.labels import TaskError
from brainmass_core.finetune.confounds import confounds_of, refuse_codes_of_sex
from brainmass_core.finetune.folds.participants import Fold
from brainmass_core.finetune.methods.few_shot_classifiers import classify, coordinates, gram
from brainmass_core.finetune.statistics.balanced_accuracy import (
    balanced_accuracy_influence,
    smallest_class,
)
from brainmass_core.scans.copies import LeakError

log = logging.getLogger(__name__)
SCORES = {"auc": 0, "balanced_accuracy": 1}
DRAW_LEVELS = (0.025, 0.975)


@dataclass(frozen=True)
class Draw:
    """Training scans of one draw.

    Attributes
    ----------
    rows : ndarray of int
        All scans of the drawn participants.
    """

    number: int
    k: int
    rows: np.ndarray


@dataclass
class _Curve:
    """Accumulated results of one method at one k."""

    influence: np.ndarray  # (2, n_scans), summed over draws and repeats
    times: np.ndarray  # (n_scans,) number of times a scan was tested
    by_draw: dict[int, list[tuple[float, float, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )  # per draw: AUC, balanced accuracy, number of test scans of each fold


def draw_shots(
    y: np.ndarray, who: np.ndarray, train: np.ndarray, shots: list[int], n_draws: int, seed: int
) -> Iterator[Draw]:
    """Draws of k participants per class from the training part of a fold.

    Parameters
    ----------
    y, who : ndarray (n_scans,)
        Class and participant of all scans; a participant's class is that of the first scan.
    train : ndarray (n_train,) of int
        Rows of the fold's training part.
    shots : list of int
        Values of k; values for which a class has too few participants are skipped.
    n_draws, seed : int
        The seed and the number of a draw determine its participants.

    Yields
    ------
    Draw
        By number, then in the order of `shots`.
    """
    first = pd.DataFrame({"row": train, "who": who[train], "y": y[train]}).drop_duplicates("who")
    pools = [people["who"].to_numpy() for _, people in first.groupby("y")]
    possible = [k for k in shots if k <= min(map(len, pools), default=0)]
    for number in range(n_draws):
        rng = np.random.default_rng(np.random.SeedSequence([seed, number]))
        orders = [rng.permutation(pool) for pool in pools]
        for k in possible:
            chosen = np.concatenate([order[:k] for order in orders])
            yield Draw(number, k, train[np.isin(who[train], chosen)])


def learning_curves(
    features: dict[str, np.ndarray],
    scans: pd.DataFrame,
    folds: list[Fold],
    s: FewShot,
    seed: int,
    task: Task | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score every draw, and summarise by method and k.

    Parameters
    ----------
    features : dict of ndarray (n_scans, n_features)
        By name.
    scans : DataFrame (n_scans rows)
        participant and y; with confounds also dataset, site, sex, age and mean_fd.
    task : Task, optional
        Adjustment for confounds in each fold. `regress` and `combat` are fitted to the features of
        all its training scans, without labels; with `match`, draws are made from the matched
        participants. Default: no adjustment.

    Returns
    -------
    DataFrame
        Columns of `tables.FEW_SHOT` except the task: one row per method, k, draw and fold.
    DataFrame
        Columns of `tables.LEARNING_CURVE` except the task, see `_summary`.

    Raises
    ------
    LeakError
        If a drawn participant is among those tested.
    TaskError
        If no fold has enough participants of each class for the smallest k.
    """
    y, who = scans["y"].to_numpy(), scans["participant"].to_numpy()
    folds = [f for f in folds if f.repeat < s.n_repeats]
    rows: list[dict[str, Any]] = []
    curves: dict[tuple[str, int], _Curve] = {}
    # with more threads, sums in another order would change the last digits
    with threadpool_limits(limits=1):
        for name, values in features.items():
            for f, d, products in _draws(values, scans, folds, s, seed, task):
                inside, outside = coordinates(products, d.rows, f.test)
                for classifier in s.classifiers:
                    method = f"{name}_{classifier}"
                    curve = curves.setdefault((method, d.k), _empty(len(y)))
                    scored = classify(classifier, inside, y[d.rows], outside)
                    row = _record(curve, f, d, y, *scored)
                    n_train = {"n_train_participants": len(set(who[d.rows]))}
                    rows.append({"method": method} | row | n_train)
    if not curves:
        raise TaskError(_none_drawn(s, scans, folds))
    _say_left_out(s, {k for _, k in curves})
    summary = [_summary(m, k, c, y, who) for (m, k), c in curves.items()]
    order = ["method", "k", "draw", "repeat", "fold"]
    return (
        pd.DataFrame(rows).sort_values(order, ignore_index=True),
        pd.DataFrame(summary).sort_values(["method", "k"], ignore_index=True),
    )


def _draws(
    values: np.ndarray,
    scans: pd.DataFrame,
    folds: list[Fold],
    s: FewShot,
    seed: int,
    task: Task | None,
) -> Iterator[tuple[Fold, Draw, np.ndarray]]:
    """Every draw of every fold, with the Gram matrix of the features (n_scans, n_scans)."""
    y, who = scans["y"].to_numpy(), scans["participant"].to_numpy()
    products = gram(values)
    for f in folds:
        state = int(np.random.SeedSequence([seed, f.repeat, f.fold]).generate_state(1)[0])
        if task and task.confounds in ("regress", "combat"):
            products = gram(_adjusted(values, scans, f, task))
        pool = _pool(scans, f, task, state)
        for d in draw_shots(y, who, pool, s.shots, s.n_draws, state):
            refuse_tested(d, who, f)
            yield f, d, products


def _adjusted(values: np.ndarray, scans: pd.DataFrame, f: Fold, task: Task) -> np.ndarray:
    """Features of all scans, adjusted for confounds by a fit to the training scans."""
    if task.confounds == "regress" and "sex" in task.confound_columns:
        refuse_codes_of_sex(scans)
    confounds = confounds_of(scans)
    adjust = adjuster(task.confounds, list(task.confound_columns))
    return adjust.fit(values[f.train], confounds.iloc[f.train]).transform(values, confounds)


def _pool(scans: pd.DataFrame, f: Fold, task: Task | None, seed: int) -> np.ndarray:
    """Training rows from which draws are made."""
    if task is None or task.confounds != "match":
        return f.train
    y, who = scans["y"].to_numpy(), scans["participant"].to_numpy()
    return match(f.train, y, who, confounds_of(scans), seed)


def refuse_tested(draw: Draw, who: np.ndarray, fold: Fold) -> None:
    """Refuse a draw with a participant of the test part.

    Parameters
    ----------
    draw : Draw
    who : ndarray (n_scans,)
        Participant of each scan.
    fold : Fold

    Raises
    ------
    LeakError
        Naming the participants.
    """
    both = sorted(set(who[draw.rows]) & set(who[fold.test]))
    if both:
        raise LeakError(
            f"few-shot, repeat {fold.repeat}, fold {fold.fold}, draw {draw.number}: participants "
            f"{both[:10]} are drawn and tested; this is a bug in the folds, please report it"
        )


def _record(
    curve: _Curve, f: Fold, d: Draw, y: np.ndarray, score: np.ndarray, predicted: np.ndarray
) -> dict[str, Any]:
    """Add a draw's scores to the curve, and return its row."""
    auc, psi_auc = auc_influence(y[f.test], score)
    balanced, psi_balanced = balanced_accuracy_influence(y[f.test], predicted)
    curve.influence[:, f.test] += np.stack([psi_auc, psi_balanced])
    curve.times[f.test] += 1
    curve.by_draw[d.number].append((auc, balanced, len(f.test)))
    return {
        "k": d.k,
        "draw": d.number,
        "repeat": f.repeat,
        "fold": f.fold,
        "auc": auc,
        "balanced_accuracy": balanced,
        "n_train_scans": len(d.rows),
        "n_test_scans": len(f.test),
    }


def _summary(method: str, k: int, curve: _Curve, y: np.ndarray, who: np.ndarray) -> dict[str, Any]:
    """Mean over draws and folds, with two intervals.

    ``auc_low`` to ``auc_high`` is the 95 % confidence interval of the mean over draws: it reflects
    the choice of tested participants and the number of draws. ``auc_draw_low`` to ``auc_draw_high``
    contains 95 % of the single draws, each tested on its fold: the variation with the choice of k
    participants per class. Neither reflects the variation between training cohorts.
    """
    draws = list(curve.by_draw.values())
    means = np.array([_over_folds(d) for d in draws])  # (n_draws, 2)
    single = np.array([fold[:2] for d in draws for fold in d])
    tested = np.flatnonzero(curve.times)
    smallest = smallest_class(y[tested], who[tested])
    row: dict[str, Any] = {
        "method": method,
        "k": k,
        "n_draws": len(draws),
        "n_folds": len(draws[0]),
    }
    for metric, i in SCORES.items():
        psi = curve.influence[i, tested] / curve.times[tested]
        of_draws = means[:, i].std(ddof=1) / np.sqrt(len(draws))
        error = np.hypot(standard_error(psi, who[tested]), of_draws)
        value = float(means[:, i].mean())
        low, high = interval(value, float(error), smallest)
        draw_low, draw_high = (float(q) for q in np.nanquantile(single[:, i], DRAW_LEVELS))
        row |= {metric: value, f"{metric}_low": low, f"{metric}_high": high}
        row |= {f"{metric}_draw_low": draw_low, f"{metric}_draw_high": draw_high}
    return row


def _over_folds(scores: list[tuple[float, float, int]]) -> list[float]:
    """Both scores averaged over the folds of a draw, weighted by test scans; NaN if all are NaN."""
    table = np.ma.masked_invalid(np.array(scores))
    means = [np.ma.average(table[:, i], weights=table[:, 2]) for i in SCORES.values()]
    return [float(np.ma.filled(m, np.nan)) for m in means]


def _empty(n_scans: int) -> _Curve:
    return _Curve(np.zeros((len(SCORES), n_scans)), np.zeros(n_scans, int))


def _none_drawn(s: FewShot, scans: pd.DataFrame, folds: list[Fold]) -> str:
    n_classes = scans["y"].nunique()
    people = [scans.iloc[f.train].drop_duplicates("participant")["y"] for f in folds]
    most = max(y.value_counts().min() if y.nunique() == n_classes else 0 for y in people)
    lower = f"set few_shot.shots to numbers up to {most}, or " if most else ""
    return (
        f"few_shot.shots {s.shots}: found {most} participants of the smallest class in the "
        f"training part of a fold, expected at least {min(s.shots)}; {lower}add participants"
    )


def _say_left_out(s: FewShot, done: set[int]) -> None:
    left_out = sorted(set(s.shots) - done)
    if left_out:
        log.warning(
            "few_shot.shots %s: no fold has that many training participants of each class; skipped",
            left_out,
        )
