"""From raw BOLD to parcels with a single interpolation, at the labelled points of the atlas
only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from scipy.ndimage import gaussian_filter, map_coordinates, spline_filter

from brainmass_core.atlas import Atlas
from brainmass_core.preprocess.grids import FWHM
from brainmass_core.spaces.bridges import bridge
from brainmass_core.timeseries.parcellate import coverage, parcel_means, parcel_rows


@dataclass(frozen=True)
class Targets:
    """Points at which an atlas is sampled.

    Attributes
    ----------
    points : ndarray (n_points, 3)
        mm, RAS, in the requested space.
    parcels : ndarray (n_points,) of int
        Row of the atlas's table, from 0.
    n_rois : int
    """

    points: np.ndarray
    parcels: np.ndarray
    n_rois: int


_CACHE: dict[tuple[str, float, str | None, str], Targets] = {}


def atlas_targets(atlas: Atlas, resolution: float, space: str | None = None) -> Targets:
    """Labelled points of a regular grid over the atlas.

    The grid's points are multiples of `resolution`, so that they do not depend on the atlas's own
    grid; each takes the label of the voxel it lies in.

    Parameters
    ----------
    resolution : float
        Distance of the points in mm, in the atlas's space.
    space : str, optional
        Space to which a bridge transforms the points. Default: the atlas's own.

    Raises
    ------
    SpaceError
        If there is no bridge.
    """
    key = (atlas.sha256, resolution, atlas.space, space or "")
    if key not in _CACHE:
        _CACHE.clear()  # a study has only one atlas
        targets = _sample_labels(atlas, resolution)
        if space is not None:
            points = bridge(str(atlas.space), space)(targets.points)
            targets = Targets(points, targets.parcels, targets.n_rois)
        _CACHE[key] = targets
    return _CACHE[key]


def _sample_labels(atlas: Atlas, resolution: float) -> Targets:
    image = atlas.load()
    labels = np.asarray(image.dataobj)
    occupied = apply_affine(image.affine, np.argwhere(labels > 0))
    margin = resolution + np.abs(image.affine[:3, :3]).max()
    axes = [
        np.arange(np.floor((low - margin) / resolution), np.ceil((high + margin) / resolution) + 1)
        for low, high in zip(occupied.min(axis=0), occupied.max(axis=0), strict=True)
    ]
    grid = resolution * np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    found = nearest_values(labels, image.affine, grid)
    rows = parcel_rows(found, atlas.labels["index"].to_numpy())
    return Targets(grid[rows >= 0], rows[rows >= 0], atlas.n_rois)


def nearest_values(data: np.ndarray, affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values of the voxels that contain points.

    Parameters
    ----------
    data : ndarray (x, y, z)
    affine : ndarray (4, 4)
        Voxel to mm of `data`.
    points : ndarray (n, 3)
        In mm.

    Returns
    -------
    ndarray (n,)
        With the dtype of `data`; 0 outside the image.
    """
    voxels = np.floor(apply_affine(np.linalg.inv(affine), points) + 0.5).astype(int)
    inside = ((voxels >= 0) & (voxels < data.shape[:3])).all(axis=1)
    values = np.zeros(len(points), dtype=data.dtype)
    values[inside] = data[tuple(voxels[inside].T)]
    return values


