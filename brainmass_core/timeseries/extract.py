"""Parcel series of one scan, before cleaning, for each kind of data set."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
import pandas as pd

from brainmass_core.atlas import Atlas
from brainmass_core.manifest import ScanExcluded, ScanFailed
from brainmass_core.scans import SeriesError, read_series
from brainmass_core.timeseries.inputs import Item, motion_summary, read_confounds
from brainmass_core.timeseries.resample import average_parcels

UNREADABLE = (OSError, EOFError, zlib.error, ValueError, nib.filebasedimages.ImageFileError)


@dataclass(frozen=True)
class Raw:
    """Parcel series before cleaning.

    Attributes
    ----------
    series : ndarray (n_timepoints, n_rois)
        NaN where a parcel has no voxel.
    coverage : ndarray (n_rois,)
    confounds : DataFrame (n_timepoints rows) or None
    t_r : float
        In s.
    mean_fd : float or None
        In mm.
    n_censored : int or None
    """

    series: np.ndarray
    coverage: np.ndarray
    confounds: pd.DataFrame | None
    t_r: float
    mean_fd: float | None
    n_censored: int | None


def from_ready_series(item: Item) -> Raw:
    """Read a ready series and check it against the atlas.

    Raises
    ------
    ScanFailed
        If the file cannot be read, has another number of columns than the atlas has parcels, or
        holds values that are not finite at some timepoints only.
    """
    scan = item.scan
    path, n_rois = Path(scan["bold_path"]), item.atlas.n_rois
    try:
        series = read_series(path, scan["bold_key"], cast(Any, item.orientation))
    except SeriesError as error:
        raise ScanFailed(str(error), "read") from None
    if series.shape[1] != n_rois:
        turned = " (its rows would fit: check `orientation`)" if series.shape[0] == n_rois else ""
        raise ScanFailed(
            f"{path}: found {series.shape[1]} columns, but the atlas {item.atlas.name} has {n_rois}"
            f" parcels{turned}",
            "read",
            "use series of this atlas, or set `atlas` to the one they were made with",
        )
    finite = np.isfinite(series)
    partly = np.flatnonzero(finite.any(axis=0) & ~finite.all(axis=0))
    if partly.size:
        raise ScanFailed(
            f"{path}: values of {parcel_names(item.atlas, partly)} are missing or infinite at "
            f"{int((~finite[:, partly]).any(axis=1).sum())} timepoints",
            "read",
            "mend the file or remove it",
        )
    share = finite.all(axis=0).astype(float)
    return Raw(series, share, None, scan["t_r"], scan["mean_fd"], None)


def from_derivatives(item: Item) -> Raw:
    """Average preprocessed BOLD in template space over the atlas's parcels.

    Raises
    ------
    ScanFailed
        If image, mask or confounds cannot be read or do not belong together.
    ScanExcluded
        If the mean framewise displacement is above `max_mean_fd`.
    """
    scan = item.scan
    path, mask_path = Path(scan["bold_path"]), Path(scan["mask_path"])
    try:
        image = cast(nib.Nifti1Image, nib.load(path))
        # one read: volume by volume a compressed file would be unpacked again and again
        bold = nib.Nifti1Image(image.get_fdata(dtype=np.float32), image.affine)
        mask_image = cast(nib.Nifti1Image, nib.load(mask_path))
        mask = np.asarray(mask_image.dataobj) > 0
    except UNREADABLE as error:
        raise ScanFailed(
            f"{path} or {mask_path}: unreadable image ({error})", "read", "copy it again"
        ) from None
    same = mask.shape == bold.shape[:3] and np.allclose(mask_image.affine, bold.affine, atol=1e-3)
    if not same:
        raise ScanFailed(
            f"{mask_path}: found a grid of {mask.shape}, expected that of {path}, {bold.shape[:3]}",
            "read",
            "use the mask of the same space and resolution",
        )
    confounds = read_confounds(Path(scan["confounds_path"]), bold.shape[3])
    mean_fd, n_censored = motion_summary(confounds, item.fd_threshold)
    refuse_motion(mean_fd, item.max_mean_fd)
    series, share = average_parcels(bold, mask, item.atlas)
    return Raw(series, share, confounds, scan["t_r"], mean_fd, n_censored)


def refuse_motion(mean_fd: float | None, limit: float | None) -> None:
    """Exclude a run whose mean framewise displacement (mm) is above the limit."""
    if mean_fd is not None and limit is not None and mean_fd > limit:
        raise ScanExcluded(
            f"mean framewise displacement {mean_fd:.2f} mm, above preprocess.max_mean_fd {limit:g}",
            "motion",
        )


def parcel_names(atlas: Atlas, rows: np.ndarray) -> str:
    """Names of parcels for a message, at most ten."""
    names = atlas.labels["name"].iloc[rows].tolist()
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
