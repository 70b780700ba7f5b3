"""C-PAC's `.1D` files of a run as a confounds table under fMRIPrep's names.

Regressors lie in ``*_regressors.1D`` or, later, ``*_desc-confounds_timeseries.1D``, the columns'
names in the last line of the header; motion lies in ``*_desc-movementParameters_motion.1D`` or,
earlier, ``*_movement-parameters.1D``: six columns as AFNI's 3dvolreg writes them, roll, pitch, yaw
in degrees, then dS, dL, dP in mm. In regressor files these six are called RotY, RotX, RotZ, Y, X,
Z. Roll turns about the axis from inferior to superior, pitch about that from right to left, yaw
about that from anterior to posterior. (C-PAC 1.8.7, read in its source.)
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from brainmass_core.readers import read_lines
from brainmass_core.readers.confounds import power_displacement
from brainmass_core.scans.cpac import cpac_files

VOLREG = ["rot_z", "rot_x", "rot_y", "trans_z", "trans_x", "trans_y"]
MOTION = dict(zip(["RotY", "RotX", "RotZ", "Y", "X", "Z"], VOLREG, strict=True))
SIGNALS = {
    "GlobalSignal": "global_signal",
    "CerebrospinalFluid": "csf",
    "WhiteMatter": "white_matter",
}
MEAN = re.compile(rf"({'|'.join(SIGNALS)})(?:Detrend)?(?:Norm)?Mean0")
COMPONENT = re.compile(r"aCompCor\D*(\d+)")  # aCompCorPC0, aCompCorDetrendPC0; not ...0Delay


def read_cpac(path: Path) -> pd.DataFrame:
    """Confounds of a run from a C-PAC file and those of the same run beside it.

    Parameters
    ----------
    path : Path
        The file whose columns count first.

    Returns
    -------
    DataFrame
        Motion in mm and rad, mean signals, aCompCor, ``framewise_displacement`` (Power 2012, from
        the motion, else C-PAC's) and, where C-PAC wrote it, ``rmsd`` (Jenkinson 1999). Terms that
        are computed from these (delays, squares) are left out.

    Raises
    ------
    ValueError
        If a file is damaged, names other columns than it has, or has another length.
    """
    table = _read(path)
    for other in cpac_files(path):
        if other != path:
            added = _read(other)
            if len(added) != len(table):
                raise ValueError(
                    f"{len(table)} rows, but {other} has {len(added)}; expected files of one run"
                )
            table = table.join(added[[c for c in added if c not in table]])
    displacement = power_displacement(table)
    if displacement is not None:
        table["framewise_displacement"] = displacement
    return table


def _read(path: Path) -> pd.DataFrame:
    """Columns of one file, under fMRIPrep's names."""
    try:
        lines = read_lines(path)
        header = [line.lstrip() for line in lines if line.lstrip().startswith("#")]
        body = [line for line in lines if not line.lstrip().startswith("#")]
        values = np.loadtxt(body, comments=None, ndmin=2)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name}: {error}") from None
    name = path.name.lower()
    if "jenkinson" in name:
        return pd.DataFrame({"rmsd": values[:, 0]})
    if "power" in name:
        return pd.DataFrame({"framewise_displacement": values[:, 0]})
    if "movement" in name:
        if values.shape[1] != 6:
            raise ValueError(f"{path.name}: found {values.shape[1]} columns, expected 6 of motion")
        return _in_radians(pd.DataFrame(values, columns=VOLREG))
    names = header[-1].lstrip("# ").rstrip("\n").split("\t") if header else []
    if len(names) != values.shape[1]:
        raise ValueError(
            f"{path.name}: found {values.shape[1]} columns and {len(names)} names in the last line "
            "of its header, expected a name for each"
        )
    known = {old: new for old in names if (new := _name(old))}
    return _in_radians(pd.DataFrame(values, columns=names)[list(known)].rename(columns=known))


def _name(column: str) -> str | None:
    """Our name of a C-PAC column; None for what is not needed."""
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
