"""Test folds of a study with several encoders (``pretrain.folds``).

Every tested participant is scored with the encoder that was trained without them, and no classifier
is given embeddings of two encoders. So the participants of a test fold belong to one fold of the
pre-training, and its training scans are embedded by the same encoder. That encoder may have seen
the training participants: no label is used in pre-training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from brainmass_core.config import Config
from brainmass_core.finetune.cohort.labels import TaskError
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.data.left_out import fold_settings
from brainmass_core.scans import read_scans
from brainmass_core.scans.copies import persons
from brainmass_core.scans.pretraining_folds import folds_of

if TYPE_CHECKING:
    from brainmass_core.finetune.folds.participants import Fold

ENCODER = "encoder"  # column of `TaskData.scans`: the encoder that has not seen the participant


def with_encoders(config: Config, scans: pd.DataFrame) -> pd.DataFrame:
    """Add the number of the encoder with which each scan may be tested.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        dataset and participant_id.

    Returns
    -------
    DataFrame (n_scans rows)
        `scans` with encoder and person, both told apart within the complete scans tables, as in
        pre-training; unchanged in a study with one encoder.
    """
    if not config.folds:
        return scans
    names = list(dict.fromkeys(scans["dataset"]))
    people = read_scans(Paths(config.results), names).select(["dataset", "participant_id"])
    people = people.to_pandas().drop_duplicates()
    people[ENCODER] = folds_of(people, *fold_settings(config))
    people["person"] = persons(people, config.allow_same_ids)
    keys = ["dataset", "participant_id"]
    kept = scans.drop(columns=[c for c in ("person", ENCODER) if c in scans])
    return kept.merge(people, on=keys, how="left", validate="many_to_one")


def parts_of(people: pd.DataFrame, n_splits: int, name: str) -> Iterator[tuple[int, pd.Index, int]]:
    """How a number of test folds is distributed over the encoders.

    Each gets the same number, and those with the most participants one more if it is not a
    multiple.

    Parameters
    ----------
    people : DataFrame (n_participants rows)
        encoder of each tested participant.
    n_splits : int
        Test folds, at least as many as encoders.

    Yields
    ------
    encoder : int
    rows : Index
        Of its participants.
    n : int
        Number of its test folds.

    Raises
    ------
    TaskError
        If there are fewer test folds than encoders.
    """
    sizes = people[ENCODER].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    if n_splits < len(sizes):
        raise TaskError(
            f"task {name}: found protocol.n_splits {n_splits}, expected at least {len(sizes)}, one "
            "test fold for each fold of the pre-training"
        )
    each, more = divmod(n_splits, len(sizes))
    n_of = {encoder: each + (place < more) for place, encoder in enumerate(sizes.index)}
    for encoder in sorted(n_of):
        yield int(encoder), people.index[people[ENCODER] == encoder], n_of[encoder]


def split_by_encoder(folds: list[Fold], scans: pd.DataFrame) -> list[Fold]:
    """Divide the test scans of each fold by their encoder; the training scans stay the same.

    Parameters
    ----------
    folds : list of Fold
    scans : DataFrame (n_scans rows)
        `TaskData.scans`; without the column encoder the folds are returned.

    Returns
    -------
    list of Fold
        Numbered within each repeat.
    """
    if ENCODER not in scans:
        return folds
    of, found, numbers = scans[ENCODER].to_numpy(), [], dict.fromkeys((f.repeat for f in folds), 0)
    for f in folds:
        for encoder in np.unique(of[f.test]):
            test = f.test[of[f.test] == encoder]
            number, numbers[f.repeat] = numbers[f.repeat], numbers[f.repeat] + 1
            found.append(replace(f, fold=number, test=test, encoder=int(encoder)))
    return found
