"""Which parcels the CLS token looks at, and where groups of participants differ in it."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from scipy.stats import permutation_test, ttest_ind
from torch import Tensor

from brainmass_core.models.series import SeriesModel
from brainmass_core.series_model.profiles import parcel_tokens
from brainmass_core.series_model.windows import BATCH, batches, evaluating, mean_by_participant

ROUNDING = 1e-9
MAX_VALUES = 2**24  # shuffled attention in memory at once, 128 MB


@dataclass(frozen=True)
class Contrast:
    """Where the second group's attention differs from the first's.

    Attributes
    ----------
    groups : (str, str)
        Sorted.
    difference : ndarray (n_rois,)
        Mean of the second group minus that of the first.
    t : ndarray (n_rois,)
        Welch's.
    p : ndarray (n_rois,)
        Two-sided, of \\|t\\| over shuffles of the groups; for each parcel by itself.
    p_family : ndarray (n_rois,)
        The same of the largest \\|t\\| of all parcels, so that the chance of any false finding is
        held (Westfall and Young 1993).
    n : (int, int)
        Participants.
    """

    groups: tuple[str, str]
    difference: np.ndarray
    t: np.ndarray
    p: np.ndarray
    p_family: np.ndarray
    n: tuple[int, int]


def attention_by_participant(
    model: SeriesModel,
    windows: Tensor,
    coordinates: Tensor,
    who: np.ndarray,
    batch: int = BATCH,
) -> tuple[np.ndarray, np.ndarray]:
    """Last-layer attention of the CLS token to each parcel, mean over heads, patches and windows.

    Parameters
    ----------
    windows : Tensor (n_windows, n_rois, n_timepoints)
    coordinates : Tensor (n_rois, 3)
        MNI, in mm.
    who : ndarray (n_windows,)
        Participant of each window.

    Returns
    -------
    participants : ndarray (n_participants,)
        Sorted.
    attention : ndarray (n_participants, n_rois)
        1 where a token has the share of attention that all tokens of parcels would have if the
        CLS token looked at them alike, and not at itself.

    Raises
    ------
    ValueError
        If a token of the model mixes parcels, or `who` is of another length.
    """
    model = parcel_tokens(model)
    if len(who) != len(windows):
        raise ValueError(f"found {len(who)} participants for {len(windows)} windows")
    with evaluating(model) as device:
        xyz = coordinates.to(device)
        parts = [
            model.cls_attention(windows[part].to(device), xyz).cpu().double().numpy()
            for part in batches(len(windows), batch)
        ]
    # summed over patches and times parcels: the mean over patches, times tokens
    rows = np.concatenate(parts) * windows.shape[1]
    return np.unique(who), mean_by_participant(rows, who)


def contrast(attention: np.ndarray, group: np.ndarray, n_permutations: int, seed: int) -> Contrast:
    """Compare two groups parcel by parcel.

    Parameters
    ----------
    attention : ndarray (n_participants, n_rois)
        Participants are the units: one row each.
    group : ndarray (n_participants,)
        Names of two groups.

    Raises
    ------
    ValueError
        If there are not two groups of two or more participants each.
    """
    names, sizes = np.unique(group, return_counts=True)
    if len(names) != 2 or sizes.min() < 2:
        found = ", ".join(f"{n} of {name}" for name, n in zip(names, sizes, strict=True))
        raise ValueError(
            f"found {found or 'no participants'}, expected two groups of two or more participants"
        )
    first, second = (attention[group == name] for name in names)

    def statistic(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return np.abs(_welch(a, b, axis))

    test = permutation_test(
        (first, second),
        statistic,
        n_resamples=n_permutations,
        vectorized=True,
        alternative="greater",
        axis=0,
        batch=max(1, MAX_VALUES // attention.size),
        rng=np.random.default_rng(seed),
    )
    largest = test.null_distribution.max(-1)
    observed = np.abs(_welch(first, second, 0))
    beaten = (largest[:, None] >= observed - ROUNDING).sum(0)
    # all shuffles, where they are few, hold the groups as they are
    missing = int(comb(len(group), int(sizes[0])) > n_permutations)
    return Contrast(
        (str(names[0]), str(names[1])),
        second.mean(0) - first.mean(0),
        -_welch(first, second, 0),
        np.asarray(test.pvalue),
        (missing + beaten) / (missing + len(largest)),
        (int(sizes[0]), int(sizes[1])),
    )


def _welch(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    return np.nan_to_num(ttest_ind(a, b, axis=axis, equal_var=False).statistic)
