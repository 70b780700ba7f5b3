"""The analyses `reconstruction` and `forecast`."""

from __future__ import annotations

from functools import partial

import pandas as pd

from brainmass_core.config import Config
from brainmass_core.series_model import figures
from brainmass_core.series_model.fitting import Fit
from brainmass_core.series_model.forecast import forecasters, score_forecasts
from brainmass_core.series_model.outcome import Outcome, Rows, records
from brainmass_core.series_model.reconstruction import (
    METHODS,
    Reconstruction,
    reconstruct_recording,
    score_reconstruction,
)
from brainmass_core.series_model.scores import SCORES, intervals, score_draws
from brainmass_core.series_model.unseen import load_trained, seen, unseen


def reconstruction(config: Config) -> Outcome:
    """Reconstruct hidden parts of the series of each data set, and one complete recording.

    Raises
    ------
    UnseenError
        If there are no participants to evaluate.
    LeakError
        If pre-training used one of them.
    ModelError
        If the model or the scaling of its series is missing.
    """
    s, trained, length = config.series_model, load_trained(config), config.pretrain.windows.window
    ratio = s.mask_ratio or config.pretrain.windows.mask_ratio
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
    """Rows of one data set; without intervals for a single participant."""
    rows, n = [], len(scored.participants)
    for method in METHODS:
        bounds = intervals(score_draws(scored.sums[method], n_draws, seed)) if n > 1 else {}
        row = {"method": method, "n_participants": n, **scored.pooled[method]}
        for name, (low, high) in bounds.items():
            row |= {f"{name}_low": float(low), f"{name}_high": float(high)}
        rows.append(row)
    return rows


def forecast(config: Config) -> Outcome:
    """Forecasts for each data set, by the model and by baselines fitted to pre-training data.

    Raises
    ------
    UnseenError
        If there are no participants to evaluate, or to fit baselines.
    LeakError
        If pre-training used one of them.
    ModelError
        If the model or the scaling of its series is missing.
    """
    s, trained = config.series_model, load_trained(config)
    length = s.observed_steps + s.predicted_steps
    people = unseen(config, trained, length)
    train = seen(config, trained, length).cut(length, s.windows)
    settings = Fit(epochs=s.epochs, batch=s.batch_size, seed=config.seed)
    methods = forecasters(trained.model, trained.coordinates, train, s.observed_steps, settings)
    tables = []
    for dataset in people.datasets:
        windows = people.of(dataset).cut(length, s.windows)
        n = len(set(windows.who))
        table = score_forecasts(methods, windows, s.observed_steps, s.n_draws, config.seed)
        if n < 2:  # no interval for a single participant
            ends = ("_low", "_high")
            table[[f"{c}{end}" for c in (*SCORES, "r2_gain") for end in ends]] = None
        tables.append(table.assign(dataset=dataset, n_participants=n, n_windows=len(windows.who)))
    together = pd.concat(tables, ignore_index=True)
    return Outcome(records(together), partial(figures.forecast, together, trained.t_r))