def sample_parcels(
    bold: np.ndarray,
    affine: np.ndarray,
    mask: np.ndarray,
    targets: Targets,
    to_reference: np.ndarray,
    motion: np.ndarray,
    smoothing_fwhm: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Parcel means of a run, with a single cubic interpolation of each raw volume.

    Parameters
    ----------
    bold : ndarray (x, y, z, n_volumes)
        Raw data, neither realigned nor resampled.
    affine : ndarray (4, 4)
        Voxel to mm of `bold`, `mask` and the reference volume.
    mask : ndarray (x, y, z) of bool
        Brain mask of the reference volume.
    targets : Targets
    to_reference : ndarray (n_points, 3)
        The targets' points in the reference volume, mm.
    motion : ndarray (n_volumes, 4, 4)
        Reference volume to each volume, mm.
    smoothing_fwhm : float, optional
        Gaussian smoothing of each volume before interpolation, mm.

    Returns
    -------
    series : ndarray (n_volumes, n_rois)
        NaN if no point of a parcel is covered.
    share : ndarray (n_rois,)
        Fraction of every parcel's points in the mask.
    """
    covered = nearest_values(mask.astype(np.uint8), affine, to_reference) > 0
    share = coverage(covered, targets.parcels, targets.n_rois)
    points, parcels = to_reference[covered], targets.parcels[covered]
    to_voxel = np.linalg.inv(affine)
    series = np.empty((bold.shape[3], targets.n_rois))
    for t in range(bold.shape[3]):
        volume = smoothed(bold[..., t], affine, smoothing_fwhm)
        # float32 is rounded to 1e-7 of the intensity; the sums below are float64
        volume = spline_filter(volume, order=3, mode="mirror", output=np.float32)
        voxels = apply_affine(to_voxel @ motion[t], points)
        values = map_coordinates(volume, voxels.T, order=3, mode="mirror", prefilter=False)
        series[t] = parcel_means(values, parcels, targets.n_rois)
    return series, share


def smoothed(volume: np.ndarray, affine: np.ndarray, fwhm: float | None) -> np.ndarray:
    """Smooth a volume by a Gaussian along its axes.

    Parameters
    ----------
    volume : ndarray (x, y, z)
    affine : ndarray (4, 4)
        Voxel to mm; only the voxel sizes are used.
    fwhm : float or None
        In mm. None: no smoothing.

    Returns
    -------
    ndarray (x, y, z), float32
        The edge values continue outside the image.
    """
    volume = np.asarray(volume, dtype=np.float32)
    if fwhm is None:
        return volume
    return gaussian_filter(volume, fwhm / FWHM / voxel_sizes(affine), mode="nearest")


def average_parcels(
    bold: np.ndarray,
    affine: np.ndarray,
    mask: np.ndarray,
    atlas: Atlas,
    smoothing_fwhm: float | None = None,
    space: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Parcel means of a run that is already in a template space.

    Each voxel of the run gets the label at its centre, through the bridge between the spaces. The
    run itself is not interpolated.

    Parameters
    ----------
    bold : ndarray (x, y, z, n_volumes)
    affine : ndarray (4, 4)
        Voxel to mm of `bold` and `mask`.
    mask : ndarray (x, y, z) of bool
    smoothing_fwhm : float, optional
        Gaussian smoothing of each volume, mm.
    space : str, optional
        Space of the run. Default: the atlas's.

    Returns
    -------
    series : ndarray (n_volumes, n_rois)
        NaN if no voxel of a parcel is covered.
    share : ndarray (n_rois,)
        Fraction of every parcel of the atlas in the mask.

    Raises
    ------
    SpaceError
        If there is no bridge.
    """
    own, there = str(atlas.space), str(atlas.space) if space is None else space
    to_atlas, to_run = bridge(there, own), bridge(own, there)
    image = atlas.load()
    labels = np.asarray(image.dataobj)
    index = atlas.labels["index"].to_numpy()
    voxels = np.argwhere(mask)
    found = nearest_values(labels, image.affine, to_atlas(apply_affine(affine, voxels)))
    parcels = parcel_rows(found, index)
    voxels, parcels = voxels[parcels >= 0], parcels[parcels >= 0]
    place = tuple(voxels.T)
    series = np.empty((bold.shape[3], len(index)))
    for t in range(len(series)):  # volume by volume, to avoid a copy of the run
        volume = smoothed(bold[..., t], affine, smoothing_fwhm)
        series[t] = parcel_means(volume[place], parcels, len(index))
    drawn = np.argwhere(labels > 0)
    lies = to_run(apply_affine(image.affine, drawn))
    inside = nearest_values(mask.astype(np.uint8), affine, lies) > 0
    share = coverage(inside, parcel_rows(labels[tuple(drawn.T)], index), len(index))
    return series, share
