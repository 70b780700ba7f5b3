"""Which participants pre-training never sees.

Within each stratum (label x site) participants are ordered by a hash of seed, data set and id,
and the first `quota(n)` are kept for evaluation.

Guarantee: adding or removing one participant changes the side of at most one other, of the same
stratum. (The newcomer may push one over the border, or the quota may grow by one.) No rule does
better and keeps the proportion in each stratum: a rule that never changes anybody can look only
at the participant itself, like ``hash < fraction``, and then the proportion is left to chance.
The order in which participants or files are listed has no influence.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

from brainmass_core.pipeline.hashing import stable_hash

Stratum = tuple[str, ...]


def quota(n: int, fraction: float, lot: float) -> int:
    """Number of evaluation participants in a stratum of n.

    The nearest whole number. A stratum too small for one gets one with the probability that its
    share deserves, or many small sites would all be left out.

    Parameters
    ----------
    n : int
        Participants.
    fraction : float
        Share to keep, in (0, 1).
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
        Share to keep, in (0, 1).
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
