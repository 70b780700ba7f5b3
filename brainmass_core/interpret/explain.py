"""Explain a linear probe on the frozen pre-trained encoder (`explained_model`), fold by fold.

The fine-tuned and the stored model of a task are not explained. ``fc_pattern`` explains a linear
model of FC, and ``attention`` is that of the encoder. Models are fitted to the training scans of a
fold, and its test scans are explained.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd

from brainmass_core.config.sections import Interpret
from brainmass_core.encoders.interface import Transformer
from brainmass_core.encoders.registry import METHODS, encoders
from brainmass_core.finetune.cohort.dataset import TaskData
from brainmass_core.finetune.folds.participants import Fold
from brainmass_core.finetune.methods.embedding import embed
from brainmass_core.interpret.attention import AttentionMaps
from brainmass_core.interpret.attribution import (
    Explained,
    auc_of,
    integrated_gradients,
    linear_pattern,
    permutation_importance,
    slope,
)
from brainmass_core.interpret.explained_model import Probe, fit_probe

log = logging.getLogger(__name__)


def needs_encoder(method: str) -> bool:
    """Whether a method explains an encoder rather than FC."""
    return any(method in encoder.explains for encoder in encoders())


def scored_as(method: str) -> tuple[str, ...]:
    """Methods of `finetune` whose scores correspond to the explained model."""
    if not needs_encoder(method):
        return ("fc_svm",)
    return tuple(n for n, m in METHODS.items() if m.pretrained and m.estimator.name == "svm")


@dataclass
class MethodFolds:
    """Results of a method by fold.

    Attributes
    ----------
    importance, evidence : list of ndarray (n_rois,)
    auc : list of float
        AUC of the explained model on the test scans of each fold.
    scores : list of DataFrame
        repeat, fold, row and the explained model's score of the test scans.
    error : list of float
        Error of integrated gradients, see `Explained`.
    rows : set of int
        Scans that were explained.
    """

    signed: bool = False
    importance: list[np.ndarray] = field(default_factory=list)
    evidence: list[np.ndarray] = field(default_factory=list)
    auc: list[float] = field(default_factory=list)
    scores: list[pd.DataFrame] = field(default_factory=list)
    error: list[float] = field(default_factory=list)
    rows: set[int] = field(default_factory=set)
    n_train: list[int] = field(default_factory=list)
    n_test: list[int] = field(default_factory=list)

    def add(
        self, found: Explained, fold: Fold, rows: np.ndarray, y: np.ndarray, score: np.ndarray
    ) -> None:
        """Add the result of a fold.

        Parameters
        ----------
        rows : ndarray of int
            Scans that were explained.
        y : ndarray (n_scans,)
            Classes of all scans of the task.
        score : ndarray (n_test,)
            Score of all test scans by the explained model.
        """
        self.importance.append(found.importance)
        self.evidence.append(found.evidence)
        self.error.append(found.error)
        self.rows.update(rows.tolist())
        self.auc.append(auc_of(y[fold.test], score))
        self.n_train.append(len(fold.train))
        self.n_test.append(len(rows))
        place = {"repeat": fold.repeat, "fold": fold.fold, "row": fold.test}
        self.scores.append(pd.DataFrame({**place, "score": score}))

    def ranking(self) -> np.ndarray:
        """Values by which regions are ranked in each fold.

        Returns
        -------
        ndarray (n_folds, n_rois)
            Absolute values for a signed importance.
        """
        values = np.stack(self.importance)
        return np.abs(values) if self.signed else values


@dataclass(frozen=True)
class FcModel:
    """A pre-trained model of FC.

    Attributes
    ----------
    embedding : ndarray (n_scans, embedding_dim)
        Embeddings of all scans of the task.
    transformer : callable, optional
        Converts the model to the layers for attention maps.
    """

    model: Any
    embedding: np.ndarray
    transformer: Callable[[Any], Transformer] | None = None

    def explain(
        self,
        method: str,
        data: TaskData,
        fold: Fold,
        rows: np.ndarray,
        settings: Interpret,
        probe: Probe,
        rng: np.random.Generator,
    ) -> Explained:
        """Importance of regions (n_rois,) by gradients, or by permutation; see
        `PretrainedModel.explain`.
        """
        fc, y = data.fc[rows], data.scans["y"].to_numpy()[rows]
        if method == "gradient":
            reference = data.fc[fold.train].mean(0, dtype=np.float64)
            return integrated_gradients(self.model, probe, fc, y, reference, settings.n_steps)
        people = data.scans["participant"].to_numpy()[rows]
        return permutation_importance(
            lambda x: probe.score(embed(self.model, x)),
            fc,
            y,
            people,
            settings.n_permutations,
            rng,
        )


class PretrainedModel(Protocol):
    """Interface of explained models: embeddings of all scans, and regions in a fold."""

    @property
    def model(self) -> Any:
        """The pre-trained model."""

    @property
    def embedding(self) -> np.ndarray:
        """Embeddings of all scans (n_scans, n_features)."""

    @property
    def transformer(self) -> Callable[[Any], Transformer] | None:
        """Transformer whose attention is read, from the model; None without one."""

    def explain(
        self,
        method: str,
        data: TaskData,
        fold: Fold,
        rows: np.ndarray,
        settings: Interpret,
        probe: Probe,
        rng: np.random.Generator,
    ) -> Explained:
        """Importance of regions for the scans `rows` (n_rows,) by a method."""


def explain_folds(
    data: TaskData,
    folds: Sequence[Fold],
    settings: Interpret,
    encoder: PretrainedModel | None,
    attention: AttentionMaps | None,
    seed: int,
) -> dict[str, MethodFolds]:
    """Every enabled method on every fold.

    Parameters
    ----------
    encoder : FcModel or RecordingsModel, optional
        Needed by all methods but ``fc_pattern``.
    attention : AttentionMaps, optional
        `received` has a row for each scan of the task; needed by ``attention``.
    """
    y = data.scans["y"].to_numpy()
    found: dict[str, MethodFolds] = {
        m: MethodFolds(signed=m == "attention") for m in settings.methods
    }
    _say_passes(folds, settings, data.n_rois, encoder is not None)
    for fold in folds:
        rows, rng = chosen(data, fold, settings, seed)
        if "fc_pattern" in found:
            train, test = data.fc[fold.train], data.fc[fold.test]
            pattern, score = linear_pattern(train, y[fold.train], test, y[fold.test])
            found["fc_pattern"].add(pattern, fold, fold.test, y, score)
        if encoder is None:
            continue
        probe = fit_probe(encoder.embedding[fold.train], y[fold.train])
        score = probe.score(encoder.embedding[fold.test])
        if "attention" in found and attention is not None:
            difference = slope(attention.received[fold.test].astype(np.float64), y[fold.test])
            both = Explained(difference, difference)
            found["attention"].add(both, fold, fold.test, y, score)
        for method in ("gradient", "permutation"):
            if method in found:
                explained = encoder.explain(method, data, fold, rows, settings, probe, rng)
                found[method].add(explained, fold, rows, y, score)
        log.info("repeat %d, fold %d: %d scans explained", fold.repeat, fold.fold, len(rows))
    return found


def chosen(
    data: TaskData, fold: Fold, settings: Interpret, seed: int
) -> tuple[np.ndarray, np.random.Generator]:
    """Test scans of a fold that are explained, and a random generator.

    Returns
    -------
    rows : ndarray (n_explained,) of int
        Rows of `TaskData.scans`.
    rng : Generator
        Depends on seed, repeat and fold.
    """
    rng = np.random.default_rng([seed, fold.repeat, fold.fold])
    y, people = data.scans["y"].to_numpy(), data.scans["participant"].to_numpy()
    return choose(fold.test, y, people, settings.max_scans, rng), rng


def _say_passes(folds: Sequence[Fold], settings: Interpret, n_rois: int, encoder: bool) -> None:
    """Log the number of passes of the encoder; a backward pass counts as two forward passes."""
    each = 3 * settings.n_steps * ("gradient" in settings.methods)
    each += n_rois * settings.n_permutations * ("permutation" in settings.methods)
    scans = sum(min(settings.max_scans, len(f.test)) for f in folds)
    if encoder and each:
        log.info(
            "about %d passes of the encoder over a scan (interpret.max_scans, n_repeats)",
            scans * each,
        )


def choose(
    rows: np.ndarray, y: np.ndarray, participant: np.ndarray, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Choose at most `n` rows, alternating classes, all participants before second scans.

    Parameters
    ----------
    rows : ndarray of int
        Rows to choose from.
    y, participant : ndarray (n_scans,)
        Class and participant of all scans.

    Returns
    -------
    ndarray of int
        In ascending order.
    """
    mixed = rng.permutation(rows)
    table = pd.DataFrame({"row": mixed, "y": y[mixed], "who": participant[mixed]})
    table["visit"] = table.groupby("who").cumcount()
    table = table.sort_values("visit", kind="stable")
    table["turn"] = table.groupby("y").cumcount()
    return np.sort(table.sort_values("turn", kind="stable")["row"].to_numpy()[:n])


def both_classes(folds: Sequence[Fold], y: np.ndarray) -> list[Fold]:
    """Folds with test scans of both classes, because one class alone has no separation.

    Parameters
    ----------
    folds : sequence of Fold
    y : ndarray (n_scans,)
        0 or 1.
    """
    kept = [f for f in folds if len(np.unique(y[f.test])) == 2]
    if len(kept) < len(folds):
        log.warning("%d folds test one class only and are not explained", len(folds) - len(kept))
    return kept
