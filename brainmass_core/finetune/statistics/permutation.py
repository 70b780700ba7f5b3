"""The permutation test that fits all models again, on labels shuffled within sites.

`inference.permutation_p` tests whether given predictions are related to the labels. Here every
shuffle repeats the complete procedure: folds stratified by the shuffled labels, confounds, searches
and classifiers (Ojala and Garriga 2010, JMLR 11:1833, test 1).
`sklearn.model_selection.permutation_test_score` does the same for independent rows; it can neither
keep the scans of a participant together nor pass confounds to a fold.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from brainmass_core.config.tasks import Protocol
from brainmass_core.encoders.registry import METHODS
from brainmass_core.finetune.cohort.dataset import place_of
from brainmass_core.finetune.cohort.labels import fifths
from brainmass_core.finetune.evaluation import Evaluation
from brainmass_core.finetune.folds.participants import permute_labels
from brainmass_core.finetune.folds.protocols import protocol_folds
from brainmass_core.finetune.methods.fitting import Design, predict_folds
from brainmass_core.finetune.statistics import metrics, regression

log = logging.getLogger(__name__)
ROUNDING = 1e-12


def refit_p_values(e: Evaluation, methods: list[str]) -> dict[str, float]:
    """p-values by `refit_p` for the methods in `finetune.permutation_methods`."""
    n, chosen = e.config.finetune.n_permutations_refit, e.config.finetune.permutation_methods
    found: dict[str, float] = {}
    for method in [m for m in methods if n and m in chosen]:
        shown, protocol = e.features[METHODS[method].given], e.settings.protocol
        found[method] = refit_p(
            method, shown, e.design, e.data.scans, protocol, n, e.seed, name=e.task
        )
        log.info("%s: %s fitted on %d permutations, p %.3g", e.task, method, n, found[method])
    return found


def refit_p(
    method: str,
    features: Any,
    design: Design,
    scans: pd.DataFrame,
    protocol: Protocol,
    n_permutations: int,
    seed: int,
    name: str = "task",
) -> float:
    """Fraction of shuffles, including the original labels, that score at least as well.

    Labels are exchanged between participants of the same site and split, with the scans of a
    participant together, so that the null distribution includes what the site predicts of the
    label, and the number of tested participants in each class.

    Parameters
    ----------
    features : ndarray (n_scans, n_features) or DataFrame (n_scans rows)
    design : Design
        Its labels are replaced in each shuffle.
    scans : DataFrame (n_scans rows)
        `TaskData.scans`.
    n_permutations : int
        Shuffles, for each of which the method is fitted in all folds.
    seed : int
        Seed of the folds, as in the stage, and of the shuffles.
    name : str
        Name of the task, for messages.

    Returns
    -------
    float
        ``(1 + #{shuffled >= observed}) / (1 + n_permutations)``, for the AUC or R2.
    """
    strata = place_of(scans) + "\x1f" + scans["split"].astype(str)
    observed = leading_score(method, features, design, scans, protocol, seed, name)
    as_well = 0
    for i in range(n_permutations):
        state = np.random.SeedSequence([seed, 1 + i])
        shuffled = scans.assign(y=permute_labels(scans, state, within=strata))
        if design.kind == "regression":
            shuffled["stratum"] = fifths(shuffled)
        score = leading_score(method, features, design, shuffled, protocol, seed, name)
        as_well += score >= observed - ROUNDING
    return (1 + as_well) / (1 + n_permutations)


def leading_score(
    method: str,
    features: Any,
    design: Design,
    scans: pd.DataFrame,
    protocol: Protocol,
    seed: int,
    name: str = "task",
) -> float:
    """AUC or R2 of a method with these labels, as in the table of scores.

    Parameters
    ----------
    features : array or list (n_scans, ...)
    design : Design
        Its labels are replaced by those of `scans`.
    scans : DataFrame (n_scans rows)
        `TaskData.scans` with the labels, shuffled or not.
    seed : int
        Seed of the folds and, modulo 2**31, of the fits.

    Returns
    -------
    float
        Mean over repeats, see `weighted_scores` of `metrics` and `regression`.
    """
    folds = protocol_folds(scans, protocol, seed, name)
    labelled = replace(design, y=scans["y"].to_numpy())
    found = predict_folds(method, features, labelled, folds, seed % 2**31)
    tested = scans.iloc[found["row"]].reset_index(drop=True)
    table = found.assign(
        y_true=tested["y"].astype(float),
        **{c: tested[c] for c in ("scan_id", "dataset", "participant_id")},
    )
    p = metrics.Predictions.from_table(table, complete=protocol.kind != "fixed_split")
    regresses = design.kind == "regression"
    scores: Any = regression if regresses else metrics
    ones = np.ones((1, int(p.who.max()) + 1))
    return float(scores.weighted_scores(p, ones)["r2" if regresses else "auc"][0])
