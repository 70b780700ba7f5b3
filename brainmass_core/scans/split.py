"""The split of each scan, ``pretrain``, ``train`` or ``test``: from its role, or drawn.

`split_of` assigns it. Pre-training uses the splits ``pretrain`` and ``train``
(`pipeline.eligibility`). For data sets of role ``internal`` it is drawn: within each stratum
(label x site) participants are ordered by a hash of seed, data set and id, and the first `quota(n)`
are kept for evaluation.

Guarantee: adding or removing one participant changes the side of at most one other, of the same
stratum. (The added one may move another over the limit, or the quota may grow by one.) No rule that
keeps the proportion in each stratum changes fewer: a rule that never changes anybody depends only
on the participant itself, like ``hash < fraction``, and then the proportion is random.
The order in which participants or files are listed has no influence.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Mapping

import pandas as pd

from brainmass_core.config import Dataset
from brainmass_core.pipeline.hashing import stable_hash
from brainmass_core.scans.table import PHENO

log = logging.getLogger(__name__)
Stratum = tuple[str, ...]


def split_of(scans: pd.DataFrame, dataset: Dataset, seed: int, name: str) -> list[str]:
    """``pretrain``, ``train`` or ``test`` of each scan; one participant has one.

    Scans of role ``pretrain`` are in split ``pretrain``, those of role ``external`` in ``test``. Of
    role ``internal``, the fraction ``evaluation_fraction`` of the participants is in ``test``, and
    the others are in ``train``.

    A participant whose rows differ in label or site belongs to the stratum of its first scan by
    id. Participants are those of this data set: the same id in another data set is another person.
    """
    if dataset.role != "internal":
        return ["pretrain" if dataset.role == "pretrain" else "test"] * len(scans)
    label = f"{PHENO}{dataset.stratify_by}" if dataset.stratify_by else None
    ordered = scans.sort_values("scan_id")
    labels = ordered[label] if label else pd.Series("", index=ordered.index)
    strata: dict[str, tuple[str, ...]] = {}
    for who, *what in zip(
        ordered["participant_id"], labels.fillna(""), ordered["site"].fillna(""), strict=True
    ):
        strata.setdefault(who, tuple(map(str, what)))
    kept = evaluation_participants(strata, dataset.evaluation_fraction, seed, name)
    if not kept or len(kept) == len(strata):
        log.warning("%s: all %d participants fall on one side of the split", name, len(strata))
    return ["test" if p in kept else "train" for p in scans["participant_id"]]


def quota(n: int, fraction: float, lot: float) -> int:
    """Number of evaluation participants in a stratum of n.

    The nearest integer. A stratum with less than half a participant by this fraction has one with
    the probability ``n * fraction``; otherwise no small site would be evaluated.

    Parameters
    ----------
    n : int
        Participants.
    fraction : float
        Fraction to keep, in (0, 1).
    lot : float
        In [0, 1); decides for a stratum with ``n * fraction < 0.5``.
    """
    share = n * fraction
    return math.floor(share + (lot if share < 0.5 else 0.5))


def evaluation_participants(
    strata: Mapping[str, Stratum], fraction: float, seed: int, dataset: str
) -> set[str]:
    """Participants to keep for evaluation.

    Parameters
    ----------
    strata : mapping
        Participant to its stratum, such as ``('autism', 'NYU')``.
    fraction : float
        Fraction to keep, in (0, 1).
    seed, dataset
        Another seed or another name of the data set gives another split.

    Returns
    -------
    set of str
        Within one of ``fraction * n`` in every stratum of n participants.
    """
    members: dict[Stratum, list[str]] = defaultdict(list)
    for participant, stratum in strata.items():
        members[stratum].append(participant)
    chosen: set[str] = set()
    for stratum, participants in members.items():
        ordered = sorted(
            participants, key=lambda p: (stable_hash("split", str(seed), dataset, p), p)
        )
        lot = stable_hash("lot", str(seed), dataset, *stratum) / 2**63
        chosen.update(ordered[: quota(len(ordered), fraction, lot)])
    return chosen
