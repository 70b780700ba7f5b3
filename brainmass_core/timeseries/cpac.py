"""Read C-PAC's `.1D` files of a run as a confounds table with fMRIPrep's names.

Regressors are in ``*_regressors.1D`` or, in later versions, ``*_desc-confounds_timeseries.1D``,
with the names of columns in the last line of the header; motion is in
``*_desc-movementParameters_motion.1D`` or, earlier, ``*_movement-parameters.1D``: six columns as
AFNI's 3dvolreg writes them, roll, pitch, yaw in degrees, then dS, dL, dP in mm. In regressor files
these six are called RotY, RotX, RotZ, Y, X, Z. Roll is a rotation about the inferior-superior axis,
pitch about the right-left axis, yaw about the anterior-posterior axis. (C-PAC 1.8.7, read in its
source.)
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from brainmass_core.readers import FileError, read_lines
from brainmass_core.readers.confounds import known_confounds, power_displacement
from brainmass_core.scans.cpac import cpac_files

VOLREG = ["rot_z", "rot_x", "rot_y", "trans_z", "trans_x", "trans_y"]
MOTION = dict(zip(["RotY", "RotX", "RotZ", "Y", "X", "Z"], VOLREG, strict=True))
SIGNALS = {
    "GlobalSignal": "global_signal",
    "CerebrospinalFluid": "csf",
    "WhiteMatter": "white_matter",
}
MEAN = re.compile(rf"({'|'.join(SIGNALS)})(?:Detrend)?(?:Norm)?Mean0")
MISSING_WORD = re.compile(r"(?<!\S)(n/a|na|null)(?!\S)", re.IGNORECASE)
COMPONENT = re.compile(r"aCompCor\D*(\d+)")  # aCompCorPC0, aCompCorDetrendPC0; not ...0Delay


def read_cpac(path: Path) -> pd.DataFrame:
    """Confounds of a run from a C-PAC file and other files of the same run in its folder.

    Parameters
    ----------
    path : Path
        The file whose columns have priority.

    Returns
    -------
    DataFrame
        Motion in mm and rad, mean signals, aCompCor, ``framewise_displacement`` (Power 2012, from
        the motion, else C-PAC's) and, where C-PAC wrote it, ``rmsd`` (Jenkinson 1999). Terms that
        are computed from these (delays, squares) are ignored.

    Raises
    ------
    FileError
        If a file is damaged, its header does not match its columns or has a duplicate, the lengths
        differ, or it contains codes of missing values.
    """
    table = _read(path)
    for other in cpac_files(path):
        if other != path:
            added = _read(other)
            if len(added) != len(table):
                raise FileError(
                    f"{path}: {len(table)} rows, but {other} has {len(added)}; expected files of "
                    "one run"
                )
            table = table.join(added[[c for c in added if c not in table]])
    displacement = power_displacement(table)
    if displacement is not None:
        table["framewise_displacement"] = displacement
    return table


def _read(path: Path) -> pd.DataFrame:
    """Columns of one file, with fMRIPrep's names."""
    lines = dict(enumerate(read_lines(path), 1))
    header = [line.lstrip() for line in lines.values() if line.lstrip().startswith("#")]
    body = {n: s for n, s in lines.items() if s.strip() and not s.lstrip().startswith("#")}
    try:
        values = np.loadtxt([_with_nan(s) for s in body.values()], comments=None, ndmin=2)
    except ValueError as error:
        raise FileError(f"{path}: {error}; expected numbers, the same in every row") from None
    name, width = path.name.lower(), values.shape[1]
    if "jenkinson" in name:
        columns: list[str | None] = ["rmsd"]
    elif "power" in name:
        columns = ["framewise_displacement"]
    elif "movement" in name:
        if width != 6:
            raise FileError(f"{path}: found {width} columns, expected 6 of motion")
        columns = list(VOLREG)
    else:
        columns = _named(path, header, width)
    known = {
        ours: known_confounds(path, ours, pd.Series(values[:, i], list(body)))
        for i, ours in enumerate(columns)
        if ours is not None
    }
    return _in_radians(pd.DataFrame(known).reset_index(drop=True))


def _with_nan(line: str) -> str:
    return MISSING_WORD.sub("nan", line)


def _named(path: Path, header: list[str], width: int) -> list[str | None]:
    """Our names of the columns in the last line of the header; None for others."""
    names = header[-1].lstrip("# ").rstrip("\n").split("\t") if header else []
    if len(names) != width:
        raise FileError(
            f"{path}: found {width} columns and {len(names)} names in the last line of its header, "
            "expected a name for each"
        )
    ours = [_name(old) for old in names]
    twice = [name for name in ours if name is not None and ours.count(name) > 1]
    if twice:
        found = ", ".join(old for old in names if _name(old) == twice[0])
        raise FileError(
            f"{path}: the columns {found} are all {twice[0]}; expected one of them, so remove the "
            "others, or give the regressors of one strategy"
        )
    return ours


def _name(column: str) -> str | None:
    """Our name of a C-PAC column; None if it is not needed."""
    if column in MOTION:
        return MOTION[column]
    if found := MEAN.fullmatch(column):
        return SIGNALS[found[1]]
    if found := COMPONENT.fullmatch(column):
        return f"a_comp_cor_{int(found[1]):02d}"
    return None


def _in_radians(table: pd.DataFrame) -> pd.DataFrame:
    turned = [str(c) for c in table if str(c).startswith("rot_")]
    table[turned] = np.radians(table[turned])
    return table
