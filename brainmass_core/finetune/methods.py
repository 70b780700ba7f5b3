"""What is compared: the same classifier on chance, confounds, FC and embeddings, same folds.

Every transformation is fitted on the training scans of a fold. `y_score` grows with the evidence
for the positive class: the SVM's signed distance from its boundary, for chance the drawn class.
`y_pred` is the class on the positive side of that boundary; no threshold is moved afterwards.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.metrics.pairwise import linear_kernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from brainmass_core.finetune.dataset import UNKNOWN
from brainmass_core.finetune.folds import Fold

CONFOUNDS_TEXT = ["site", "sex"]
CONFOUNDS_NUMBER = ["age", "mean_fd"]
CLIP_SD = 5.0


def predict_folds(
    method: str, features: Any, y: np.ndarray, folds: list[Fold], seed: int
) -> pd.DataFrame:
    """Fit on the training scans of each fold and score its test scans.

    Parameters
    ----------
    features : ndarray (n_scans, n_features) or DataFrame (n_scans rows)
    y : ndarray (n_scans,)
        0 or 1.

    Returns
    -------
    DataFrame
        repeat, fold, row (position of the scan), y_score, y_pred, n_train.
    """
    parts = []
    with threadpool_limits(limits=1):  # sums in another order would change the last digits
        for f in folds:
            model = make_classifier(method, seed + 1000 * f.repeat + f.fold)
            model.fit(_take(features, f.train), y[f.train])
            tested = _take(features, f.test)
            columns = {
                "repeat": f.repeat,
                "fold": f.fold,
                "row": f.test,
                "y_score": _score(model, tested),
                "y_pred": model.predict(tested).astype(int),
                "n_train": len(f.train),
            }
            parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def make_classifier(method: str, seed: int) -> Any:
    """The unfitted pipeline of a method.

    All SVMs have C = 1, as in the paper. Embeddings and confounds use its radial kernel with
    ``gamma="scale"``. FC, with many more edges than scans, uses the linear kernel: what the field
    takes as the strong baseline (Dadi et al. 2019, doi:10.1016/j.neuroimage.2019.02.062), and not
    tuned here on anything.

    Unlike in the paper, standardised embeddings are clipped at 5 SD. A readout unit that stays on
    the flat side of its leaky ReLU in every training scan varies by a hundredth; the first test
    scan on the other side lies 90 SD away, its radial kernel is 0 with every training scan, and
    its score is the bare intercept.
    """
    if method == "chance":
        return DummyClassifier(strategy="stratified", random_state=seed)
    if method == "confounds_svm":
        return make_pipeline(_confounds(), SVC(C=1.0))
    if method == "fc_svm":
        # a callable kernel is one matrix product, ten times faster than libsvm's own loop
        return make_pipeline(StandardScaler(), SVC(C=1.0, kernel=linear_kernel))
    clip = FunctionTransformer(np.clip, kw_args={"a_min": -CLIP_SD, "a_max": CLIP_SD})
    return make_pipeline(StandardScaler(), clip, SVC(C=1.0))


def _confounds() -> BaseEstimator:
    """Site and sex one-hot, age and motion with the training median where missing."""
    number = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()
    )
    text = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_column_transformer((text, CONFOUNDS_TEXT), (number, CONFOUNDS_NUMBER))


def _score(model: Any, features: Any) -> np.ndarray:
    if hasattr(model, "decision_function"):
        return model.decision_function(features)
    return model.predict_proba(features)[:, 1]


def _take(features: Any, rows: np.ndarray) -> Any:
    return features.iloc[rows] if isinstance(features, pd.DataFrame) else features[rows]


def confounds_of(scans: pd.DataFrame) -> pd.DataFrame:
    """Site, sex, age (years), mean framewise displacement (mm); a missing text is `UNKNOWN`."""
    text = scans[CONFOUNDS_TEXT].astype(object).fillna(UNKNOWN).astype(str)
    return pd.concat([text, scans[CONFOUNDS_NUMBER].astype("float64")], axis=1)
