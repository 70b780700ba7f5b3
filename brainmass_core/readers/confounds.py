"""Confounds of a run, under the names of fMRIPrep from 1.2 on, whichever pipeline wrote them."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd

from brainmass_core.readers.delimited import read_delimited
from brainmass_core.readers.files import FileError
from brainmass_core.readers.limits import quoted
from brainmass_core.readers.missing import (
    CODES,
    FAR,
    INFINITE,
    MISSING,
    NUMBER,
    numbers,
    one_digit,
    times,
    undeclared_codes,
)

log = logging.getLogger(__name__)
HUGE = 1e10  # no confound, in whatever unit
LARGE = 90  # smaller codes of missing values (-77, 88) are numbers of confounds too
MOST_TURNED = 3.15  # rad, half a turn
HEAD_RADIUS = 50.0  # mm, Power 2012
# summed in this order, on which the last digit depends
ROTATIONS = [f"rot_{axis}" for axis in "zxy"]
TRANSLATIONS = [f"trans_{axis}" for axis in "zxy"]
# ours to what it is called elsewhere, in lower case without _, - and spaces. AFNI's enorm, the
# displacement of Van Dijk and XCP-D's filtered one are other measures and stay what they are.
ALIASES = {
    "framewise_displacement": (
        *("framewisedisplacement", "framewisedisplacementpower", "powerframewisedisplacement"),
        *("fd", "fdpower", "powerfd", "fdp", "fdpow"),
    ),
    "rmsd": (
        *("rmsd", "framewisedisplacementjenkinson", "jenkinsonframewisedisplacement"),
        *("fdjenkinson", "jenkinsonfd", "fdj", "fdjenk", "fdrms", "rmsfd"),
        *("relrms", "relativerms", "rmsrel", "relmeansrmsmotion", "relmeanrmsmotion"),
    ),
    "std_dvars": ("stddvars", "dvarsstd"),
    "global_signal": ("globalsignal",),
    "white_matter": ("whitematter",),
    "csf": ("csf",),
}
# fMRIPrep before 1.2: motion in mm and rad as later
EARLY = dict(zip(["Z", "X", "Y", "RotZ", "RotX", "RotY"], [*TRANSLATIONS, *ROTATIONS], strict=True))
NUMBERED = {
    re.compile(r"aCompCor(\d+)"): "a_comp_cor_{:02d}",
    re.compile(r"NonSteadyStateOutlier(\d+)"): "non_steady_state_outlier_{:02d}",
}

# what is computed with: no words
NUMERIC = re.compile(
    rf"{'|'.join([*TRANSLATIONS, *ROTATIONS, *ALIASES])}|a_comp_cor_\d+|non_steady_state_outlier.*"
)


def read_confounds_table(path: Path) -> pd.DataFrame:
    """Read a table of confounds, one row per volume.

    Returns
    -------
    DataFrame of numbers
        NaN where missing or infinite (which is logged); columns of text as they are. What
        fMRIPrep calls otherwise now is called as now.

    Raises
    ------
    FileError
        If the table has another number of rows, or a column contains text among numbers.
    """
    text = read_delimited(path)
    columns = {str(name): _numbers(path, str(name), cells) for name, cells in text.items()}
    table = pd.DataFrame(columns).reset_index(drop=True)
    table = table.rename(columns=_names(list(map(str, table.columns))))
    _check_turns(path, table)
    for name in [c for c in map(str, table) if NUMERIC.fullmatch(c)]:
        words = text.iloc[:, list(table).index(name)][table[name].notna().to_numpy()]
        if table[name].dtype == object and len(words):
            raise FileError(
                f"{path}: line {words.index[0]}: found {quoted(words.iloc[0])} in column "
                f"{text.columns[list(table).index(name)]!r}, expected a number, or n/a"
            )
    return table


def _numbers(path: Path, name: str, cells: pd.Series) -> pd.Series:
    gone = cells.isin(MISSING)
    known = cells[~gone]
    plain = known.map(lambda v: bool(NUMBER.fullmatch(v) or INFINITE.fullmatch(v))).astype(bool)
    if plain.all():
        values = known.astype(float).reindex(cells.index)
    else:
        values, others = numbers(cells.mask(gone, None), f"{path}: column {name!r}")
        if len(others) == len(known):
            return cells.mask(gone, None)  # a column of words
        if len(others):
            raise FileError(
                f"{path}: line {others.index[0]}: found {quoted(others.iloc[0])} in column "
                f"{name!r}, expected a number, or n/a"
            )
    return known_confounds(path, name, values)


def _check_turns(path: Path, table: pd.DataFrame) -> None:
    """Refuse rotations in degrees under names that mean radians."""
    for name in set(ROTATIONS) & set(table):
        largest = pd.to_numeric(table[name], errors="coerce").abs().max()
        if largest > MOST_TURNED:
            raise FileError(
                f"{path}: found {largest:g} in column {name!r}, expected radians, at most "
                f"{MOST_TURNED:g}; if these are degrees, divide by 57.2958"
            )


def known_confounds(path: Path, name: str, values: pd.Series) -> pd.Series:
    """A column of confounds, NaN where missing or infinite (which is logged).

    Parameters
    ----------
    values : Series of float
        The index is the line of the file.

    Raises
    ------
    FileError
        If -9999, 999 and similar codes are far from all other values.
    """
    infinite = np.isinf(values.astype(float))
    if infinite.any():
        log.warning(
            "%s: %d infinite values of %r count as missing", path, int(infinite.sum()), name
        )
        values = values.where(~infinite)
    suspects = values[values.map(_like_a_code).astype(bool)]
    found = sorted(_codes(values) & set(suspects)) if len(suspects) else []
    if found:
        counted = ", ".join(f"{v:g} ({times(int((suspects == v).sum()))})" for v in found)
        raise FileError(
            f"{path}: line {suspects.index[0]}: found {counted} in column {name!r}, far from all "
            f"others, as codes of missing values are; write {_missing_in(path)} where a value is "
            "missing"
        )
    return values


def _codes(values: pd.Series) -> set[float]:
    """Codes of missing values, also among too few other values to know their range."""
    told = set(undeclared_codes(values))
    like = values.map(_like_a_code).astype(bool)
    others = values[~like].abs().max()
    far = values.abs() > FAR * (0.0 if pd.isna(others) else others)
    return told | set(values[like & far])


def _like_a_code(value: float) -> bool:
    """Whether a number looks like a code: -9999, 999, 99.99, -9999.9, 1e20."""
    size = abs(value)
    return size > LARGE and (value in CODES or one_digit(value) or size >= HUGE)


def _missing_in(path: Path) -> str:
    return "nan" if path.name.endswith(".1D") else "n/a"


def _names(found: list[str]) -> dict[str, str]:
    """Names found to ours; a name that the table already has is not given again."""
    ours: dict[str, str] = {}
    taken = set(found)
    for name in found:
        new = EARLY.get(name) if set(EARLY) <= taken else None
        new = new or _numbered(name) or _alias(name)
        if new is not None and new not in taken:
            ours[name] = new
            taken.add(new)
    return ours


def _numbered(name: str) -> str | None:
    for pattern, template in NUMBERED.items():
        if match := pattern.fullmatch(name):
            return template.format(int(match[1]))
    return None


def _alias(name: str) -> str | None:
    key = re.sub(r"[\s_-]", "", name).lower()
    return next((new for new, names in ALIASES.items() if key in names), None)


def power_displacement(confounds: pd.DataFrame) -> np.ndarray | None:
    """Framewise displacement (n_volumes,) in mm of Power 2012, from the six motion parameters.

    Returns
    -------
    ndarray or None
        NaN for the first volume; None without the parameters (mm and rad).
    """
    if not {*TRANSLATIONS, *ROTATIONS} <= set(confounds):
        return None
    change = confounds[[*TRANSLATIONS, *ROTATIONS]].astype(float).diff().abs()
    turned = HEAD_RADIUS * change[ROTATIONS].sum(axis=1, skipna=False)
    return (turned + change[TRANSLATIONS].sum(axis=1, skipna=False)).to_numpy()
