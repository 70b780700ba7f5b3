"""Intrinsic networks of parcels, predicted from parcels whose network is known.

Networks are spatially compact, and so are correlations and, if coordinates are an input of the
model, attention: a result shows more than proximity only if it is better than with coordinates as
features. Shuffling labels over parcels also destroys this compactness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import GroupKFold, KFold
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from brainmass_core.auc import interval, standard_error
from brainmass_core.finetune.statistics.balanced_accuracy import balanced_accuracy_influence
from brainmass_core.finetune.statistics.metrics import LEVELS
from brainmass_core.interpret.networks import NO_NETWORK, SOURCES, networks_of
from brainmass_core.series_model.graph import adjacency_of, fit_gcn

SCHEMES = ("within", "across")
FOLDS, INNER_FOLDS = 5, 3
NEIGHBOURS = (1, 3, 5, 9, 15)

Predict = Callable[[np.ndarray], np.ndarray]  # labels (n_rois,) to (n, n_rois), one fold's or -1


@dataclass(frozen=True)
class Classified:
    """Accuracy of predicted networks of held-out parcels.

    Attributes
    ----------
    balanced_accuracy, low, high : float
        Mean recall of the networks, over all parcels and recordings, and its 95 % interval over
        participants for these parcels.
    recalls : ndarray (n_networks,)
        Networks sorted.
    chance : ndarray (n_permutations,)
        Balanced accuracy with labels shuffled over parcels and everything fitted again.
    chance_low, chance_high : float
        95 % interval of that; NaN without permutations.
    p : float
        Fraction of shuffles, including the original labels, that score at least as well.
    predicted : ndarray (n, n_rois) of str
    """

    balanced_accuracy: float
    low: float
    high: float
    recalls: np.ndarray
    chance: np.ndarray
    chance_low: float
    chance_high: float
    p: float
    predicted: np.ndarray


def known_networks(labels: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, str]:
    """Parcels with a network, and their networks.

    Parameters
    ----------
    labels : DataFrame (n_rois rows)
        Result of `atlas.parcels.parcels`: network (empty if unknown), x, y, z (mm).

    Returns
    -------
    kept : ndarray (n_kept,) of int
        Indices of the parcels, from 0.
    networks : ndarray (n_kept,) of str
        Networks of the atlas, or that of the nearest Schaefer centroid within 20 mm.
    str
        ``atlas`` or ``nearest``.

    Raises
    ------
    ValueError
        If neither networks nor coordinates are known.
    """
    networks, source = networks_of(labels)
    if not source:
        raise ValueError(SOURCES[source])
    kept = np.flatnonzero(networks != NO_NETWORK)
    return kept, networks[kept], source


def classify_by_neighbours(
    features: np.ndarray,
    networks: np.ndarray,
    who: np.ndarray,
    scheme: str,
    n_permutations: int,
    seed: int,
    neighbours: Sequence[int] = NEIGHBOURS,
) -> Classified:
    """k-NN on standardised features, with k chosen by cross-validation among the known parcels.

    Parameters
    ----------
    features : ndarray (n, n_rois, n_features)
        Features of each recording.
    networks : ndarray (n_rois,) of str
        Parcels without a network must be removed before.
    who : ndarray (n,)
        Participant of each recording.
    scheme : {"within", "across"}
        A fifth of the parcels is held out at a time. Neighbours are the other parcels of the same
        recording, or of recordings of other participants, never the parcel itself.

    Raises
    ------
    ValueError
        If shapes or scheme do not fit, there are fewer parcels than folds, or, across recordings,
        fewer than two participants.
    """
    _check(features, networks, who, scheme)
    ks = np.array(sorted(neighbours))
    cells = []
    for known, unknown, train, test in _cells(who, features.shape[1], scheme, seed):
        outer = _nearest(features, known, unknown, train, test, scheme, ks)
        inner = [
            (known[b], _nearest(features, known[a], known[b], train, train, scheme, ks))
            for a, b in KFold(INNER_FOLDS, shuffle=True, random_state=seed).split(known)
        ]
        cells.append((unknown, test, outer, inner))

    def predict(labels: np.ndarray) -> np.ndarray:
        found = np.full(features.shape[:2], -1)
        for unknown, test, outer, inner in cells:
            chosen = _choose(labels, inner, ks)
            found[np.ix_(test, unknown)] = _votes(labels[outer], ks)[chosen]
        return found

    return _classified(predict, networks, who, n_permutations, seed)


def classify_by_graph(
    features: np.ndarray,
    correlation: np.ndarray,
    networks: np.ndarray,
    who: np.ndarray,
    scheme: str,
    n_permutations: int,
    seed: int,
) -> Classified:
    """A graph convolutional network on features and correlations (n, n_rois, n_rois).

    Held-out parcels are nodes without a label. Within recordings one network is fitted to the known
    parcels of all of them; other parameters as in `classify_by_neighbours`.

    Parameters
    ----------
    features : ndarray (n, n_rois, n_features)
    correlation : ndarray (n, n_rois, n_rois)
    """
    _check(features, networks, who, scheme)
    adjacency = adjacency_of(correlation)
    cells = list(_cells(who, features.shape[1], scheme, seed))

    def predict(labels: np.ndarray) -> np.ndarray:
        found = np.full(features.shape[:2], -1)
        n_classes = int(labels.max()) + 1
        y = torch.from_numpy(labels)
        for known, unknown, train, test in cells:
            rows = features[np.ix_(train, known)].reshape(-1, features.shape[-1])
            scaler = StandardScaler().fit(rows)
            x = torch.from_numpy((features - scaler.mean_) / scaler.scale_).float()
            seen = torch.from_numpy(known)
            gcn = fit_gcn(x[train], adjacency[train], y, seen, n_classes, seed)
            with torch.inference_mode():
                scores = gcn(x[test], adjacency[test])[:, unknown]
            found[np.ix_(test, unknown)] = scores.argmax(-1).numpy()
        return found

    return _classified(predict, networks, who, n_permutations, seed)


def _check(features: np.ndarray, networks: np.ndarray, who: np.ndarray, scheme: str) -> None:
    if scheme not in SCHEMES:
        raise ValueError(f"found scheme {scheme!r}, expected one of {', '.join(SCHEMES)}")
    if features.ndim != 3 or features.shape[:2] != (len(who), len(networks)):
        raise ValueError(
            f"found features of shape {features.shape}, expected ({len(who)}, {len(networks)}, "
            "n_features): one row for each recording and parcel"
        )
    if len(networks) < 2 * FOLDS:
        raise ValueError(f"found {len(networks)} parcels, expected {2 * FOLDS} or more")
    if scheme == "across" and len(np.unique(who)) < 2:
        raise ValueError("found one participant, expected two or more to go across recordings")


def _cells(who: np.ndarray, n_rois: int, scheme: str, seed: int) -> Iterator[tuple]:
    """Indices of known and held-out parcels, and of training and test recordings.

    Folds do not depend on the labels, so that they are the same for shuffled labels.
    """
    everyone = np.arange(len(who))
    people = [(everyone, everyone)]
    if scheme == "across":
        split = GroupKFold(min(FOLDS, len(np.unique(who))))
        people = list(split.split(who, groups=who))
    parcels = KFold(FOLDS, shuffle=True, random_state=seed)
    for train, test in people:
        for known, unknown in parcels.split(np.arange(n_rois)):
            yield known, unknown, train, test


def _nearest(
    features: np.ndarray,
    known: np.ndarray,
    unknown: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    scheme: str,
    ks: np.ndarray,
) -> np.ndarray:
    """Indices (n_test, n_unknown, max k) of the parcels nearest to each held-out one, in order."""
    if scheme == "within":
        return np.concatenate([_search(features, known, unknown, i, i, ks) for i in test[:, None]])
    return _search(features, known, unknown, train, test, ks)


def _search(
    features: np.ndarray,
    known: np.ndarray,
    unknown: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    ks: np.ndarray,
) -> np.ndarray:
    rows, asked = (
        features[np.ix_(a, b)].reshape(-1, features.shape[-1])
        for a, b in ((train, known), (test, unknown))
    )
    scaler = StandardScaler().fit(rows)
    # if there are fewer than the largest k, all of them vote
    index = NearestNeighbors(n_neighbors=min(ks[-1], len(rows))).fit(scaler.transform(rows))
    found = index.kneighbors(scaler.transform(asked), return_distance=False)
    return np.tile(known, len(train))[found].reshape(len(test), len(unknown), -1)


def _votes(labels: np.ndarray, ks: np.ndarray) -> np.ndarray:
    """Winners (n_ks, ...) among the labels (..., max k) of neighbours; ties go to the lowest."""
    ends = np.minimum(ks, labels.shape[-1])
    # counts are updated from one k to the next, for speed: this is run for each shuffle
    parts = np.split(np.eye(labels.max() + 1, dtype=np.int16)[labels], ends[:-1], axis=-2)
    counts = np.cumsum([part.sum(-2, dtype=np.int16) for part in parts[: len(ks)]], axis=0)
    return counts.argmax(-1)


def _choose(labels: np.ndarray, inner: list[tuple[np.ndarray, np.ndarray]], ks: np.ndarray) -> int:
    """Index in `ks` of the best k for known parcels; the smallest in a tie."""
    votes = [_votes(labels[nearest], ks) for _, nearest in inner]  # (n_ks, n, n_asked)
    truth = [
        np.broadcast_to(labels[a], v.shape[1:]) for (a, _), v in zip(inner, votes, strict=True)
    ]
    y = np.concatenate([t.ravel() for t in truth])
    found = np.concatenate([v.reshape(len(ks), -1) for v in votes], axis=1)
    totals = np.bincount(y)
    hits = np.stack([np.bincount(y[y == p], minlength=len(totals)) for p in found])
    return int(np.argmax((hits[:, totals > 0] / totals[totals > 0]).mean(1)))


def _classified(
    predict: Predict, networks: np.ndarray, who: np.ndarray, n_permutations: int, seed: int
) -> Classified:
    names, labels = np.unique(networks, return_inverse=True)
    found = predict(labels)
    y = np.broadcast_to(labels, found.shape).ravel()
    value, psi = balanced_accuracy_influence(y, found.ravel())
    whose = np.repeat(who, len(networks))
    low, high = interval(value, standard_error(psi, whose), len(np.unique(who)))
    rng = np.random.default_rng(seed)
    chance = np.empty(n_permutations)
    for i in range(n_permutations):
        shuffled = rng.permutation(labels)
        y_shuffled = np.broadcast_to(shuffled, found.shape).ravel()
        chance[i] = balanced_accuracy_influence(y_shuffled, predict(shuffled).ravel())[0]
    bounds = np.quantile(chance, LEVELS) if n_permutations else (np.nan, np.nan)
    p = (1 + (chance >= value - 1e-12).sum()) / (1 + n_permutations)
    recalls = np.array([(found[:, labels == c] == c).mean() for c in range(len(names))])
    return Classified(
        value, low, high, recalls, chance, float(bounds[0]), float(bounds[1]), p, names[found]
    )
