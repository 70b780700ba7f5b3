"""How well few labelled people separate the classes, by FC and by either encoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from brainmass_core.connectivity import pearson, vectorise
from brainmass_core.positive_control.cohort import Population, simulate

READOUTS = ("", "projection")  # the embedding, and what the pre-training aligns, if there is one
REFERENCES = ("fc", "untrained")  # what the pre-trained encoder is compared with
MARGIN = 0.05  # AUC; half a pre-training, without a moving target, gains 0.02 over FC
TESTED = 200  # people of each draw who are tested


def features_of(
    series: np.ndarray, pretrained: Any, untrained: Any, readouts: Sequence[str]
) -> dict[str, np.ndarray]:
    """Features of scans.

    Parameters
    ----------
    series : ndarray (n_scans, n_timepoints, n_rois)
    pretrained, untrained : Pretrained
        Encoders of FC, in evaluation mode.

    Returns
    -------
    dict of ndarray (n_scans, n_features)
        fc, and pretrained and untrained with the suffix of each of `READOUTS` that the encoder has.
    """
    fc = vectorise(pearson(series)).astype(np.float32)
    found = {"fc": fc}
    for name, model in (("untrained", untrained), ("pretrained", pretrained)):
        for readout in readouts:
            label = f"{name}_{readout}" if readout else name
            with torch.inference_mode():
                found[label] = model.encode(torch.from_numpy(fc), readout=readout).numpy()
    return found


def scores(
    people: Population,
    pretrained: Any,
    untrained: Any,
    readouts: Sequence[str] = READOUTS,
    *,
    k: int,
    n_draws: int,
    n_timepoints: int,
    seed: int,
    informative: bool = True,
) -> pd.DataFrame:
    """AUC of a linear SVM on standardised features, in independent draws of labelled people.

    Each draw has its own k people of each class for training and its own tested people, none of
    whom has been pre-trained on. The draws are independent, so that a t-interval of their means
    holds.

    Returns
    -------
    DataFrame (n_draws rows)
        A column per feature.
    """
    n = 2 * k + TESTED
    rows = []
    for draw in range(n_draws):
        # about half of the people are of each class; more are simulated, so that there are k
        cohort = simulate(people, n + 40 + k, n_timepoints, 1000 * (seed + 1) + draw, informative)
        places = [np.flatnonzero(cohort.label == c) for c in (0, 1)]
        train = np.concatenate([p[:k] for p in places])
        test = np.setdiff1d(np.arange(len(cohort.label)), train)[:TESTED]
        features = features_of(cohort.series, pretrained, untrained, readouts)
        rows.append({m: _auc(x, cohort.label, train, test) for m, x in features.items()})
    return pd.DataFrame(rows)


def _auc(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    model = make_pipeline(StandardScaler(), SVC(kernel="linear")).fit(x[train], y[train])
    return float(roc_auc_score(y[test], model.decision_function(x[test])))


def mean_with_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Mean of independent values, with its t-interval; ``nan`` limits for fewer than two."""
    mean, n = float(np.mean(values)), len(values)
    half = stats.t.ppf((1 + level) / 2, n - 1) * np.std(values, ddof=1) / np.sqrt(n)
    return mean, mean - float(half), mean + float(half)


def summary(scored: pd.DataFrame) -> pd.DataFrame:
    """Means with 95 % intervals, and paired differences of the pre-trained encoder.

    Parameters
    ----------
    scored : DataFrame
        From `scores`.

    Returns
    -------
    DataFrame
        features, auc, auc_low, auc_high; and for what the pre-trained encoder gives, minus_fc and
        minus_untrained with ``_low`` and ``_high``. The control of a readout is the same readout of
        the untrained encoder.
    """
    rows = []
    for name in map(str, scored):
        names: Iterable[str] = ("auc", "auc_low", "auc_high")
        row = dict(zip(names, mean_with_interval(scored[name].to_numpy()), strict=True))
        if name.startswith("pretrained"):
            for reference in REFERENCES:
                other = name.replace("pretrained", "untrained") if reference != "fc" else "fc"
                limits = mean_with_interval((scored[name] - scored[other]).to_numpy())
                names = (f"minus_{reference}{end}" for end in ("", "_low", "_high"))
                row |= dict(zip(names, limits, strict=True))
        rows.append({"features": name} | row)
    return pd.DataFrame(rows)


def passes(summarised: pd.DataFrame) -> bool:
    """Whether the embedding beats FC and the untrained encoder, both intervals above `MARGIN`."""
    embedding = summarised.set_index("features").loc["pretrained"]
    return all(embedding[f"minus_{reference}_low"] > MARGIN for reference in REFERENCES)
