"""Descriptions of the columns of the confounds table, for its JSON sidecar."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

AXES = {"x": "from left to right", "y": "from back to front", "z": "from foot to head"}
SIGNALS = {
    "csf": "Mean signal of cerebrospinal fluid",
    "white_matter": "Mean signal of white matter",
    "global_signal": "Mean signal inside the brain mask",
}
SINGLE: dict[str, dict[str, Any]] = {
    "framewise_displacement": {
        "Description": "Sum of the absolute changes of the six motion parameters from the volume "
        "before, rotations measured on a sphere of 50 mm (Power 2012)",
        "Units": "mm",
    },
    "rmsd": {
        "Description": "Root-mean-square displacement from the volume before, inside a sphere of "
        "80 mm about the brain's centre (Jenkinson 1999)",
        "Units": "mm",
    },
    "dvars": {
        "Description": "Root mean square, over the brain, of the change from the volume before; "
        "the median intensity is scaled to 1000",
        "Units": "arbitrary",
    },
    "std_dvars": {
        "Description": "DVARS relative to what noise of the same size and autocorrelation would "
        "give (Nichols 2013)",
        "Units": "1",
    },
}
EXPANSIONS = {
    "derivative1": "change from the volume before",
    "power2": "square",
    "derivative1_power2": "square of the change from the volume before",
    "lag1": "value at the volume before",
    "lag1_power2": "square of the value at the volume before",
}
NUMBERED: dict[str, dict[str, Any]] = {
    "cosine": {
        "Description": "Slow cosine, for a high-pass by regression (periods above 128 s)",
        "Units": "arbitrary",
    },
    "motion_outlier": {"Description": "1 at one volume with much motion, else 0", "Units": "1"},
    "non_steady_state_outlier": {
        "Description": "1 at one volume before the steady state, else 0",
        "Units": "1",
    },
}
# prefix: method, mask, region of its voxels
COMPONENTS = {
    "a": ("aCompCor", "combined", "white matter and cerebrospinal fluid"),
    "w": ("aCompCor", "WM", "white matter"),
    "c": ("aCompCor", "CSF", "cerebrospinal fluid"),
    "t": ("tCompCor", None, "the voxels that vary most"),
}


def describe_columns(
    columns: Iterable[str], known: dict[str, dict[str, Any]] | None = None
) -> dict[str, dict[str, Any]]:
    """Description and units of confounds, as required by BIDS and `nilearn.interfaces.fmriprep`.

    Parameters
    ----------
    columns : iterable of str
    known : dict, optional
        Additional entries of single columns, such as ``SingularValue`` and ``VarianceExplained`` of
        a component; they take precedence.

    Returns
    -------
    dict
        Column to ``Description`` and ``Units``; components also have ``Method``, ``Mask`` and
        ``Retained``.
    """
    known = known or {}
    return {c: _describe(c) | known.get(c, {}) for c in map(str, columns)}


def _describe(column: str) -> dict[str, Any]:
    if column in SINGLE:
        return SINGLE[column]
    if found := re.fullmatch(r"([awct])_comp_cor_(\d+)", column):
        return _component(found[1], int(found[2]))
    if found := re.fullmatch(rf"({'|'.join(NUMBERED)})_?\d+", column):
        return NUMBERED[found[1]]
    base, expansion = _split(column)
    about = _base(base)
    if expansion:
        square = expansion.endswith("power2") and about["Units"] not in ("arbitrary", "n/a")
        about["Description"] += f": {EXPANSIONS[expansion]}"
        about["Units"] += "^2" if square else ""
    return about


def _split(column: str) -> tuple[str, str]:
    """Base and expansion of a column, such as ``trans_x`` and ``derivative1_power2``."""
    for expansion in sorted(EXPANSIONS, key=len, reverse=True):
        if column.endswith(f"_{expansion}"):
            return column.removesuffix(f"_{expansion}"), expansion
    return column, ""


def _base(name: str) -> dict[str, Any]:
    if found := re.fullmatch(r"(trans|rot)_([xyz])", name):
        if found[1] == "trans":
            what = f"Translation of the brain's centre {AXES[found[2]]}"
            return {"Description": what, "Units": "mm"}
        what = f"Rotation about the axis {AXES[found[2]]} through the brain's centre"
        return {"Description": what, "Units": "rad"}
    if name in SIGNALS:
        return {"Description": SIGNALS[name], "Units": "arbitrary"}
    return {"Description": name, "Units": "n/a"}


def _component(prefix: str, number: int) -> dict[str, Any]:
    method, mask, place = COMPONENTS[prefix]
    about: dict[str, Any] = {
        "Description": f"Principal component {number + 1} of {place}, linear trend removed",
        "Units": "arbitrary",
        "Method": method,
    }
    return about | ({"Mask": mask} if mask else {}) | {"Retained": True}
