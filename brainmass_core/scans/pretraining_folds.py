"""Folds of participants for cross-fitted pre-training (``pretrain.folds``).

Encoder i of k is trained without the participants of fold i. The fold follows from a hash of the
seed and the person, nothing else. So all scans, sessions and data sets of a person are in one fold,
and nobody moves to another fold when scans, participants or data sets are added or removed, or are
listed in another order; a model needs no other table to know whom to exclude.

Folds dealt within strata of site and label would be of equal size, but then a new participant would
move others, and a person with entries in two data sets could have two strata. The price of the hash
is a random size: of n participants each fold has n / k, with a standard deviation of
sqrt(n (k - 1)) / k (for 457 in 2 folds 228 and 11), and sites and labels are divided likewise. This
affects how many scans an encoder sees, but not the validity of a test: no label is used in
pre-training, and tasks stratify their own test folds by label and site within each fold.

Copies of a recording under the ids of two people are not joined but refused, as without folds.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from brainmass_core.pipeline.eligibility import CROSSED
from brainmass_core.pipeline.hashing import stable_hash
from brainmass_core.scans.copies import persons


def fold_of(person: str, n_folds: int, seed: int) -> int:
    """Fold of a person (`copies.persons`), from 1 to `n_folds`."""
    return stable_hash("pretraining fold", str(seed), person) % n_folds + 1


def folds_of(
    scans: pd.DataFrame, n_folds: int, seed: int, allowed: Iterable[str] = ()
) -> pd.Series:
    """Fold of the participant of each scan, in whatever data set.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        dataset and participant_id.
    n_folds, seed : int
        ``pretrain.folds`` and ``seed`` of the configuration.
    allowed : iterable of str
        ``allow_same_ids``: ids that are other people in each data set.

    Returns
    -------
    Series (n_scans,) of int
        1 to `n_folds`.
    """
    person = persons(scans, allowed)
    of = {who: fold_of(who, n_folds, seed) for who in person.unique()}
    return person.map(of).astype(int)


def left_out(
    scans: pd.DataFrame, fold: int, n_folds: int, seed: int, allowed: Iterable[str] = ()
) -> pd.Series:
    """Whether the encoder of a fold must not be trained on each scan.

    These are the scans of the participants of the fold who have a scan with split ``crossed``, in
    all data sets: a person in data sets of roles ``internal`` and ``pretrain`` is excluded from
    both. Others of role ``pretrain`` are used by all encoders.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        dataset, participant_id and split, of all data sets of the pre-training.

    Returns
    -------
    Series (n_scans,) of bool
    """
    person = persons(scans, allowed)
    tested = person.isin(person[scans["split"] == CROSSED])
    return tested & (folds_of(scans, n_folds, seed, allowed) == fold)
