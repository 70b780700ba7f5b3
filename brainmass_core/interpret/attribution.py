"""Contribution of each region to the separation of the classes by a model's score.

Importance is the slope, over test scans, of a region's contribution on the label; for two classes
this is the difference of its mean contributions. Contributions that do not separate the classes
cancel, so an irrelevant region has an expected importance of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import linear_kernel
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor

from brainmass_core.connectivity import n_rois_of
from brainmass_core.interpret.explained_model import Probe
from brainmass_core.models.device import device

ROWS = 512  # scans with an exchanged region that are scored together
BATCH = 32  # scans times steps whose gradients are in memory together


@dataclass(frozen=True)
class Explained:
    """Importance of regions in one fold.

    Attributes
    ----------
    importance : ndarray (n_rois,)
        Value by which regions are ranked.
    evidence : ndarray (n_rois,)
        Expected value 0 for a region that is unrelated to the label of test scans.
    error : float
        For integrated gradients: the part of the change of the score that the contributions miss,
        relative to the change.
    """

    importance: np.ndarray
    evidence: np.ndarray
    error: float = float("nan")


def edges_of(n_rois: int) -> np.ndarray:
    """Positions (n_rois, n_rois - 1) of each region's edges in an FC vector.

    Returns
    -------
    ndarray (n_rois, n_rois - 1) of int64
        FC vectors are the upper triangle in row-major order.
    """
    rows, columns = np.triu_indices(n_rois, 1)
    index = np.zeros((n_rois, n_rois), dtype=np.int64)
    index[rows, columns] = index[columns, rows] = np.arange(len(rows))
    return index[~np.eye(n_rois, dtype=bool)].reshape(n_rois, n_rois - 1)


def slope(values: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Slope of `values` (n_scans, ...) on `y` (n_scans,): for 0 and 1 the difference of means.

    Parameters
    ----------
    values : ndarray (n_scans, ...)
    y : ndarray (n_scans,)

    Returns
    -------
    ndarray (...)
    """
    centred = y - y.mean()
    return np.tensordot(centred, values, axes=(0, 0)) / (centred @ centred)


def integrated_gradients(
    model: Any,
    probe: Probe,
    fc: np.ndarray,
    y: np.ndarray,
    reference: np.ndarray,
    n_steps: int,
) -> Explained:
    """Integrated gradients of the probe's score, from edges to regions.

    Each edge contributes half to each of its two regions, so that the contributions of all regions
    add up to the difference of the score from that of the reference.

    Parameters
    ----------
    fc : ndarray (n_scans, n_edges)
        Test scans.
    y : ndarray (n_scans,)
        Labels.
    reference : ndarray (n_edges,)
        Start of the path: the mean FC of the training scans.
    n_steps : int
        Points of the path.
    """
    model = model.eval().to(device())
    inputs = torch.from_numpy(np.ascontiguousarray(fc, dtype=np.float32)).to(device())
    start = torch.from_numpy(reference.astype(np.float32))[None].to(device())
    paths = ((one, start) for one in inputs.split(BATCH))
    parts, error = along_paths(probe.on(model.encode), paths, n_steps, BATCH, lambda part: part)
    contributions = np.concatenate(parts)  # (n_scans, n_edges)
    of_roi = 0.5 * contributions[:, edges_of(n_rois_of(fc.shape[1]))].sum(-1)
    value = slope(of_roi, y)
    return Explained(value, value, error)


def along_paths(
    score: Callable[[Tensor], Tensor],
    paths: Iterable[tuple[Tensor, Tensor]],
    n_steps: int,
    batch: int,
    keep: Callable[[Tensor], Tensor],
) -> tuple[list[np.ndarray], float]:
    """Integrated gradients (Sundararajan et al. 2017) of a score along straight paths.

    Parameters
    ----------
    score : callable
        Inputs (B, ...) to scores (B,).
    paths : iterable of (Tensor (B, ...), Tensor (B or 1, ...))
        Ends and starts.
    n_steps : int
        Points of a path.
    batch : int
        Points whose gradients are in memory together.
    keep : callable
        What is kept of the contributions of each part, (B, ...) of float64.

    Returns
    -------
    list of ndarray
        Results of `keep`.
    float
        `Explained.error`, over all parts; 0 if the score does not change.
    """
    from captum.attr import IntegratedGradients  # imported late, because it loads matplotlib

    parts, wrong, change = [], 0.0, 0.0
    for end, start in paths:
        values, delta = IntegratedGradients(score).attribute(
            end,
            start.expand_as(end),
            n_steps=n_steps,
            internal_batch_size=batch,
            return_convergence_delta=True,
        )
        with torch.no_grad():
            change += float((score(end) - score(start)).abs().sum())
        wrong += float(delta.abs().sum())
        parts.append(keep(values.double()).cpu().numpy())
    return parts, wrong / change if change else 0.0


