"""Zero-shot: classifiers trained on one cohort, applied to another without using its labels.

The labels of the target are only used for scoring. If pre-training used the target, or a
participant is on both sides, the transfer is refused; this is checked in the tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from brainmass_core.auc import auc_influence, interval, standard_error
from brainmass_core.config.adaptation import ZeroShot
from brainmass_core.config.tasks import Task
from brainmass_core.finetune.adjustment import adjuster, match
from brainmass_core.finetune.cohort.dataset import place_of
from brainmass_core.finetune.cohort.labels import TaskError
from brainmass_core.finetune.confounds import confounds_of, refuse_codes_of_sex
from brainmass_core.finetune.methods.few_shot_classifiers import classify, coordinates, gram
from brainmass_core.finetune.statistics.balanced_accuracy import (
    balanced_accuracy_influence,
    smallest_class,
)
from brainmass_core.scans.copies import LeakError, copies, named, remedy, require_marks


def refuse_seen(source: pd.DataFrame, target: pd.DataFrame, shown: pd.DataFrame) -> None:
    """Refuse a target that training or pre-training used in any form.

    Parameters
    ----------
    source, target : DataFrame
        Scans with their marks, see `timeseries.identity.with_marks`.
    shown : DataFrame
        Scans of any data set that pre-training used, see `leaks.scans_shown`.

    Raises
    ------
    LeakError
        Naming the participants or scans.
    """
    require_marks(source, target, shown)
    both = copies(target, source)
    if len(both):
        raise LeakError(
            f"zero-shot: {len(both)} scans of the target belong to participants of the source, or "
            f"are copies of its scans: {named(both)}; name a source without them in "
            f"zero_shot_from, or {remedy(both)}"
        )
    seen = copies(target, shown)
    if len(seen):
        raise LeakError(
            f"zero-shot: {len(seen)} scans of the target were used for pre-training, or other "
            f"scans of their participants, or copies: {named(seen)}; give its data sets the role "
            f"external and run again, or {remedy(seen)}"
        )


def site_centred(features: np.ndarray, scans: pd.DataFrame) -> np.ndarray:
    """Features (n_scans, n_features) minus the mean over the scans of their site.

    Sites belong to a data set; scans without a site form one site.

    Parameters
    ----------
    features : ndarray (n_scans, n_features)
    scans : DataFrame (n_scans rows)
        dataset and site.

    Returns
    -------
    ndarray (n_scans, n_features) of float64
    """
    sites = place_of(scans).to_numpy()
    found = np.array(features, dtype=np.float64)
    for site in np.unique(sites):
        found[sites == site] -= found[sites == site].mean(axis=0)
    return found


def transfer(
    features: dict[str, tuple[np.ndarray, np.ndarray]],
    source: pd.DataFrame,
    target: pd.DataFrame,
    settings: ZeroShot,
    task: Task | None = None,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fit on all scans of the source and score those of the target.

    Parameters
    ----------
    features : dict of two ndarrays (n_scans, n_features)
        By name, for source and target.
    source, target : DataFrame
        participant, y, dataset and site of each scan; with confounds: sex, age and mean_fd.
    task : Task, optional
        Adjustment for confounds, fitted to the source. Default: none.
    seed : int
        Seed of the draw for `confounds: match`.

    Returns
    -------
    DataFrame
        Columns of `tables.ZERO_SHOT` except task and source, one row per method. Intervals reflect
        the choice of tested participants of the target, not of training participants.
    DataFrame
        Columns of `tables.ZERO_SHOT_PREDICTIONS` except the task, one row per method and scan.

    Raises
    ------
    TaskError
        If source and target have features of different lengths.
    """
    rows, predictions = [], []
    train = _training(source, task, seed)
    test = len(source) + np.arange(len(target))
    learned = source.iloc[train]
    y = learned["y"].to_numpy()
    with threadpool_limits(limits=1):  # sums in another order would change the last digits
        for name, pair in features.items():
            if pair[0].shape[1] != pair[1].shape[1]:
                raise TaskError(
                    f"zero-shot: found {pair[0].shape[1]} features ({name}) in the source and "
                    f"{pair[1].shape[1]} in the target; expected the same atlas for both"
                )
            if settings.harmonise == "site_mean":
                pair = (site_centred(pair[0], source), site_centred(pair[1], target))
            if task and task.confounds == "regress":
                pair = _regressed(pair, source, target, list(task.confound_columns))
            inside, outside = coordinates(gram(np.concatenate(pair)), train, test)
            for classifier in settings.classifiers:
                method = f"{name}_{classifier}"
                score, predicted = classify(classifier, inside, y, outside)
                rows.append({"method": method, **_row(learned, target, score, predicted)})
                predictions.append(_rows(target, score, predicted).assign(method=method))
    return (
        pd.DataFrame(rows).assign(harmonise=settings.harmonise),
        pd.concat(predictions, ignore_index=True),
    )


def _training(source: pd.DataFrame, task: Task | None, seed: int) -> np.ndarray:
    """Rows of the source used for training: all, or matched ones."""
    rows = np.arange(len(source))
    if task is None or task.confounds != "match":
        return rows
    y, who = source["y"].to_numpy(), source["participant"].to_numpy()
    return match(rows, y, who, confounds_of(source), seed)


def _regressed(
    pair: tuple[np.ndarray, np.ndarray],
    source: pd.DataFrame,
    target: pd.DataFrame,
    columns: list[str],
) -> tuple[np.ndarray, np.ndarray]:
    """Regress confounds out of both, fitted to the source; sites of the target have no effect."""
    if "sex" in columns:
        refuse_codes_of_sex(pd.concat([source, target]))
    at_source, at_target = confounds_of(source), confounds_of(target)
    fitted = adjuster("regress", columns).fit(pair[0], at_source)
    return fitted.transform(pair[0], at_source), fitted.transform(pair[1], at_target)


def _row(
    source: pd.DataFrame, target: pd.DataFrame, score: np.ndarray, predicted: np.ndarray
) -> dict[str, Any]:
    y, who = target["y"].to_numpy(), target["participant"].to_numpy()
    smallest = smallest_class(y, who)
    row: dict[str, Any] = {
        "n_train_participants": source["participant"].nunique(),
        "n_train_scans": len(source),
        "n_test_participants": target["participant"].nunique(),
        "n_test_scans": len(target),
    }
    for metric, (value, psi) in {
        "auc": auc_influence(y, score),
        "balanced_accuracy": balanced_accuracy_influence(y, predicted),
    }.items():
        low, high = interval(value, standard_error(psi, who), smallest)
        row |= {metric: value, f"{metric}_low": low, f"{metric}_high": high}
    return row


def _rows(target: pd.DataFrame, score: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    found = target[["scan_id", "dataset", "participant_id", "site"]].reset_index(drop=True)
    scores = list(np.atleast_2d(score.T).T)  # one score, or one per class
    return found.assign(y_true=target["y"].to_numpy(), y_pred=predicted, y_scores=scores)
