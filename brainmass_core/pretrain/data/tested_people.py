"""Participants who must not be used for pre-training, because a task tests them."""

from __future__ import annotations

import pandas as pd

from brainmass_core.config import Config
from brainmass_core.pipeline.eligibility import may_be_pretrained_on
from brainmass_core.pipeline.paths import Paths
from brainmass_core.scans import read_scans
from brainmass_core.scans.copies import LeakError, copies, named, persons, remedy

READ = ["scan_id", "dataset", "participant_id", "split", "excluded_reason"]


def refuse_tested_people(config: Config) -> None:
    """Refuse to pre-train on a participant whom a task tests, before training starts.

    Tasks check again, and also compare files and series; here only ids are compared.

    Raises
    ------
    LeakError
        Naming the scans.
    TableError
        If a scans table cannot be read.
    """
    shown = config.pretrain_datasets()
    tested = config.tested_datasets()
    scans = _scans(config, list(dict.fromkeys([*shown, *tested])))
    eligible = scans["split"].map(may_be_pretrained_on).astype(bool)
    found = copies(
        scans[~eligible & scans["dataset"].isin(tested)],
        scans[eligible & scans["dataset"].isin(shown)],
    )
    if len(found):
        raise LeakError(
            f"{len(found)} scans that tasks test are of participants who would be pre-trained on: "
            f"{named(found)}; {remedy(found)}"
        )


def _scans(config: Config, names: list[str]) -> pd.DataFrame:
    table = read_scans(Paths(config.results), names).select(READ).to_pandas()
    scans = table[table["excluded_reason"].isna()]
    return scans.assign(person=persons(scans, config.allow_same_ids))
