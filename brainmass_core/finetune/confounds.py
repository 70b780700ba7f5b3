"""Adjustment for confounds within a fold: regression, ComBat, matched training sets.

Everything is estimated from the training scans and applied to each test scan separately, without
using the diagnosis (`match` uses that of the training scans).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from brainmass_core.config.tasks import Task
from brainmass_core.finetune.cohort.dataset import UNKNOWN, place_of
from brainmass_core.finetune.cohort.labels import TaskError
from brainmass_core.finetune.folds.participants import Fold
from brainmass_core.finetune.methods.estimators import CONFOUNDS_NUMBER, CONFOUNDS_TEXT
from brainmass_core.readers.groups import coded_otherwise, sex_of

log = logging.getLogger(__name__)
MIN_SCANS = 3  # minimum number per site, to estimate its mean and variance
TOLERANCE = 1e-6
MAX_ITERATIONS = 1000


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


def adjuster(handling: str, columns: list[str]) -> Any:
    """Adjusts features for confounds: ``fit(X, confounds)``, ``transform(X, confounds)``."""
    if handling == "regress":
        return Regress(columns)
    return ComBat() if handling == "combat" else Unchanged()


class Unchanged:
    """No adjustment."""

    def fit(self, X: Any, confounds: pd.DataFrame) -> Self:
        """Fit nothing.

        Parameters
        ----------
        X : array (n_scans, n_features)
        confounds : DataFrame (n_scans rows)
        """
        return self

    def transform(self, X: Any, confounds: pd.DataFrame) -> Any:
        """The features, unchanged.

        Parameters
        ----------
        X : array (n_scans, n_features)
        confounds : DataFrame (n_scans rows)

        Returns
        -------
        array (n_scans, n_features)
            The same object.
        """
        return X


class Regress(BaseEstimator):
    """Regress confounds out of every feature.

    Site and sex are dummy variables, all 0 for a value without training scans; a missing number is
    replaced by the training median. The minimum-norm solution is used, so collinear dummies are no
    problem.
    """

    def __init__(self, columns: list[str]) -> None:
        self.columns = columns

    def fit(self, X: np.ndarray, confounds: pd.DataFrame) -> Self:
        """Fit a linear regression of each training feature on the confounds.

        Parameters
        ----------
        X : ndarray (n_scans, n_features)
        confounds : DataFrame (n_scans rows)
            Result of `confounds_of`; only `columns` are used.
        """
        text = [c for c in CONFOUNDS_TEXT if c in self.columns]
        number = [c for c in CONFOUNDS_NUMBER if c in self.columns]
        median = SimpleImputer(strategy="median", keep_empty_features=True)
        self.encoder_ = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore", sparse_output=False), text),
            (make_pipeline(median, StandardScaler()), number),
        )
        encoded = self.encoder_.fit_transform(confounds)
        self.model_ = LinearRegression().fit(encoded, X)
        self.centre_ = encoded.mean(0) @ np.atleast_2d(self.model_.coef_).T
        return self

    def transform(self, X: np.ndarray, confounds: pd.DataFrame) -> np.ndarray:
        """Residuals of the features, plus what the mean confounds of the training scans explain.

        Parameters
        ----------
        X : ndarray (n_scans, n_features)
        confounds : DataFrame (n_scans rows)
            Of the same scans.

        Returns
        -------
        ndarray (n_scans, n_features)
            With the dtype of `X`.
        """
        explained = self.encoder_.transform(confounds) @ np.atleast_2d(self.model_.coef_).T
        explained -= self.centre_
        return np.asarray(X - explained, dtype=np.asarray(X).dtype)


class ComBat(BaseEstimator):
    """Site effects in location and scale, shrunk to their distribution over features.

    Parametric empirical Bayes of Johnson et al. 2007 (doi:10.1093/biostatistics/kxj037), used for
    connectivity by Yu et al. 2018 (doi:10.1002/hbm.24241). No covariate is protected, because the
    diagnosis of a test scan is not known. Scans without a site, or of a site with fewer than 3
    training scans, including unseen ones, are not adjusted (`left_by_combat` finds them).
    """

    def fit(self, X: np.ndarray, confounds: pd.DataFrame) -> Self:
        """Estimate grand means, pooled SDs, and each site's shift and scale.

        Parameters
        ----------
        X : ndarray (n_scans, n_features)
        confounds : DataFrame (n_scans rows)
            Only the column site is used.
        """
        x, site = np.asarray(X, dtype=np.float64), confounds["site"].to_numpy()
        known = known_sites(confounds)
        self.effects_: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        if not known:
            return self
        rows = {name: x[site == name] for name in known}
        n = sum(map(len, rows.values()))
        self.mean_ = sum(r.sum(0) for r in rows.values()) / n
        within = sum(((r - r.mean(0)) ** 2).sum(0) for r in rows.values()) / n
        self.sd_ = np.sqrt(np.where(within > 0, within, 1.0))
        for name, r in rows.items():
            self.effects_[name] = _site_effect((r - self.mean_) / self.sd_)
        return self

    def transform(self, X: np.ndarray, confounds: pd.DataFrame) -> np.ndarray:
        """Remove the shift and scale of each scan's site.

        Parameters
        ----------
        X : ndarray (n_scans, n_features)
        confounds : DataFrame (n_scans rows)
            Only the column site is used. Scans of a site that was not fitted are not changed.

        Returns
        -------
        ndarray (n_scans, n_features)
            With the dtype of `X`.
        """
        x, site = np.array(X, dtype=np.float64), confounds["site"].to_numpy()
        for name, (shift, variance) in self.effects_.items():
            here = site == name
            z = (x[here] - self.mean_) / self.sd_
            x[here] = (z - shift) / np.sqrt(variance) * self.sd_ + self.mean_
        return x.astype(np.asarray(X).dtype)


def _site_effect(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior shift and variance of each feature at a site.

    Parameters
    ----------
    z : ndarray (n_scans, n_features)
        Standardised by grand mean and pooled SD.
    """
    n, mean, variance = len(z), z.mean(0), z.var(0, ddof=1)
    if z.shape[1] < 2:
        return mean, np.where(variance > 0, variance, 1.0)
    prior_mean, prior_variance = mean.mean(), mean.var(ddof=1)
    m, s2 = variance.mean(), variance.var(ddof=1)
    if s2 <= 0 or m <= 0:
        return mean, np.where(variance > 0, variance, 1.0)
    shape, scale = (2 * s2 + m**2) / s2, (m * s2 + m**3) / s2  # moments of an inverse gamma
    shift, spread = mean, variance
    for _ in range(MAX_ITERATIONS):
        new = (n * prior_variance * mean + spread * prior_mean) / (n * prior_variance + spread)
        squares = (n - 1) * variance + n * (mean - new) ** 2
        wide = (scale + squares / 2) / (n / 2 + shape - 1)
        moved = max(np.abs(new - shift).max(), np.abs(wide - spread).max())
        shift, spread = new, wide
        if moved < TOLERANCE:
            break
    return shift, spread


