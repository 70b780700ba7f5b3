"""Perturbation of recordings that the model treats as another state.

``X* = G(X, θ) = X + D(θ)``: the same D is added to every window. With the form ``constant`` it is
one number per parcel at all timepoints; with ``low_rank`` it is ``A B``, a few time courses B
(rank, n_timepoints) shared by parcels with loadings A (n_rois, rank), at fixed times in the window.
θ minimises

``|mean state(X*) - target|² / |mean state(X) - target|²
+ l2 · mean(D²) + smoothness · mean((D[t + 1] - D[t])²)``

where means of states weight participants equally and the target is the mean of the other state. It
describes the model, not an effect of stimulation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from brainmass_core.finetune.statistics.metrics import LEVELS
from brainmass_core.interpret.stability import Interval, over_pairs
from brainmass_core.models.series import Mask, SeriesModel
from brainmass_core.series_model.fitting import Windows
from brainmass_core.series_model.windows import BATCH, batches, mean_by_participant

State = Callable[[Tensor], Tensor]  # windows (B, n_rois, n_timepoints) to (B, n_features)
FORMS = ("constant", "low_rank")


@dataclass(frozen=True)
class Search:
    """Settings of the search for θ.

    Attributes
    ----------
    form : {"constant", "low_rank"}
    rank : int
        Time courses of form ``low_rank``.
    l2, smoothness : float
        Weights of the penalties, relative to the remaining fraction of the squared distance.
    start : float
        Standard deviation of the random initial θ, in the unit of the series.
    restarts : int
        Number of searches from different starts.
    n_draws : int
        Number of searches on bootstrap samples of the participants of both states.
    """

    form: str = "constant"
    rank: int = 2
    l2: float = 0.01
    smoothness: float = 0.01
    steps: int = 300
    lr: float = 0.05
    start: float = 0.1
    restarts: int = 5
    n_draws: int = 20
    batch: int = BATCH
    seed: int = 0

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"found form {self.form!r}, expected one of {', '.join(FORMS)}")


@dataclass(frozen=True)
class Perturbation:
    """Result of the search, and its reliability.

    Attributes
    ----------
    added : ndarray (n_rois, n_timepoints)
        D of the restart with the smallest loss; all columns are equal for form ``constant``.
    magnitude, low, high : ndarray (n_rois,)
        Mean of \\|D\\| over time, and its 95 % interval over draws of participants.
    remaining : ndarray (n_restarts,)
        Remaining fraction of the squared distance to the target.
    over_restarts : (float, float, float)
        Mean correlation of magnitudes over pairs of restarts with a jackknife 95 % interval; NaN if
        there are too few.
    over_draws : (float, float, float)
        The same over pairs of draws.
    """

    added: np.ndarray
    magnitude: np.ndarray
    low: np.ndarray
    high: np.ndarray
    remaining: np.ndarray
    over_restarts: Interval
    over_draws: Interval


def cls_state(model: SeriesModel, coordinates: Tensor) -> State:
    """State: the CLS token with nothing hidden, with tokens in natural order.

    Parameters
    ----------
    model : SeriesModel
    coordinates : Tensor (n_rois, 3)
        MNI, in mm.

    Returns
    -------
    function
        Windows (B, n_rois, n_timepoints) to (B, d).
    """
    return _state(model, coordinates, lambda model, x, xyz: model.encode_in_order(x, xyz))


def decoded_state(model: SeriesModel, coordinates: Tensor) -> State:
    """State: the decoded series with nothing hidden, flattened.

    Parameters
    ----------
    model : SeriesModel
    coordinates : Tensor (n_rois, 3)
        MNI, in mm.

    Returns
    -------
    function
        Windows (B, n_rois, n_timepoints) to (B, n_rois * n_timepoints).
    """

    def decoded(model: SeriesModel, x: Tensor, xyz: Tensor) -> Tensor:
        return model.reconstruct(x, xyz, _natural(model, x))[0].flatten(1)

    return _state(model, coordinates, decoded)


def _state(
    model: SeriesModel, coordinates: Tensor, of: Callable[[SeriesModel, Tensor, Tensor], Tensor]
) -> State:
    """Apply a frozen copy of the model to series, on the model's device."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    device = next(model.parameters()).device
    xyz = coordinates.to(device)
    return lambda series: of(model, series.to(device), xyz).to(series.device)


def _natural(model: SeriesModel, series: Tensor) -> Mask:
    """A mask that hides nothing."""
    n, n_rois, n_timepoints = series.shape
    order = torch.arange(model.n_tokens(n_rois, n_timepoints), device=series.device)
    return Mask(order.expand(n, -1))


