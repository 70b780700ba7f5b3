"""Protocols of evaluation, which return `Fold`s.

With every protocol only participants with split ``test`` are tested (pre-training did not use
them), participants are never on both sides, and `refuse_leaks` checks the result again.
"""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from brainmass_core.config.tasks import Protocol
from brainmass_core.finetune.cohort.dataset import place_of
from brainmass_core.finetune.cohort.labels import PHENO, TaskError, canonical
from brainmass_core.finetune.folds.participants import Fold, make_folds, make_strata, stratum_of

log = logging.getLogger(__name__)


def protocol_folds(
    scans: pd.DataFrame, protocol: Protocol, seed: int, name: str = "task"
) -> list[Fold]:
    """Folds of a task.

    Parameters
    ----------
    seed : int
        Of the protocols that draw participants.
    scans : DataFrame
        `TaskData.scans`: participant, dataset, y, stratum, site and split of each scan.

    Returns
    -------
    list of Fold
        train and test are rows of `scans`.

    Raises
    ------
    TaskError
        If there are too few participants, sites or data sets.
    """
    if protocol.kind == "leave_one_site_out":
        return leave_one_site_out(scans, protocol.min_per_class, name)
    if protocol.kind == "fixed_split":
        return fixed_split(scans, protocol, seed, name)
    if protocol.kind == "cross_cohort":
        return cross_cohort(scans, protocol.train_datasets, name)
    return make_folds(scans, protocol.n_splits, protocol.n_repeats, seed, name)


def leave_one_site_out(scans: pd.DataFrame, min_per_class: int, name: str = "task") -> list[Fold]:
    """One fold per site, with models trained at all other sites.

    A site belongs to a data set. Participants with any scan at the site are not used for training;
    their scans at other sites are not tested, because those sites are part of the training set. A
    site with fewer than `min_per_class` evaluation participants of some class (regression: of all),
    and scans without a site, are used for training but not
    tested.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        `TaskData.scans`: participant, dataset, y, stratum, site and split.
    min_per_class : int
        Minimum number of evaluation participants per class of a tested site.

    Raises
    ------
    TaskError
        If fewer than two sites can be tested, or a training set lacks a class.
    """
    place = place_of(scans).where(scans["site"].notna())
    first = scans.assign(place=place).drop_duplicates("participant").set_index("participant")
    home = scans["participant"].map(first["place"])
    tested_ones = first[first["split"] == "test"]
    is_class = _classes(scans)
    folds: list[Fold] = []
    left_out = []
    for site in sorted(place.dropna().unique()):
        people = tested_ones[tested_ones["place"] == site]
        sizes = [(people["y"] == c).sum() for c in is_class] if is_class else [len(people)]
        if min(sizes) < min_per_class:
            left_out.append(site)
            continue
        here = scans["participant"].isin(scans.loc[place == site, "participant"])
        test = (home == site) & (place == site) & (scans["split"] == "test")
        folds.append(Fold(0, len(folds), np.flatnonzero(~here), np.flatnonzero(test)))
    if left_out:
        log.warning("%s: sites too small to be tested: %s", name, ", ".join(left_out))
    if len(folds) < 2:
        lower = (
            f"lower tasks.{name}.protocol.min_per_class, "
            if min_per_class > 1 and place.nunique() > 1
            else ""
        )
        raise TaskError(
            f"task {name}: {len(folds)} of {place.nunique()} sites have {min_per_class} or more "
            f"evaluation participants of each class, expected two or more; {lower}set "
            "phenotype.site_column of the data sets to the column of sites, or set "
            f"tasks.{name}.protocol.kind to another"
        )
    for f in folds:
        _refuse_one_class(scans, f.train, name, "the other sites")
    return folds