def match(
    train: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray | None,
    confounds: pd.DataFrame,
    seed: int,
) -> np.ndarray:
    """Training rows in which the classes are equally large at each site and sex.

    Participants are drawn without replacement down to the smallest class of their cell; a cell
    that lacks a class is omitted. A participant's cell is that of the first scan.

    Parameters
    ----------
    train : ndarray (n_train,) of int
        Rows of the fold's training scans; other rows are not read.
    y : ndarray (n_scans,)
        Class of each scan.
    groups : ndarray (n_scans,) or None
        Participant of each scan. None: each scan is a participant.
    confounds : DataFrame (n_scans rows)
        Columns site and sex are used.
    seed : int
        Of the draw.

    Returns
    -------
    ndarray of int
        Those of `train` that remain, in their order: all training scans of the drawn participants.

    Raises
    ------
    TaskError
        If no cell has every class.
    """
    who = np.arange(len(y)) if groups is None else groups
    table = confounds.iloc[train][["site", "sex"]].assign(y=y[train], who=who[train])
    people = table.drop_duplicates("who")
    classes, rng = np.unique(people["y"]), np.random.default_rng(seed)
    kept: list[Any] = []
    for _, cell in people.groupby(["site", "sex"], sort=True):
        members = [cell.loc[cell["y"] == c, "who"].to_numpy(copy=True) for c in classes]
        size = min(map(len, members))
        for names in members:
            kept += list(rng.permutation(names)[:size])
    if not kept:
        raise TaskError(
            "confounds: match leaves no training participants: no combination of site and sex has "
            "training participants of every class; use confounds: regress"
        )
    return train[table["who"].isin(kept).to_numpy()]
