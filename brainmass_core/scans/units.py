"""Units of functional connectivity: the row of a table is a run, or joined runs of a person.

Runs are joined (`connectivity.unit`) that one person did of one task: in one session, or in all.
Which acquisition or phase-encoding direction they have makes no difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from brainmass_core.config import Config
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pipeline.stages import stages_of
from brainmass_core.scans.table import ScansError
from brainmass_core.tables import read_table

# stages in which a row is a run, whatever is joined after them
SINGLE = tuple(stage for stage in stages_of(selecting=True) if stage != "connectivity")
OF_UNIT = ["scan_id", "dataset", "participant_id", "session", "task"]


@dataclass(frozen=True)
class Units:
    """The units of one data set.

    Attributes
    ----------
    of : dict
        scan_id to the unit that the run belongs to; of every run that is listed.
    runs : dict
        Unit to its runs, in the order in which they are joined: by name.
    """

    of: dict[str, str]
    runs: dict[str, list[str]]

    def having(self, scan_ids: set[str]) -> set[str]:
        """The units of which at least one of these runs is a part."""
        return {self.of[s] for s in scan_ids if s in self.of}


def joins(config: Config) -> bool:
    """Whether runs are joined at all."""
    return config.connectivity.unit != "run"


def units_of(scans: pd.DataFrame, unit: str) -> pd.Series:
    """The unit of each run, as a name that stays the same when further runs are added.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        Columns `OF_UNIT`.
    unit : {"run", "session", "participant"}

    Returns
    -------
    Series of str
        scan_id; or data set, participant, session and task, as far as they are known.

    Raises
    ------
    ScansError
        If two units would have one name.
    """
    if unit == "run" or scans.empty:
        return scans["scan_id"].astype(object)
    keys = ["dataset", "participant_id", *(["session"] if unit == "session" else []), "task"]
    parts = scans[keys].astype(object)
    parts = parts.where(parts.notna(), None)
    who = parts["participant_id"].map(str)
    named = parts["dataset"].map(str) + "_" + who
    for key, label in (("session", "ses"), ("task", "task")):
        if key in keys:
            named += parts[key].map(lambda v, label=label: "" if v is None else f"_{label}-{v}")
    same = parts.assign(name=named).drop_duplicates()
    twice = same[same["name"].duplicated(keep=False)]
    if len(twice):
        one, other = twice[keys].head(2).to_dict("records")
        raise ScansError(
            f"connectivity.unit {unit}: {one} and {other} would both be called "
            f"{twice['name'].iloc[0]!r}; rename one of them, or set connectivity.unit to run"
        )
    return named


def read_units(config: Config, dataset: str) -> Units:
    """The units of a data set.

    Raises
    ------
    TableError
        If the scans table cannot be read.
    ScansError
        If two units would have one name.
    """
    table = read_table(Paths(config.results).scans(dataset), "scans", OF_UNIT).to_pandas()
    named = units_of(table, config.connectivity.unit)
    of = dict(zip(table["scan_id"], named, strict=True))
    runs: dict[str, list[str]] = {}
    for scan_id in sorted(of):
        runs.setdefault(of[scan_id], []).append(scan_id)
    return Units(of, runs)
