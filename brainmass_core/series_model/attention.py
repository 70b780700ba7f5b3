"""Attention of the CLS token to parcels, and its difference between groups."""

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
MAX_VALUES = 2**24  # limit for shuffled attention in memory, 128 MB


@dataclass(frozen=True)
class Contrast:
    """Difference of attention between two groups.

    Attributes
    ----------
    groups : (str, str)
        Sorted.
    difference : ndarray (n_rois,)
        Mean of the second group minus that of the first.
    t : ndarray (n_rois,)
        Welch's.
    p : ndarray (n_rois,)
        Two-sided, of \\|t\\| over shuffles of the groups, separately for each parcel.
    p_family : ndarray (n_rois,)
        The same with the largest \\|t\\| over all parcels, which controls the family-wise error
        rate (Westfall and Young 1993).
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
        Scaled so that uniform attention over all tokens of parcels, without the CLS token itself,
        is 1.

    Raises
    ------
    ValueError
        If tokens of the model mix parcels, or `who` has another length.
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
    # the sum over patches times the number of parcels is the mean over patches times tokens
    rows = np.concatenate(parts) * windows.shape[1]
    return np.unique(who), mean_by_participant(rows, who)


def contrast(attention: np.ndarray, group: np.ndarray, n_permutations: int, seed: int) -> Contrast:
    """Compare two groups for each parcel.

    Parameters
    ----------
    attention : ndarray (n_participants, n_rois)
        One row per participant.
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
    # if all shuffles are enumerated, they include the original groups
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