def permutation_importance(
    score: Callable[[np.ndarray], np.ndarray],
    fc: np.ndarray,
    y: np.ndarray,
    participant: np.ndarray,
    n_permutations: int,
    rng: np.random.Generator,
) -> Explained:
    """Loss of class separation when a region is exchanged between participants.

    The region's row and column, one set of edges, are exchanged between test participants; all
    other edges are unchanged.

    Parameters
    ----------
    score : callable
        FC (n_scans, n_edges) to scores (n_scans,).
    participant : ndarray (n_scans,)
        Donor and receiver are different participants if none has more than half of the scans.
    """
    whole = slope(score(fc), y)
    edges = edges_of(n_rois_of(fc.shape[1]))
    value = np.zeros(len(edges))
    together = max(1, ROWS // len(fc))
    for _ in range(n_permutations):
        for first in range(0, len(edges), together):
            rois = range(first, min(first + together, len(edges)))
            changed = np.concatenate(
                [_exchanged(fc, edges[r], donors(participant, rng)) for r in rois]
            )
            left = slope(score(changed).reshape(len(rois), len(fc)).T, y)
            value[first : first + together] += (whole - left) / n_permutations
    return Explained(value, value)


def _exchanged(fc: np.ndarray, edges: np.ndarray, partner: np.ndarray) -> np.ndarray:
    """FC (n_scans, n_edges) with some edges replaced by those of each scan's partner."""
    changed = fc.copy()
    changed[:, edges] = fc[partner][:, edges]
    return changed


def donors(participant: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Donor scan (n_scans,) of each scan: a permutation.

    Scans are arranged in a circle, grouped by participant in random order, and shifted by the
    largest number of scans of any participant.

    Parameters
    ----------
    participant : ndarray (n_scans,)

    Returns
    -------
    ndarray (n_scans,) of int64
    """
    _, who, counts = np.unique(participant, return_inverse=True, return_counts=True)
    place = rng.permutation(len(counts))[who]
    order = np.argsort(place, kind="stable")
    partner = np.empty(len(participant), dtype=np.int64)
    partner[order] = np.roll(order, -int(counts.max()))
    return partner


def linear_pattern(
    train: np.ndarray, y_train: np.ndarray, test: np.ndarray, y_test: np.ndarray
) -> tuple[Explained, np.ndarray]:
    """The pattern of a linear SVM on FC (Haufe et al. 2014), and its scores of test scans.

    Weights of a linear model also cancel noise and say little about where the signal is; the
    pattern ``cov(x, s) / var(s)`` of features x and scores s over the training scans does. A
    region's importance is the mean of its edges' absolute patterns. Its evidence is the mean of
    pattern times class difference in the test scans, which has expected value 0 without a
    difference.

    Parameters
    ----------
    train, test : ndarray (n_scans, n_edges)

    Returns
    -------
    Explained
    ndarray (n_test,)
        Scores.
    """
    scaler = StandardScaler().fit(train)
    x, held_out = scaler.transform(train), scaler.transform(test)
    # the same linear SVM as in `fc_svm`
    model = SVC(C=1.0, kernel=linear_kernel).fit(x, y_train)
    s = model.decision_function(x)
    s = s - s.mean()
    pattern = (s @ x) / max(float(s @ s), 1e-12)
    edges = edges_of(n_rois_of(train.shape[1]))
    importance = np.abs(pattern)[edges].mean(-1)
    evidence = (pattern * slope(held_out, y_test))[edges].mean(-1)
    return Explained(importance, evidence), model.decision_function(held_out)


def auc_of(y: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve; scores are rounded, so that ties do not depend on the last
    digit.

    Parameters
    ----------
    y : ndarray (n_scans,)
        0 or 1.
    score : ndarray (n_scans,)
    """
    return float(roc_auc_score(y, np.round(score, 9)))
