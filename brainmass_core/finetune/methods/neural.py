"""Networks as scikit-learn estimators, with one training loop for all architectures.

`fit` holds out some participants of the training fold and stops when their loss no longer
decreases. Test scans are not used: standardisation, class weights and the number of epochs come
from the scans passed to `fit`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn
from torch.nn import functional

from brainmass_core.connectivity import n_rois_of, unvectorise
from brainmass_core.finetune.methods.networks import BrainNetCNN, Recipe
from brainmass_core.finetune.methods.stopping import inner_split, train_with_stopping
from brainmass_core.models.device import device, reproducible

N_BINS = 5  # bins of a regression's target, for the inner split
EVALUATION_BATCH = 64


class _Network(BaseEstimator):
    """Base of classifier and regressor.

    Parameters
    ----------
    recipe : Recipe
        Network to train; see `finetune.methods.networks`. Default: BrainNetCNN.
    max_epochs : int
        Maximum number of passes over the training scans.
    patience : int
        Training ends after this number of epochs without a lower loss of the held-out participants.
    batch_size : int
        Scans per step.
    lr : float, optional
        Learning rate of AdamW. Default: that of the recipe.
    weight_decay : float
    validation_fraction : float
        Fraction of the participants held out for early stopping.
    n_threads : int
        Threads of torch on the CPU; a different number changes the last digits.
    random_state : int
        Seed of weights, inner split, order of the scans and dropout.

    Attributes
    ----------
    network_ : torch.nn.Module
        In evaluation mode, on the CPU.
    history_ : list of dict
        Training and validation loss of each epoch; validation is NaN if nobody is held out.
    n_epochs_ : int
        Epoch of the final weights.
    validation_ : ndarray of int
        Rows that were held out; empty if a class has a single participant.
    """

    def __init__(
        self,
        recipe: Recipe | None = None,
        max_epochs: int = 30,
        patience: int = 6,
        batch_size: int = 16,
        lr: float | None = None,
        weight_decay: float = 1e-4,
        validation_fraction: float = 0.2,
        n_threads: int = 1,
        random_state: int = 0,
    ) -> None:
        self.recipe = recipe
        self.max_epochs = max_epochs
        self.patience = patience
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.n_threads = n_threads
        self.random_state = random_state

    def _train(self, X: np.ndarray, target: Tensor, strata: np.ndarray, groups: Any) -> None:
        """Fit on edges (n_scans, n_edges) and a target: classes, or numbers (n_scans, 1)."""
        recipe = self.recipe or BrainNetCNN()
        n_rois = self._n_rois(X.shape[1])
        inner, self.validation_ = inner_split(
            strata, groups, self.validation_fraction, self.random_state
        )
        self._fit_scales(X[inner], recipe.standardise)
        loss_of = self._loss(target[inner])
        with reproducible(self.random_state, self.n_threads):
            network = recipe.build(n_rois, self._n_out()).to(device())
            lr = recipe.lr if self.lr is None else self.lr
            optimizer = torch.optim.AdamW(
                [p for p in network.parameters() if p.requires_grad],
                lr=lr,
                weight_decay=self.weight_decay,
            )
            self._loop(network, optimizer, loss_of, X, target, inner)
            self.network_ = recipe.finish(network).eval().cpu()

    def _loop(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_of: Any,
        X: np.ndarray,
        target: Tensor,
        inner: np.ndarray,
    ) -> None:
        held = self.validation_

        def train() -> float:
            total = 0.0
            for rows in batches(inner, self.batch_size):
                loss = loss_of(network(self._matrices(X[rows])), target[rows].to(device()))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += float(loss.detach()) * len(rows)
            self._refuse_divergence(total, optimizer)
            return total / len(inner)

        def validate() -> float:
            out = self._outputs(network, X[held])
            return float(loss_of(out, target[held].to(out.device)))

        judge = validate if len(held) else None
        found, self.n_epochs_ = train_with_stopping(
            network, train, judge, self.max_epochs, self.patience
        )
        self.history_ = [{"train": t, "validation": v} for t, v in found]

    def _refuse_divergence(self, total: float, optimizer: torch.optim.Optimizer) -> None:
        if not math.isfinite(total):
            raise ValueError(
                f"the training loss is {total}: training diverged at learning rate "
                f"{optimizer.param_groups[0]['lr']:g}; lower {(self.recipe or BrainNetCNN()).knob}"
            )

    def _fit_scales(self, X: np.ndarray, standardise: bool) -> None:
        """Mean and standard deviation of each edge; 0 and 1 without standardisation."""
        n_edges = X.shape[1]
        self.mean_ = X.mean(axis=0) if standardise else np.zeros(n_edges, np.float32)
        std = X.std(axis=0) if standardise else np.ones(n_edges, np.float32)
        self.scale_ = np.where(std > 0, std, 1).astype(np.float32)
        self.diagonal_ = 0.0 if standardise else 1.0

    def _n_rois(self, n_features: int) -> int:
        return n_rois_of(n_features)

    def _matrices(self, X: np.ndarray) -> Tensor:
        """Convert (B, n_edges) to (B, n_rois, n_rois) on the device of the network."""
        edges = (X - self.mean_) / self.scale_
        return torch.from_numpy(unvectorise(edges.astype(np.float32), self.diagonal_)).to(device())

    @torch.no_grad()
    def _outputs(self, network: nn.Module, X: np.ndarray) -> Tensor:
        network.eval()
        size = EVALUATION_BATCH
        return torch.cat([network(self._matrices(X[i : i + size])) for i in range(0, len(X), size)])

    def _predicted(self, X: Any) -> np.ndarray:
        """Outputs of the network (n_scans, n_out), float64."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float32)
        with reproducible(self.random_state, self.n_threads):
            network = self.network_.to(device())
            out = self._outputs(network, X).double().cpu().numpy()
            self.network_.cpu()
        return out

    def _n_out(self) -> int:
        raise TypeError("use NetworkClassifier or NetworkRegressor")

    def _loss(self, target: Tensor) -> Any:
        raise TypeError("use NetworkClassifier or NetworkRegressor")


