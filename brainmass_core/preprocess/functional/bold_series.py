"""Write 4-D series volume by volume, without a second copy of a run in memory."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from scipy.ndimage import map_coordinates, spline_filter

from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.transforms import ScanTransforms
from brainmass_core.tables import atomic_path

LEVELS = 32767
HEADROOM = 1.25  # cubic interpolation overshoots at edges
# times the brain's mean: limit for scaling, so that outlier voxels do not reduce the precision
BRIGHTEST = 16.0
COMPRESSION = 4  # gzip level: half the time of level 6 for 2 % more bytes


@dataclass(frozen=True)
class Series:
    """A grid in template space to which a run is resampled.

    Attributes
    ----------
    shape : tuple of int
        x, y, z.
    affine : ndarray (4, 4)
        Voxel to mm of the template.
    transforms : ScanTransforms
        Transforms of the run.
    """

    shape: tuple[int, ...]
    affine: np.ndarray
    transforms: ScanTransforms

    @cached_property
    def points(self) -> np.ndarray:
        """Positions of the grid's voxels (n_voxels, 3) in the reference volume, mm."""
        nodes = apply_affine(self.affine, np.indices(self.shape).reshape(3, -1).T)
        return self.transforms.template_to_boldref(nodes)

    def sample(self, image: Volume, order: int = 3) -> np.ndarray:
        """Resample an image in the space of the reference volume to this grid.

        Parameters
        ----------
        image : Volume (x, y, z)
        order : int
            Of the spline: 0 nearest, 1 linear, 3 cubic.

        Returns
        -------
        ndarray of `shape`, float32
            0 outside the field of view.
        """
        return _values(image.data, image.affine, self.points, order).reshape(self.shape)

    def volumes(self, data: np.ndarray, affine: np.ndarray) -> Iterator[np.ndarray]:
        """Resample each volume of a raw run to this grid, with one cubic interpolation.

        Parameters
        ----------
        data : ndarray (x, y, z, n_volumes)
            Neither realigned nor resampled.
        affine : ndarray (4, 4)
            Voxel to mm.

        Yields
        ------
        ndarray of `shape`, float32
            One per volume; 0 outside the field of view.
        """
        for t in range(data.shape[3]):
            points = self.transforms.boldref_to_volume(self.points, t)
            yield _values(data[..., t], affine, points, 3).reshape(self.shape)


def _values(volume: np.ndarray, affine: np.ndarray, points: np.ndarray, order: int) -> np.ndarray:
    """Values (n,) of float32 at points (n, 3) in mm; 0 outside the field of view."""
    coefficients = np.asarray(volume, dtype=np.float32)
    if order > 1:
        coefficients = spline_filter(coefficients, order, output=np.float32, mode="mirror")
    voxels = apply_affine(np.linalg.inv(affine), points).T
    last = np.array(volume.shape)[:, None] - 0.5
    seen = ((voxels >= -0.5) & (voxels <= last)).all(axis=0)
    values = np.zeros(len(points), dtype=np.float32)
    values[seen] = map_coordinates(
        coefficients, voxels[:, seen], order=order, prefilter=False, mode="mirror"
    )
    return values


def quantised(data: np.ndarray, mask: np.ndarray) -> float:
    """Scale factor with which a run is stored as int16.

    Parameters
    ----------
    data : ndarray (x, y, z, n_volumes)
    mask : ndarray (x, y, z) of bool
        Brain.

    Returns
    -------
    float
        Intensity per step of int16.
    """
    largest = max(float(data.max()), -float(data.min()))
    usual = float(np.mean([data[..., t][mask].mean() for t in (0, data.shape[3] // 2, -1)]))
    top = min(largest, BRIGHTEST * usual) if usual > 0 else largest
    return HEADROOM * top / LEVELS if top > 0 else 1.0


def save_series(
    path: Path,
    volumes: Iterable[np.ndarray],
    shape: tuple[int, ...],
    affine: np.ndarray,
    t_r: float,
    scale: float,
) -> None:
    """Write a 4-D NIfTI of int16 with ``scl_slope``; the same volumes give the same bytes.

    Parameters
    ----------
    volumes : iterable of ndarray (x, y, z)
        ``shape[3]`` volumes.
    shape : tuple of int
        x, y, z, n_volumes.
    t_r : float
        Repetition time in s.
    scale : float
        Scale factor, see `quantised`; values outside the range of int16 are clipped.
    """
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    header.set_zooms((*nib.affines.voxel_sizes(affine), t_r))
    header.set_xyzt_units("mm", "sec")
    header.set_slope_inter(scale, 0)
    header["magic"], header["vox_offset"] = b"n+1", 352
    slope = float(header["scl_slope"])  # rounded to float32 in the header
    with atomic_path(path) as temporary, open(temporary, "wb") as raw:
        with gzip.GzipFile("", "wb", COMPRESSION, raw, mtime=0) as file:
            file.write(header.binaryblock + bytes(4))
            n_written = 0
            for volume in volumes:
                assert volume.shape == tuple(shape[:3])
                levels = np.clip(np.rint(volume / slope), -LEVELS, LEVELS).astype("<i2")
                file.write(levels.tobytes(order="F"))
                n_written += 1
        assert n_written == shape[3]
