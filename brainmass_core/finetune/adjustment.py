"""Adjustment for confounds within a fold: regression, ComBat, matched training sets.

Everything is estimated from the training scans and applied to each test scan separately, without
using the diagnosis (`match` uses that of the training scans).
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from brainmass_core.finetune.cohort.labels import TaskError
from brainmass_core.finetune.confounds import known_sites
from brainmass_core.finetune.methods.estimators import CONFOUNDS_NUMBER, CONFOUNDS_TEXT

TOLERANCE = 1e-6
MAX_ITERATIONS = 1000


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
