"""Tables of confounds (site, sex, age, motion), and scans that cannot be adjusted for them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from brainmass_core.config.tasks import Task
from brainmass_core.finetune.cohort.dataset import UNKNOWN, place_of
from brainmass_core.finetune.cohort.labels import TaskError
from brainmass_core.finetune.folds.participants import Fold
from brainmass_core.finetune.methods.estimators import CONFOUNDS_NUMBER, CONFOUNDS_TEXT
from brainmass_core.readers.groups import coded_otherwise, sex_of

log = logging.getLogger(__name__)
MIN_SCANS = 3  # minimum number per site, to estimate its mean and variance


def confounds_of(scans: pd.DataFrame) -> pd.DataFrame:
    """Site, sex, age (years), mean framewise displacement (mm); a missing text is `UNKNOWN`.

    Sites belong to a data set, because two data sets may both have a site ``1``. A data set without
    sites is one site. ``male`` in one data set is ``M`` in another.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        dataset, site, sex, age and mean_fd.

    Returns
    -------
    DataFrame (n_scans rows)
        Columns `CONFOUNDS_TEXT` and `CONFOUNDS_NUMBER`; a missing number is NaN.
    """
    place = place_of(scans).where(scans["site"].notna())
    nowhere = place.isna().groupby(scans["dataset"]).transform("all")
    sex = scans["sex"].astype(object).map(sex_of, na_action="ignore")
    return confound_table(scans.assign(site=place.where(~nowhere, scans["dataset"]), sex=sex))


def refuse_codes_of_sex(scans: pd.DataFrame) -> None:
    """Refuse scans whose data sets write the sex in ways that cannot be compared.

    Each code would be a group of its own, so that no fit to one data set would do anything about
    the sex in the other.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        dataset and sex.

    Raises
    ------
    TaskError
        With the data sets and their codes.
    """
    known = scans.dropna(subset="sex")
    found = coded_otherwise({str(d): of["sex"] for d, of in known.groupby("dataset")})
    if found:
        texts = "; ".join(f"{dataset}: {', '.join(sexes)}" for dataset, sexes in found.items())
        raise TaskError(
            f"confounds: the data sets write the sex in different ways ({texts}), so that it is "
            "not known which codes mean one; write M and F in their phenotype tables (a copy will "
            "do: phenotype.path)"
        )


def confounds_beside(scans: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
    """Confounds as features; those that are the target itself are set to missing.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        As of `confounds_of`.
    targets : sequence of str
        Confounds that are the target itself.

    Returns
    -------
    DataFrame (n_scans rows)
        As of `confounds_of`.

    Raises
    ------
    TaskError
        If the data sets write the sex in ways that cannot be compared.
    """
    if "sex" not in targets:
        refuse_codes_of_sex(scans)
    blank = {c: UNKNOWN if c in CONFOUNDS_TEXT else np.nan for c in targets}
    return confounds_of(scans).assign(**blank)


def confound_table(scans: pd.DataFrame) -> pd.DataFrame:
    """`confounds_of` for scans whose sites already have unique names.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        site, sex, age and mean_fd.

    Returns
    -------
    DataFrame (n_scans rows)
        As of `confounds_of`.
    """
    text = scans[CONFOUNDS_TEXT].astype(object).fillna(UNKNOWN).astype(str)
    return pd.concat([text, scans[CONFOUNDS_NUMBER].astype("float64")], axis=1)


def known_sites(confounds: pd.DataFrame) -> list[str]:
    """Sites whose mean and variance ComBat can estimate from these training scans.

    Empty with a single site, because then there is nothing to harmonise.

    Parameters
    ----------
    confounds : DataFrame (n_scans rows)
        Confounds of the training scans, with site.

    Returns
    -------
    list of str
        Sorted.
    """
    names, counts = np.unique(confounds["site"].to_numpy().astype(str), return_counts=True)
    known = [n for n, c in zip(names, counts, strict=True) if c >= MIN_SCANS and n != UNKNOWN]
    return known if len(known) > 1 else []


def left_by_combat(task: Task, scans: pd.DataFrame, folds: list[Fold]) -> pd.DataFrame | None:
    """Tested scans that ComBat does not adjust in some fold, because their site is unknown to it.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        `TaskData.scans`.

    Returns
    -------
    DataFrame or None
        Rows of `scans`; None if the task does not use ComBat.
    """
    if task.confounds != "combat":
        return None
    confounds, left = confounds_of(scans), np.zeros(len(scans), dtype=bool)
    for f in folds:
        known = known_sites(confounds.iloc[f.train])
        left[f.test] |= ~confounds["site"].iloc[f.test].isin(known).to_numpy()
    return scans[left]


def say_unadjusted(name: str, left: pd.DataFrame | None) -> None:
    """Log a warning about tested scans that are not harmonised, by site.

    Parameters
    ----------
    name : str
        Of the task.
    left : DataFrame, optional
        Result of `left_by_combat`: one row per scan; None or no rows: nothing is logged.
    """
    if left is None or left.empty:
        return
    counts = place_of(left).value_counts().sort_index()
    log.warning(
        "%s: confounds: combat does not adjust %d tested scans, because their sites have fewer "
        "than %d training scans: %s",
        name,
        len(left),
        MIN_SCANS,
        ", ".join(f"{site} ({n})" for site, n in counts.items()),
    )
