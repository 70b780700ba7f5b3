"""Nuisance regressors of a run, from a table of confounds with fMRIPrep's names."""

from __future__ import annotations

import pandas as pd
from numpy import isfinite, linspace
from numpy.polynomial.legendre import legvander

from brainmass_core.config.timeseries import Timeseries

MOTION = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]


class ConfoundsError(ValueError):
    """A confounds table lacks columns that the model needs."""


def design_matrix(confounds: pd.DataFrame, settings: Timeseries) -> pd.DataFrame:
    """Nuisance regressors of one run.

    All terms are computed from the motion parameters and mean signals, so tables of any pipeline
    can be used. With R one of them at time t, `24_lag` is R(t), R(t-1) and their squares
    (Friston 1996, doi:10.1002/mrm.1910350312), `24_derivative` has R(t) - R(t-1) instead of
    R(t-1). `signal_expansion` applies the latter to the mean signals, which gives 36 parameters
    (Satterthwaite 2013, doi:10.1016/j.neuroimage.2012.08.052). Terms that need the volume before
    the first are 0.

    Parameters
    ----------
    confounds : DataFrame (n_timepoints rows)
        Columns named as in fMRIPrep: ``trans_x`` ... ``rot_z``, ``csf``, ``white_matter``,
        ``global_signal``, ``a_comp_cor_00`` ...

    Returns
    -------
    DataFrame (n_timepoints rows)
        The last columns are the polynomials ``polynomial_0`` (the constant) and up.

    Raises
    ------
    ConfoundsError
        Naming the columns that are missing or contain missing values.
    """
    components = [f"a_comp_cor_{i:02d}" for i in range(settings.n_compcor)]
    chosen = [("csf", settings.csf), ("white_matter", settings.white_matter)]
    chosen += [("global_signal", settings.global_signal)]
    signals = [name for name, wanted in chosen if wanted]
    motion = MOTION if settings.motion != "none" else []
    values = _columns(confounds, [*components, *signals, *motion])
    parts = [_motion_terms(values[motion], settings.motion), values[components]]
    kind = "24_derivative" if settings.signal_expansion else "6"
    parts.append(_motion_terms(values[signals], kind))
    design = pd.concat(parts, axis=1)
    drift = legvander(linspace(-1, 1, len(confounds)), settings.polynomial_order)
    for order, column in enumerate(drift.T):
        design[f"polynomial_{order}"] = column
    return design


def _columns(confounds: pd.DataFrame, needed: list[str]) -> pd.DataFrame:
    missing = [n for n in needed if n not in confounds]
    if missing:
        raise ConfoundsError(
            f"the confounds table lacks the columns {missing}; turn these regressors off in "
            "`timeseries`, or write the table again with them"
        )
    values = confounds[needed].astype(float)
    bad = [n for n in needed if not isfinite(values[n]).all()]
    if bad:
        raise ConfoundsError(
            f"the confounds {', '.join(bad[:5])}{' ...' if len(bad) > 5 else ''} contain missing "
            f"values, {_where(values[bad])}; expected a number for every volume; correct the "
            "table, or turn these regressors off in `timeseries`"
        )
    return values


def _where(values: pd.DataFrame) -> str:
    """The volumes with missing values, counted from 1 among those that are kept."""
    rows = [int(i) + 1 for i in (~isfinite(values.to_numpy())).any(axis=1).nonzero()[0]]
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"in volume {', '.join(map(str, rows[:5]))}{more} of the {len(values)} that are kept"


def _motion_terms(columns: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The columns with their lags or derivatives and squares."""
    if kind in ("none", "6"):
        return columns
    if kind == "24_lag":
        second = columns.shift(1, fill_value=0.0).add_suffix("_lag1")
    else:
        second = columns.diff().fillna(0.0).add_suffix("_derivative1")
    terms = pd.concat([columns, second], axis=1)
    return pd.concat([terms, (terms**2).add_suffix("_power2")], axis=1)
