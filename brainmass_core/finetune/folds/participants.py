"""Folds over participants, stratified by label and site."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from brainmass_core.finetune.cohort.dataset import place_of
from brainmass_core.finetune.cohort.labels import TaskError


@dataclass(frozen=True)
class Fold:
    """Rows of the task's scans.

    Attributes
    ----------
    train, test : ndarray of int
        Row indices in `TaskData.scans`.
    """

    repeat: int
    fold: int
    train: np.ndarray
    test: np.ndarray


def make_folds(
    scans: pd.DataFrame, n_splits: int, n_repeats: int, seed: int, name: str = "task"
) -> list[Fold]:
    """Repeated k-fold over the evaluation participants.

    The participants with split ``test`` are divided into folds, stratified by label and site if a
    stratum has at least `n_splits` participants, otherwise by label. The training set of a fold are
    all labelled participants outside it, including those with split ``train``. All scans of a
    participant are on the same side.

    Parameters
    ----------
    scans : DataFrame
        participant, dataset, y, site and split of each scan, ordered by scan_id. The stratum of a
        participant is that of the first scan.
    seed : int
        Same seed, same folds.

    Returns
    -------
    list of Fold
        ``n_repeats * n_splits``; train and test are rows of `scans`.

    Raises
    ------
    TaskError
        If a class has fewer than `n_splits` evaluation participants.
    """
    people = scans.drop_duplicates("participant")
    people = people[people["split"] == "test"].reset_index(drop=True)
    _refuse_too_few(people, n_splits, name, bool((scans["split"] != "test").any()))
    strata = make_strata(_filled(stratum_of(people), n_splits), place_of(people), n_splits)
    folds = []
    for repeat in range(n_repeats):
        state = int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0])
        splitter = StratifiedKFold(n_splits, shuffle=True, random_state=state)
        with warnings.catch_warnings():  # classes were checked; a small stratum is no problem
            warnings.filterwarnings("ignore", "The least populated class", UserWarning)
            parts = list(splitter.split(strata, strata))
        for fold, (_, test) in enumerate(parts):
            tested = scans["participant"].isin(people["participant"].iloc[test]).to_numpy()
            folds.append(Fold(repeat, fold, np.flatnonzero(~tested), np.flatnonzero(tested)))
    return folds


def stratum_of(people: pd.DataFrame) -> pd.Series:
    """Strata of folds in addition to the site: the class, or the fifth of a regression's target.

    Fifths are in column stratum of `TaskData.scans`; test labels are only used to distribute them
    evenly, as in stratification by class.

    Parameters
    ----------
    people : DataFrame (n_participants rows)
        y, and stratum for a regression.

    Returns
    -------
    Series (n_participants,)
    """
    return people["stratum"] if "stratum" in people else people["y"]


def _filled(label: pd.Series, n_splits: int) -> pd.Series:
    """Merge fifths until each has enough participants for all folds."""
    n = int(label.max()) + 1
    while n > 1 and label.value_counts().max() < n_splits:
        label = label * (n - 1) // n
        n -= 1
    return label


def make_strata(y: pd.Series, site: pd.Series, n_splits: int) -> np.ndarray:
    """Strata by label and site; sites with fewer than `n_splits` participants of a label are
    merged.

    If the merged stratum is still too small, it joins the smallest other stratum of the label.

    Parameters
    ----------
    y, site : Series (n_participants,)

    Returns
    -------
    ndarray (n_participants,) of str
    """
    strata = y.astype(str) + "|" + site.astype(str)
    small = strata.map(strata.value_counts()) < n_splits
    strata = strata.where(~small, y.astype(str) + "||rest")
    for label in sorted(y.unique()):
        rest = f"{label}||rest"
        counts = strata[y == label].value_counts().sort_index()
        if 0 < counts.get(rest, 0) < n_splits and len(counts) > 1:
            strata = strata.replace(rest, counts.drop(rest).idxmin())
    return strata.to_numpy(dtype=object)


def permute_labels(
    scans: pd.DataFrame, seed: int | np.random.SeedSequence, within: pd.Series | None = None
) -> pd.Series:
    """Shuffle labels between participants; all scans of a participant keep the same label.

    By default over all sites: if labels are shuffled within sites, they remain predictable from the
    site if sites differ in their proportion of patients (FC on ABIDE: mean AUC 0.53 to 0.55 over
    such shuffles).

    Parameters
    ----------
    scans : DataFrame
        participant and y of each scan.
    within : Series, optional
        Stratum of each scan; that of the first scan counts for a participant. Labels are only
        shuffled within strata.

    Returns
    -------
    Series
        The new y with the index of `scans`; the numbers of participants per class do not change.
    """
    strata = pd.Series(0, index=scans.index) if within is None else within
    people = scans.assign(stratum=strata).drop_duplicates("participant").set_index("participant")
    rng, new = np.random.default_rng(seed), people["y"].copy()
    for _, members in people.groupby("stratum", sort=True)["y"]:
        new[members.index] = rng.permutation(members.to_numpy())
    return scans["participant"].map(new).astype(people["y"].dtype)


def _refuse_too_few(people: pd.DataFrame, n_splits: int, name: str, more: bool) -> None:
    """Refuse folds without a participant of each class; `more`: some are only used for training."""
    if pd.api.types.is_integer_dtype(people["y"]):
        counts = people["y"].value_counts().sort_index()
        counts = counts.reindex(range(max(2, len(counts))), fill_value=0)
    else:
        counts = pd.Series([len(people)])
    possible = int(counts.min())
    if possible >= n_splits:
        return
    words = ("first", "second", "third", "fourth", "fifth", "sixth")
    found = " and ".join(
        f"{n} of the {words[i] if i < len(words) else i + 1} class" for i, n in enumerate(counts)
    )
    found = found if len(counts) > 1 else str(possible)
    lower = f"set tasks.{name}.protocol.n_splits to {possible}, " if possible >= 2 else ""
    keep = (
        "raise evaluation_fraction of the internal data sets, set their stratify_by to the label "
        "column, "
        if more
        else ""
    )
    raise TaskError(
        f"task {name}: kept for evaluation are {found}, expected at least {n_splits} of each "
        f"(protocol.n_splits); {lower}{keep}or add participants".replace("; or", ";")
    )
