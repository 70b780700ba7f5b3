"""The analyses of the stage: rows of a table and what is drawn of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from brainmass_core.config import Config
from brainmass_core.series_model import figures
from brainmass_core.series_model.reconstruction import (
    METHODS,
    Reconstruction,
    reconstruct_recording,
    score_reconstruction,
)
from brainmass_core.series_model.scores import intervals, score_draws
from brainmass_core.series_model.unseen import load_trained, unseen

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """Rows of the analysis' table, and its figure once it is asked for."""

    rows: Rows
    draw: Callable[[], Figure]


def reconstruction(config: Config) -> Outcome:
    """Hidden parts of the series of each data set, and one whole recording.

    Raises
    ------
    UnseenError
        If there is nobody to evaluate.
    LeakError
        If pre-training was given one of them.
    """
    s, trained, length = config.series_model, load_trained(config), config.pretrain.brainlm.window
    ratio = s.mask_ratio or config.pretrain.brainlm.mask_ratio
    people, rows = unseen(config, trained, length), []
    for dataset in people.datasets:
        windows = people.of(dataset).cut(length, s.windows)
        scored = score_reconstruction(
            trained.model, windows.series, trained.coordinates, windows.who, ratio, config.seed
        )
        same = {"dataset": dataset, "n_windows": len(windows.who), "mask_ratio": ratio}
        rows += [same | one for one in _scores(scored, s.n_draws, config.seed)]
    true = people.series[0]
    found = reconstruct_recording(
        trained.model, true, trained.coordinates, length, ratio, config.seed
    )
    example = figures.Example(
        people.scans["scan_id"].iloc[0], true.numpy(), found.numpy(), trained.t_r
    )
    return Outcome(rows, partial(figures.reconstruction, rows, example))


def _scores(scored: Reconstruction, n_draws: int, seed: int) -> Rows:
    """Rows of one data set; no interval of a single participant."""
    rows, n = [], len(scored.participants)
    for method in METHODS:
        bounds = intervals(score_draws(scored.sums[method], n_draws, seed)) if n > 1 else {}
        row = {"method": method, "n_participants": n, **scored.pooled[method]}
        for name, (low, high) in bounds.items():
            row |= {f"{name}_low": float(low), f"{name}_high": float(high)}
        rows.append(row)
    return rows


ANALYSES: Mapping[str, Callable[[Config], Outcome]] = {"reconstruction": reconstruction}
