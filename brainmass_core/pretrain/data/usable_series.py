"""Eligibility of series for pre-training: length and repetition time."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from functools import partial

from brainmass_core.config import Config
from brainmass_core.config.sections import BrainLM
from brainmass_core.pfc import Dropping
from brainmass_core.timeseries.sampling import n_resampled, same_t_r

log = logging.getLogger(__name__)
Usable = Callable[[int, float | None], None]


class ShardError(ValueError):
    """pFC tables or time series cannot, or must not, be used for pre-training."""


def dropping_of(config: Config) -> Dropping:
    """Rule for choosing the timepoints of a view."""
    return Dropping(config.pfc.drop_rate, config.pfc.drop_count, config.pfc.window)


def usable_by(config: Config) -> Usable:
    """Function that refuses a series by its timepoints and repetition time, with a ValueError."""
    if config.pretrain.encoder.sees_series:
        return partial(check_window, config.pretrain.windows)
    dropping = dropping_of(config)
    return lambda n_timepoints, t_r: dropping.check(n_timepoints)


def check_window(settings: BrainLM, n_timepoints: int, t_r: float | None) -> None:
    """Refuse a series that cannot be used to train a BrainLM.

    Raises
    ------
    ValueError
        If it is shorter than the window, or its repetition time (s) is not the configured one.
    """
    wanted = settings.t_r
    if wanted is not None and t_r is None:
        raise ValueError(f"its repetition time is unknown, expected {wanted:g} s")
    if wanted is not None and t_r is not None:
        if settings.other_t_r == "reject" and not same_t_r(t_r, wanted):
            raise ValueError(f"found a repetition time of {t_r:g} s, expected {wanted:g} s")
        n_timepoints = n_resampled(n_timepoints, t_r, wanted)
    if n_timepoints < settings.window:
        raise ValueError(f"found {n_timepoints} timepoints, expected {settings.window} or more")


def agreed_t_r(config: Config, t_rs: list[float | None]) -> float | None:
    """The repetition time (s) of a BrainLM: as configured, or that of all scans.

    Raises
    ------
    ShardError
        If it is not configured and the scans differ.
    """
    if config.pretrain.windows.t_r is not None:
        return config.pretrain.windows.t_r
    counts = Counter(t_rs)
    known = sorted(t for t in counts if t is not None)
    if known and (None in counts or not same_t_r(known[0], known[-1])):
        found = ", ".join(f"{t or 'unknown'}: {n} scans" for t, n in counts.most_common(8))
        raise ShardError(
            f"the scans differ in their repetition time (s: {found}); set pretrain.brainlm.t_r to "
            "that of the model, and pretrain.brainlm.other_t_r to resample or reject"
        )
    if not known:
        log.warning("the repetition time of the scans is unknown, and so is that of the model")
    return known[0] if known else None


def tell_left_out(short: list[str], n_left: int) -> None:
    """Log the number of series that cannot be used; raise an error if none remains."""
    if not short:
        return
    total = n_left + len(short)
    if not n_left:
        raise ShardError(
            f"none of the {total} series can be pre-trained on, such as {'; '.join(short[:3])}; "
            "see pretrain.brainlm.window, t_r and other_t_r, or the section pfc"
        )
    log.warning("%d of %d series are excluded from pre-training", len(short), total)