def perturb(state: State, windows: Windows, target: Windows, settings: Search) -> Perturbation:
    """Find the perturbation of `windows` that moves their mean state to that of `target`.

    Parameters
    ----------
    state : function
        `cls_state`, `decoded_state`, or any other differentiable function.
    windows, target : Windows
        With the same shape, such as rest and task, or two groups.

    Raises
    ------
    ValueError
        If the windows differ in shape, or the two states have the same mean.
    """
    if windows.series.shape[1:] != target.series.shape[1:]:
        raise ValueError(
            f"found windows of shape {tuple(windows.series.shape[1:])} and a target of "
            f"{tuple(target.series.shape[1:])}, expected the same parcels and timepoints"
        )
    goals = _states_by_participant(state, target, settings.batch)
    here = _states_by_participant(state, windows, settings.batch)
    if np.allclose(goals.mean(0), here.mean(0), rtol=1e-6, atol=1e-9):
        raise ValueError("both states have the same mean: there is no difference to search for")
    everyone = np.ones(len(here)) / len(here)
    found = [
        _search(state, windows, everyone, here.mean(0), goals.mean(0), settings, (0, i))
        for i in range(settings.restarts)
    ]
    best = min(range(len(found)), key=lambda i: found[i].loss)
    draws = _draws(state, windows, here, goals, settings)
    magnitude = np.abs(found[best].added).mean(1)
    missing = np.full((2, len(magnitude)), np.nan)
    bounds = np.quantile(draws, LEVELS, axis=0) if len(draws) else missing
    restarts = np.stack([np.abs(one.added).mean(1) for one in found])
    return Perturbation(
        found[best].added,
        magnitude,
        bounds[0],
        bounds[1],
        np.array([one.remaining for one in found]),
        over_pairs(restarts, _correlation),
        over_pairs(draws, _correlation),
    )


def _draws(
    state: State, windows: Windows, here: np.ndarray, goals: np.ndarray, settings: Search
) -> np.ndarray:
    """Magnitudes (n_draws, n_rois) for bootstrap samples of participants of both states."""
    rng = np.random.default_rng(settings.seed)
    rows = []
    for i in range(settings.n_draws):
        weight, goal = (
            rng.multinomial(len(s), np.full(len(s), 1 / len(s))) / len(s) for s in (here, goals)
        )
        one = _search(state, windows, weight, weight @ here, goal @ goals, settings, (1, i))
        rows.append(np.abs(one.added).mean(1))
    return np.stack(rows) if rows else np.empty((0, windows.series.shape[1]))


@dataclass(frozen=True)
class _Found:
    added: np.ndarray
    loss: float
    remaining: float


def _search(
    state: State,
    windows: Windows,
    weight: np.ndarray,
    here: np.ndarray,
    goal: np.ndarray,
    settings: Search,
    number: tuple[int, int],
) -> _Found:
    """One search by Adam, with weights of participants and their mean state `here`."""
    series = windows.series
    _, place, counts = np.unique(windows.who, return_inverse=True, return_counts=True)
    chance = torch.from_numpy((weight / counts)[place]).to(series)
    way = torch.from_numpy(goal - here).to(series)
    distance = float(np.square(here - goal).sum())
    seed = int(np.random.SeedSequence([settings.seed, *number]).generate_state(1)[0])
    generator = torch.Generator().manual_seed(seed)
    parts = _start(series.shape[1], series.shape[2], settings, generator)
    theta = [part.to(series).requires_grad_() for part in parts]
    optimiser = torch.optim.Adam(theta, settings.lr)

    def remaining(added: Tensor) -> Tensor:
        # use the change of the drawn windows, not their state: windows differ more than the means
        # of the two states, so a step would otherwise depend on which windows were drawn
        rows, share = _some(chance, settings.batch, generator)
        with torch.no_grad():
            before = share @ state(series[rows])
        return (share @ state(series[rows] + added) - before - way).square().sum() / distance

    for _ in range(settings.steps):
        optimiser.zero_grad()
        added = _added(theta, series.shape[2])
        (remaining(added) + _penalty(added, settings)).backward()
        optimiser.step()
    with torch.no_grad():
        added = _added(theta, series.shape[2])
        moved = Windows(series + added, windows.who)
        mean = weight @ _states_by_participant(state, moved, settings.batch)
        left = float(np.square(mean - goal).sum()) / distance
        loss = left + float(_penalty(added, settings))
    return _Found(added.detach().cpu().double().numpy(), loss, left)


def _start(
    n_rois: int, n_timepoints: int, settings: Search, generator: torch.Generator
) -> list[Tensor]:
    """Initial θ: one number per parcel, or loadings and time courses."""
    if settings.form == "constant":
        return [settings.start * torch.randn(n_rois, 1, generator=generator)]
    spread = (
        settings.start**2 / settings.rank
    ) ** 0.25  # so that the product has standard deviation `start`
    shapes = ((n_rois, settings.rank), (settings.rank, n_timepoints))
    return [spread * torch.randn(*shape, generator=generator) for shape in shapes]


def _added(theta: list[Tensor], n_timepoints: int) -> Tensor:
    """D (n_rois, n_timepoints)."""
    return theta[0].expand(-1, n_timepoints) if len(theta) == 1 else theta[0] @ theta[1]


def _penalty(added: Tensor, settings: Search) -> Tensor:
    size, roughness = added.square().mean(), added.diff(dim=1).square().mean()
    return settings.l2 * size + settings.smoothness * roughness


def _some(chance: Tensor, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Windows with weights that sum to 1: all with nonzero weight, or a batch drawn by weight."""
    rows = chance.nonzero()[:, 0]
    if len(rows) <= batch:
        return rows, chance[rows]
    drawn = torch.multinomial(chance.cpu(), batch, replacement=True, generator=generator)
    return drawn.to(chance.device), torch.full((batch,), 1 / batch).to(chance)


@torch.no_grad()
def _states_by_participant(state: State, windows: Windows, batch: int) -> np.ndarray:
    """Mean states (n_participants, n_features), float64."""
    parts = [state(windows.series[part]) for part in batches(len(windows.series), batch)]
    return mean_by_participant(torch.cat(parts).cpu().double().numpy(), windows.who)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r; 0 if one of the two does not vary."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
