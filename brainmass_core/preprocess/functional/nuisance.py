"""Confounds, brain mask and quality measures of the corrected run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from brainmass_core.preprocess.anatomical.segmentation import FLUID, GREY, WHITE
from brainmass_core.preprocess.anatomical.t1w import Anatomy
from brainmass_core.preprocess.functional.bold import Bold
from brainmass_core.preprocess.functional.confounds import (
    compcor,
    confounds_table,
    detrended,
    dvars,
)
from brainmass_core.preprocess.functional.head import Moved
from brainmass_core.preprocess.functional.motion import realigned_series
from brainmass_core.preprocess.functional.placement import Placement
from brainmass_core.preprocess.functional.tissues import bold_brain, noise_regions, share_in_bold
from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.quality_control.carpet import sample_carpet

BLOCK = 20_000  # voxels per block


@dataclass(frozen=True)
class Nuisance:
    """Measures inside the brain of one run.

    Attributes
    ----------
    confounds : DataFrame (n_volumes rows)
    mask : ndarray (x, y, z) of bool
        Brain of the run, on the grid of its reference volume.
    tsnr : ndarray (x, y, z) of float32
        Temporal signal-to-noise ratio after linear detrending; 0 outside the mask.
    carpet : dict
        A sample of voxels, see `carpet.sample_carpet`.
    quality : dict
        ``std_dvars`` (mean), ``tsnr`` (median over the brain), ``global_correlation``.
    """

    confounds: pd.DataFrame
    mask: np.ndarray
    tsnr: np.ndarray
    carpet: dict[str, np.ndarray]
    quality: dict[str, float]


def nuisance(
    bold: Bold,
    moved: Moved,
    anatomy: Anatomy,
    placed: Placement,
    scan: dict[str, Any],
    fd_threshold: float,
) -> Nuisance:
    """Measure confounds and quality inside the brain.

    Raises
    ------
    ScanFailed
        If the BOLD contains hardly any white matter or CSF.
    """
    there = (moved.boldref, placed.found.t1w_to_boldref)
    place = (anatomy.t1w, anatomy.tissue.data, *there)
    mask = bold_brain(moved.epi_mask, *place, placed.distortion)
    regions = noise_regions(*place, mask, scan["bold_path"], placed.distortion)
    series = realigned_series(bold.data, bold.affine, moved.motion, mask)
    inside = {name: region[mask] for name, region in regions.items()}
    signals = {name: series[:, chosen].mean(axis=1) for name, chosen in inside.items()}
    signals["global_signal"] = series.mean(axis=1)
    change = dvars(series)
    components = compcor(series[:, inside["csf"] | inside["white_matter"]])
    confounds = confounds_table(
        *(moved.parameters, moved.displacement, change, signals, components),
        scan["t_r"],
        fd_threshold,
    )
    ratio, together = temporal_snr(series)
    quality = {
        "std_dvars": float(np.nanmean(change[1])),
        "tsnr": float(np.median(ratio[ratio > 0])) if (ratio > 0).any() else 0.0,
        "global_correlation": together,
    }
    tsnr = np.zeros(mask.shape, dtype=np.float32)
    tsnr[mask] = ratio
    carpet = sample_carpet(series, _tissue_in_bold(anatomy, there, placed)[mask])
    return Nuisance(confounds, mask, tsnr, carpet, quality)


def _tissue_in_bold(
    anatomy: Anatomy, there: tuple[Volume, np.ndarray], placed: Placement
) -> np.ndarray:
    """The predominant tissue (x, y, z) of each BOLD voxel."""
    labels = np.array([GREY, WHITE, FLUID])
    shares = [
        share_in_bold(anatomy.t1w, anatomy.tissue.data == label, *there, placed.distortion)
        for label in labels
    ]
    return labels[np.argmax(shares, axis=0)]


def temporal_snr(series: np.ndarray) -> tuple[np.ndarray, float]:
    """Temporal SNR of each voxel and the mean correlation between all of them.

    Parameters
    ----------
    series : ndarray (n_volumes, n_voxels)

    Returns
    -------
    tsnr : ndarray (n_voxels,)
        Mean over standard deviation after removing a linear trend; 0 for constant voxels.
    global_correlation : float
        Mean of all correlations between voxels (Saad 2013, doi:10.1089/brain.2013.0156): the
        squared length of the mean of the unit-length series.
    """
    tsnr = np.zeros(series.shape[1])
    total = np.zeros(len(series))
    n_varying = 0
    for start in range(0, series.shape[1], BLOCK):
        block = np.asarray(series[:, start : start + BLOCK], dtype=np.float64)
        rest = detrended(block)
        spread = rest.std(axis=0)
        varies = spread > 1e-9 * np.abs(block).max(initial=1e-12)
        at = np.flatnonzero(varies)
        tsnr[start + at] = block[:, at].mean(axis=0) / spread[at]
        total += (rest[:, at] / (spread[at] * np.sqrt(len(series)))).sum(axis=1)
        n_varying += len(at)
    return tsnr, float(total @ total / max(n_varying, 1) ** 2)
