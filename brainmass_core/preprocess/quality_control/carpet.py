"""A sample of voxels for the carpet plot on the quality pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainmass_core.preprocess.anatomical.segmentation import FLUID, GREY, WHITE
from brainmass_core.tables import atomic_path

TISSUES = (GREY, WHITE, FLUID)
N_SHOWN = 900
LEAST_SHARE = 9  # each tissue gets at least a ninth of the rows, otherwise CSF would be invisible
LIMIT = 1000.0  # percent; the limit of float16 is 65504


def sample_carpet(
    series: np.ndarray, labels: np.ndarray, n: int = N_SHOWN
) -> dict[str, np.ndarray]:
    """Sample voxels of each tissue, as percent change from their mean.

    The voxels are evenly spaced within each tissue in the given order, so the result is
    deterministic. Voxels without a tissue, or with a mean that is not positive, are ignored.

    Parameters
    ----------
    series : ndarray (n_volumes, n_voxels)
        Realigned, not denoised.
    labels : ndarray (n_voxels,) of int
        1 grey matter, 2 white matter, 3 CSF, 0 none.
    n : int
        Maximum number of voxels.

    Returns
    -------
    dict
        ``series`` (n_volumes, n_kept) float16, percent; ``tissue`` (n_kept,) uint8, ascending.
    """
    mean = np.asarray(series, dtype=np.float64).mean(axis=0)
    sound = np.isfinite(mean) & (mean > 0)
    members = {t: np.flatnonzero(sound & (np.asarray(labels) == t)) for t in TISSUES}
    shares = _shares({t: len(m) for t, m in members.items()}, n)
    chosen = np.concatenate([_evenly(members[t], shares[t]) for t in TISSUES]).astype(int)
    change = 100 * (np.asarray(series[:, chosen], dtype=np.float64) / mean[chosen] - 1)
    return {
        "series": np.clip(change, -LIMIT, LIMIT).astype(np.float16),
        "tissue": np.asarray(labels)[chosen].astype(np.uint8),
    }


def _shares(counts: dict[int, int], n: int) -> dict[int, int]:
    """Number of rows of each tissue: proportional to its voxels, with a minimum; at most `n` in
    total."""
    total = sum(counts.values())
    if total <= n:
        return counts
    floor = {t: min(c, n // LEAST_SHARE) for t, c in counts.items()}
    left = n - sum(floor.values())
    spare = {t: counts[t] - floor[t] for t in counts}
    return {t: floor[t] + left * spare[t] // max(1, sum(spare.values())) for t in counts}


def _evenly(members: np.ndarray, n: int) -> np.ndarray:
    if n == 0:
        return members[:0]
    return members[np.arange(n) * len(members) // n]


def save_carpet(path: Path, carpet: dict[str, np.ndarray]) -> None:
    """Write the result of `sample_carpet` (.npz).

    Parameters
    ----------
    carpet : dict
        ``series`` and ``tissue``, see `sample_carpet`.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, series=carpet["series"], tissue=carpet["tissue"])


def load_carpet(path: Path) -> dict[str, np.ndarray]:
    """Read a file written by `save_carpet`.

    Returns
    -------
    dict
        ``series`` and ``tissue``, see `sample_carpet`.
    """
    with np.load(path, allow_pickle=False) as file:
        return {"series": file["series"], "tissue": file["tissue"]}
