"""Names that C-PAC gives: nuisance strategies of BOLD, and the `.1D` files of a run."""

from __future__ import annotations

import re
from pathlib import Path

# what a pipeline adds to the entities of the raw run; the others say which run it is
ADDED = ("space", "cohort", "res", "den", "desc", "label", "reg", "filt")
# C-PAC's, by what counts first for confounds; older versions write words in place of a suffix
CPAC = (
    *("*_desc-confounds_timeseries.1D", "*_regressors.1D"),
    *("*_desc-movementParameters_motion.1D", "*_movement-parameters.1D"),
    *("*_desc-FDJenkinson_motion.1D", "*_framewise*isplacement*enkinson.1D"),
    *("*_desc-FDPower_motion.1D", "*_framewise*isplacement*ower.1D"),
)


def strategy_of(path: Path) -> str | None:
    """C-PAC's nuisance strategy that a BOLD image has been through, by its name; None for none."""
    named = re.search(r"_reg-([A-Za-z0-9]+)_", path.name)
    if named:
        return None if named[1] == "Off" else named[1]
    numbered = re.search(r"_desc-preproc-?(\d+)_bold", path.name)
    return numbered[1] if numbered else None


def cpac_files(path: Path) -> list[Path]:
    """C-PAC's `.1D` files of regressors and motion of the run that a file belongs to.

    Ordered by what counts first: regressors of the same strategy, of others, motion.
    """
    stem = stem_of(path)
    found = [sorted(f for f in path.parent.glob(pattern) if stem_of(f) == stem) for pattern in CPAC]
    regressors = [f for part in found[:2] for f in part]
    own = _strategy_of_regressors(path)
    same = [f for f in regressors if own is not None and _strategy_of_regressors(f) == own]
    ordered = [*same, *regressors, *(f for part in found[2:] for f in part)]
    return list(dict.fromkeys(ordered))


def _strategy_of_regressors(path: Path) -> str | None:
    numbered = re.search(r"_desc-(\d+)_regressors", path.name)
    return numbered[1] if numbered else strategy_of(path)


def stem_of(path: Path) -> str:
    """The name of the raw run that a derivative was made from, as its file's name has it."""
    parts = path.name.split("_")[:-1]
    return "_".join(p for p in parts if p.split("-")[0] not in ADDED)
