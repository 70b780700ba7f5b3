"""Parcel series of one scan, before cleaning, for each kind of data set."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from brainmass_core.atlas import Atlas
from brainmass_core.checksums import ChecksumError, check_file
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.functional.bold import load_bold
from brainmass_core.preprocess.functional.orientation import (
    affine_in_ras,
    in_ras,
    orientation_of,
    scan_in_ras,
)
from brainmass_core.preprocess.functional.temporal import temporal
from brainmass_core.preprocess.transform_files import load_transforms
from brainmass_core.readers.files import FileError
from brainmass_core.readers.image import read_image
from brainmass_core.readers.series import SeriesError, read_named_series
from brainmass_core.readers.series_names import NamesError, order_of
from brainmass_core.scans.cpac import strategy_of
from brainmass_core.spaces import SpaceError
from brainmass_core.timeseries.inputs import TimeSeriesInput, read_confounds
from brainmass_core.timeseries.motion_limits import refuse_moving, steady
from brainmass_core.timeseries.resample import atlas_targets, average_parcels, sample_parcels

log = logging.getLogger(__name__)
# outputs of `preprocess` that this module reads
READ = {"normalisation", "coregistration", "motion", "distortion", "confounds", "bold_mask"}


@dataclass(frozen=True)
class Raw:
    """Parcel series before cleaning.

    Attributes
    ----------
    series : ndarray (n_timepoints, n_rois)
        NaN if a parcel has no voxel.
    coverage : ndarray (n_rois,)
    confounds : DataFrame (n_timepoints rows) or None
    t_r : float
        In s.
    mean_fd : float or None
        In mm.
    fd_kind : {"power", "jenkinson"} or None
        Definition of `mean_fd`; None if unknown.
    cleaned_by : str
        Earlier nuisance regression by another pipeline; empty without one.
    """

    series: np.ndarray
    coverage: np.ndarray
    confounds: pd.DataFrame | None
    t_r: float
    mean_fd: float | None
    fd_kind: str | None = None
    cleaned_by: str = ""


def from_ready_series(item: TimeSeriesInput) -> Raw:
    """Read a ready series and check it against the atlas.

    Raises
    ------
    ScanFailed
        If the file cannot be read, its number of columns is not that of the atlas's parcels, or
        it has non-finite values at some timepoints only.
    """
    scan = item.scan
    path, n_rois = Path(scan["bold_path"]), item.atlas.n_rois
    try:
        read = read_named_series(
            path, scan["bold_key"], cast(Any, item.orientation), header=item.header
        )
    except SeriesError as error:
        raise ScanFailed(str(error), "read") from None
    series = read.values
    if series.shape[1] != n_rois:
        turned = " (its rows would fit: check `orientation`)" if series.shape[0] == n_rois else ""
        raise ScanFailed(
            f"{path}: found {series.shape[1]} columns, but the atlas {item.atlas.name} has {n_rois}"
            f" parcels{turned}",
            "read",
            "use series of this atlas, or set `atlas` to the one they were made with",
        )
    series = _in_order(item, path, series, read.names)
    finite = np.isfinite(series)
    partly = np.flatnonzero(finite.any(axis=0) & ~finite.all(axis=0))
    if partly.size:
        raise ScanFailed(
            f"{path}: values of {parcel_names(item.atlas, partly)} are missing or infinite at "
            f"{int((~finite[:, partly]).any(axis=1).sum())} timepoints",
            "read",
            "repair the file or remove it",
        )
    share = finite.all(axis=0).astype(float)
    return Raw(series, share, None, scan["t_r"], scan["mean_fd"])


def _in_order(
    item: TimeSeriesInput, path: Path, series: np.ndarray, names: list[str] | None
) -> np.ndarray:
    """Sort columns into the order of the atlas, by the names in the file."""
    labels = item.atlas.labels
    if names is None:
        if item.orientation is None and len(series) == item.atlas.n_rois:
            raise ScanFailed(
                f"{path}: found {len(series)} rows and columns, as many as the atlas has parcels, "
                "so "
                "that it cannot be told which are timepoints",
                "read",
                f"set datasets.{item.scan['dataset']}.orientation to time_by_roi or roi_by_time",
            )
        return series
    try:
        order = order_of(names, labels["name"].tolist(), labels["index"].tolist(), _named(labels))
    except NamesError as error:
        raise ScanFailed(
            f"{path}: {error}",
            "read",
            f"use series of the atlas {item.atlas.name}, or set `atlas` to the one they were "
            "made with",
        ) from None
    if order is None:
        return series
    log.info("%s: columns are not in the order of the atlas and were sorted by name", path)
    return np.ascontiguousarray(series[:, order])


def _named(labels: pd.DataFrame) -> bool:
    """Whether an atlas has parcel names from a look-up table, not only numbers."""
    return bool((labels["name"] != [f"roi-{i}" for i in labels["index"]]).any())


def from_bids(item: TimeSeriesInput) -> Raw:
    """Interpolate raw BOLD once, at the atlas's points, through the transforms of `preprocess`.

    Raises
    ------
    ScanFailed
        If image, transforms, mask or confounds cannot be read or do not belong together.
    """
    scan, found = item.scan, item.preprocessed
    outputs = found["outputs"]
    _check_outputs(item.root, outputs, found["sha256"])
    raw = load_bold(scan["bold_path"], found["n_dummy_volumes"] or 0)
    turned = scan_in_ras(scan, raw.orientation)
    bold = temporal(
        *(raw, scan["bold_path"], item.preprocess, scan["t_r"]),
        *(turned["slice_timing"], turned["slice_axis"]),
    ).bold
    n_volumes = bold.data.shape[3]
    transforms = load_transforms(item.root, outputs)
    if transforms.n_volumes != n_volumes:
        raise ScanFailed(
            f"{scan['bold_path']}: found {n_volumes} volumes, but preprocess saw "
            f"{transforms.n_volumes}",
            "read",
            "the image has changed: run preprocess again",
        )
    confounds = read_confounds(item.root / outputs["confounds"], n_volumes)
    mask = read_mask(item.root / outputs["bold_mask"], bold.data.shape[:3], bold.affine)
    with _crossing("run preprocess again for this data set"):
        targets = atlas_targets(item.atlas, item.settings.resolution, found["space"] or "")
    series, share = sample_parcels(
        bold.data,
        bold.affine,
        mask,
        targets,
        transforms.template_to_boldref(targets.points),
        transforms.motion,
        item.settings.smoothing_fwhm,
    )
    return Raw(series, share, confounds, scan["t_r"], found["mean_fd"], "power")


def _check_outputs(root: Path, outputs: dict[str, str], sums: Mapping[str, str]) -> None:
    """Verify the outputs of `preprocess` with the checksums in its table."""
    try:
        for name in READ & set(outputs):
            check_file(root / outputs[name], sums.get(name))
    except ChecksumError as error:
        raise ScanFailed(str(error), "read", "run preprocess again for this data set") from None


def from_derivatives(item: TimeSeriesInput) -> Raw:
    """Average preprocessed BOLD in template space over the atlas's parcels.

    Volumes that fMRIPrep marked as before the steady state are dropped.

    Raises
    ------
    ScanFailed
        If image, mask or confounds cannot be read or do not belong together.
    ScanExcluded
        If there is too much motion, or limits on motion cannot be applied, see `refuse_moving`.
    """
    scan = item.scan
    masks: list[np.ndarray] = []

    def brain(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
        masks.append(read_mask(Path(scan["mask_path"]), shape, affine))
        return masks[0]

    bold = load_bold(scan["bold_path"], brain=brain)
    confounds = read_confounds(Path(scan["confounds_path"]), bold.data.shape[3])
    first, confounds = steady(confounds)
    fd = refuse_moving(confounds, item.preprocess, scan["confounds_path"])
    with _crossing("list the scans again, or choose another space or atlas"):
        series, share = average_parcels(
            *(bold.data[..., first:], bold.affine, masks[0], item.atlas),
            *(item.settings.smoothing_fwhm, scan["space"] or ""),
        )
    strategy = strategy_of(Path(scan["bold_path"]))
    cleaned_by = f"C-PAC {strategy}" if strategy else ""
    mean, kind = (None, None) if fd is None else (fd.mean, fd.kind)
    return Raw(series, share, confounds, scan["t_r"], mean, kind, cleaned_by)


@contextmanager
def _crossing(remedy: str) -> Iterator[None]:
    """Turn an unknown space or a missing bridge into a failed scan."""
    try:
        yield
    except SpaceError as error:
        raise ScanFailed(str(error), "space", remedy) from None


def read_mask(path: Path, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Read a brain mask on the grid of a run.

    Parameters
    ----------
    path : Path
    shape : tuple of int
        Shape (x, y, z) of the run in RAS order.
    affine : ndarray (4, 4)
        Voxel to mm of the run in RAS order; entries may differ by 1e-3.

    Returns
    -------
    ndarray (x, y, z) of bool
        In RAS order; True where the stored value is larger than 0.

    Raises
    ------
    ScanFailed
        If it cannot be read or has another grid.
    """
    try:
        stored, there = read_image(path)
    except FileError as error:
        raise ScanFailed(f"mask {error}", "mask", "copy it again") from None
    mask = in_ras(stored > 0, orientation_of(there))
    there = affine_in_ras(there, stored.shape)
    if mask.shape != shape or not np.allclose(there, affine, atol=1e-3):
        raise ScanFailed(
            f"{path}: found a grid of {mask.shape} voxels, expected that of the run, {shape}, at "
            "the same place",
            "mask",
            "use the mask of the same space and resolution",
        )
    return mask


def parcel_names(atlas: Atlas, rows: np.ndarray) -> str:
    """Names of parcels for a message.

    Parameters
    ----------
    atlas : Atlas
    rows : ndarray (n,) of int
        Rows of the atlas's table of labels, from 0.

    Returns
    -------
    str
        The first ten names, and the number of the others.
    """
    names = atlas.labels["name"].iloc[rows].tolist()
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