class NetworkClassifier(ClassifierMixin, _Network):
    """Cross-entropy with classes weighted inversely to their numbers; see `_Network`.

    Attributes
    ----------
    classes_ : ndarray
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Train on FC.

        Parameters
        ----------
        X : array (n_scans, n_edges)
            Upper triangles of FC.
        y : array (n_scans,)
            Two classes or more.
        groups : array (n_scans,), optional
            Participant of each scan; all scans of a participant are held out together. Default:
            one participant per scan.

        Raises
        ------
        ValueError
            If the number of edges matches no number of ROIs, there is only one class, or training
            diverges.
        """
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"found one class, {self.classes_[0]!r}; expected two or more")
        self._train(X, torch.from_numpy(codes), codes, groups)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Log odds or logits.

        Parameters
        ----------
        X : array (n_scans, n_edges)

        Returns
        -------
        ndarray (n_scans,) or (n_scans, n_classes)
            Log odds of the second of two classes; logits with more classes.
        """
        logits = self._predicted(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array (n_scans, n_edges)

        Returns
        -------
        ndarray (n_scans, n_classes)
            Due to the class weights, for equally frequent classes.
        """
        return torch.from_numpy(self._predicted(X)).softmax(dim=1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class.

        Parameters
        ----------
        X : array (n_scans, n_edges)

        Returns
        -------
        ndarray (n_scans,)
            Values of `classes_`.
        """
        codes = self._predicted(X).argmax(axis=1)
        return self.classes_[codes]

    def _n_out(self) -> int:
        return len(self.classes_)

    def _loss(self, target: Tensor) -> Any:
        present = np.unique(target.numpy())
        weight = torch.zeros(self._n_out())
        balanced = compute_class_weight("balanced", classes=present, y=target.numpy())
        weight[present] = torch.from_numpy(balanced).float()

        def loss(out: Tensor, truth: Tensor) -> Tensor:
            return functional.cross_entropy(out, truth, weight.to(out.device))

        return loss


class NetworkRegressor(RegressorMixin, _Network):
    """Squared error of a target standardised over the training part; see `_Network`."""

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Train on FC.

        Parameters
        ----------
        X : array (n_scans, n_edges)
            Upper triangles of FC.
        y : array (n_scans,)
            Numbers; participants of every fifth of their distribution are held out.
        groups : array (n_scans,), optional
            Participant of each scan; all scans of a participant are held out together.

        Raises
        ------
        ValueError
            If the number of edges matches no number of ROIs, or training diverges.
        """
        X, y = validate_data(self, X, y, dtype=np.float32, y_numeric=True)
        target = torch.from_numpy(np.asarray(y, np.float32))[:, None]
        edges = np.quantile(y, np.linspace(0, 1, N_BINS + 1)[1:-1])
        self._train(X, target, np.searchsorted(edges, y), groups)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict in the unit of the target.

        Parameters
        ----------
        X : array (n_scans, n_edges)

        Returns
        -------
        ndarray (n_scans,)
        """
        out = self._predicted(X)[:, 0]
        return out * self.target_scale_ + self.target_mean_

    def _n_out(self) -> int:
        return 1

    def _loss(self, target: Tensor) -> Any:
        self.target_mean_ = float(target.mean())
        self.target_scale_ = float(target.std(correction=0)) or 1.0
        mean, scale = self.target_mean_, self.target_scale_

        def loss(out: Tensor, truth: Tensor) -> Tensor:
            return functional.mse_loss(out, (truth - mean) / scale)

        return loss


def batches(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Batches of `size` rows in random order; a single remaining row joins the previous batch.

    Batch norm needs more than one scan. The order comes from torch's global generator.

    Parameters
    ----------
    rows : ndarray (n,) of int

    Yields
    ------
    ndarray (n_batch,) of int
    """
    order = rows[torch.randperm(len(rows)).numpy()]
    starts = list(range(0, len(order), size))
    if len(starts) > 1 and len(order) % size == 1:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        yield order[start:end]
