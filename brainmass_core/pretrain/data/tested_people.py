"""Participants who must not be used for pre-training, because a task tests them."""

from __future__ import annotations

import pandas as pd

from brainmass_core.config import Config
from brainmass_core.pipeline.eligibility import TESTED, may_be_pretrained_on
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.data.left_out import fold_settings, scans_left_out
from brainmass_core.scans import read_scans
from brainmass_core.scans.copies import LeakError, copies, named, persons, remedy
from brainmass_core.scans.pretraining_folds import folds_of

READ = ["scan_id", "dataset", "participant_id", "split", "excluded_reason"]


def refuse_tested_people(config: Config) -> None:
    """Refuse to pre-train on a participant whom a task tests, before training starts.

    Tasks check again, and also compare files and series; here only ids are compared. For the
    encoder of a fold, those tested with it are the participants of the fold.

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
    used, kept = eligible & scans["dataset"].isin(shown), scans["dataset"].isin(tested)
    if config.pretrain.fold:
        kept &= scans["split"].isin(TESTED)
        kept &= scans["fold"] == config.pretrain.fold
        used &= ~scans["scan_id"].isin(scans_left_out(config))
    else:
        kept &= ~eligible
    found = copies(scans[kept], scans[used])
    if len(found):
        raise LeakError(
            f"{len(found)} scans that tasks test are of participants who would be pre-trained on: "
            f"{named(found)}; {remedy(found)}"
        )


def _scans(config: Config, names: list[str]) -> pd.DataFrame:
    table = read_scans(Paths(config.results), names).select(READ).to_pandas()
    if config.folds:  # people are told apart within the complete table
        table["fold"] = folds_of(table, *fold_settings(config))
    scans = table[table["excluded_reason"].isna()]
    return scans.assign(person=persons(scans, config.allow_same_ids))