def fixed_split(
    scans: pd.DataFrame, protocol: Protocol, seed: int, name: str = "task"
) -> list[Fold]:
    """One training set; test participants are drawn from the others in each repeat.

    This is the paper's protocol, for comparison with its scores: repeats share the training set,
    and their test sets overlap. Only the drawn test participants vary, so the spread over repeats
    says little about other training sets.

    The training set consists of participants whose `split_column` has one of `train_values`;
    without such a column those with split ``train`` (70 % of an `internal` data set by default); if
    there are none, a stratified fraction `train_fraction` of all.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        `TaskData.scans`: participant, dataset, y, stratum, site and split.
    protocol : Protocol
    seed : int

    Raises
    ------
    TaskError
        If `split_column` does not exist, or the training set or a test set lacks a class.
    """
    people = scans.drop_duplicates("participant").reset_index(drop=True)
    strata = make_strata(stratum_of(people), place_of(people), 2)
    training = _training(people, strata, protocol, seed, name)
    pool = people.index[~training & (people["split"] == "test")]
    size = max(1, round(protocol.test_fraction * len(pool)))
    folds = []
    for repeat in range(protocol.n_repeats):
        chosen = _draw(pool.to_numpy(), strata, size, seed + 1 + repeat)
        test = scans["participant"].isin(people["participant"].iloc[chosen])
        train = scans["participant"].isin(people.loc[training, "participant"])
        folds.append(Fold(repeat, 0, np.flatnonzero(train), np.flatnonzero(test)))
    for f in folds:
        _refuse_one_class(scans, f.train, name, "the training set")
        _refuse_one_class(scans, f.test, name, f"the test set of repeat {f.repeat}")
    return folds


def cross_cohort(scans: pd.DataFrame, train_datasets: list[str], name: str = "task") -> list[Fold]:
    """Trained on some data sets, tested on each of the others: one fold per tested data set.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        `TaskData.scans`: dataset, y and split.
    train_datasets : list of str

    Raises
    ------
    TaskError
        If no scan of the other data sets is eligible, or a test set lacks a class.
    """
    source = scans["dataset"].isin(train_datasets)
    _refuse_one_class(scans, np.flatnonzero(source), name, "protocol.train_datasets")
    folds: list[Fold] = []
    for dataset in sorted(scans.loc[~source, "dataset"].unique()):
        test = np.flatnonzero((scans["dataset"] == dataset) & (scans["split"] == "test"))
        _refuse_one_class(scans, test, name, f"the evaluation participants of {dataset}")
        folds.append(Fold(0, len(folds), np.flatnonzero(source), test))
    if not folds:
        raise TaskError(
            f"task {name}: no scan of the data sets to test is eligible (those not in "
            "protocol.train_datasets); see the exclusions: brainmass status"
        )
    return folds


def _training(
    people: pd.DataFrame, strata: np.ndarray, protocol: Protocol, seed: int, name: str
) -> np.ndarray:
    """Whether each participant (n_participants,) is in the training set."""
    if protocol.split_column:
        column = PHENO + protocol.split_column
        if column not in people:
            raise TaskError(
                f"tasks.{name}.protocol.split_column: no phenotype column {protocol.split_column!r}"
            )
        values = people[column].map(canonical, na_action="ignore")
        return values.isin([canonical(v) for v in protocol.train_values]).to_numpy()
    by_split = (people["split"] != "test").to_numpy()
    if by_split.any():
        return by_split
    size = round(protocol.train_fraction * len(people))
    found = np.zeros(len(people), dtype=bool)
    found[_draw(np.arange(len(people)), strata, size, seed)] = True
    return found


def _draw(pool: np.ndarray, strata: np.ndarray, size: int, seed: int) -> np.ndarray:
    """A stratified choice of `size` from the pool; sorted."""
    if size >= len(pool):
        return pool
    state = int(np.random.SeedSequence([seed % 2**63]).generate_state(1)[0])
    groups = pd.Series(strata[pool].astype(str))
    rare = groups.map(groups.value_counts()) < 2
    groups = groups.where(~rare, groups.str.split("|").str[0] + "||rest")
    labels = groups.str.split("|").str[0]
    for chosen in (groups, labels):
        enough = chosen.value_counts().min() >= 2
        if enough and min(size, len(pool) - size) >= chosen.nunique():
            part, _ = train_test_split(
                pool, train_size=size, stratify=chosen, random_state=state, shuffle=True
            )
            return np.sort(part)
    return np.sort(np.random.default_rng(state).permutation(pool)[:size])


def _classes(scans: pd.DataFrame) -> list[int]:
    """Class numbers; empty for a regression."""
    whole = pd.api.types.is_integer_dtype(scans["y"])
    return sorted(scans["y"].unique().tolist()) if whole else []


def _refuse_one_class(scans: pd.DataFrame, rows: np.ndarray, name: str, where: str) -> None:
    found, expected = scans["y"].iloc[rows].nunique(), len(_classes(scans))
    if found < max(expected, 1) or len(rows) == 0:
        raise TaskError(
            f"task {name}: {where}: {len(rows)} scans of {found} classes, expected "
            f"{expected or 'some'}; add participants, or set tasks.{name}.protocol.kind to another"
        )
