"""Images on grids: resampling to isotropic RAS, and values at points."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from scipy.ndimage import affine_transform, binary_dilation, gaussian_filter, map_coordinates

from brainmass_core.tables import atomic_path

FWHM = 2.3548  # full width at half maximum of a Gaussian of standard deviation 1


@dataclass(frozen=True)
class Volume:
    """One image.

    Attributes
    ----------
    data : ndarray (x, y, z)
    affine : ndarray (4, 4)
        Voxel to mm, RAS.
    """

    data: np.ndarray
    affine: np.ndarray

    @property
    def voxel_size(self) -> np.ndarray:
        """Edges (3,) of a voxel in mm."""
        return voxel_sizes(self.affine)

    def with_data(self, data: np.ndarray) -> Volume:
        """An image with other data (x, y, z, ...) on the same grid."""
        return Volume(data, self.affine)

    def points(self) -> np.ndarray:
        """Centres of all voxels.

        Returns
        -------
        ndarray (n_voxels, 3)
            In mm, in C order.
        """
        return apply_affine(self.affine, np.indices(self.data.shape).reshape(3, -1).T)

    def at(self, points: np.ndarray, order: int = 1) -> np.ndarray:
        """Values at points by spline interpolation.

        Parameters
        ----------
        points : ndarray (n, 3)
            In mm.
        order : int
            Of the spline: 0 nearest, 1 linear.

        Returns
        -------
        ndarray (n,), float32
            0 outside the image.
        """
        voxels = apply_affine(np.linalg.inv(self.affine), points)
        return map_coordinates(np.asarray(self.data, dtype=np.float32), voxels.T, order=order)


def isotropic_grid(
    shape: tuple[int, ...], affine: np.ndarray, size: float
) -> tuple[tuple[int, int, int], np.ndarray]:
    """Smallest RAS grid with isotropic voxels that contains an image.

    Parameters
    ----------
    shape : tuple of int (3,)
    affine : ndarray (4, 4)
        Voxel to mm of the image.
    size : float
        Edge of the new voxels, mm.

    Returns
    -------
    shape : tuple of int
    affine : ndarray (4, 4)
    """
    ends = [[-0.5, n - 0.5] for n in shape]
    corners = apply_affine(affine, np.array(np.meshgrid(*ends)).reshape(3, -1).T)
    low, high = corners.min(axis=0), corners.max(axis=0)
    x, y, z = (int(n) for n in np.ceil((high - low) / size - 1e-3))
    target = np.diag([size, size, size, 1.0])
    target[:3, 3] = low + size / 2
    return (x, y, z), target


def resample(image: Volume, shape: tuple[int, ...], affine: np.ndarray) -> Volume:
    """Resample linearly to another grid, smoothing first if that grid is coarser.

    Flipped, permuted, oblique and sheared images are supported.

    Parameters
    ----------
    image : Volume (x, y, z)
    shape : tuple of int
    affine : ndarray (4, 4)
        Voxel to mm of the new grid, RAS.

    Returns
    -------
    Volume
        0 outside the image.
    """
    target = voxel_sizes(affine).max()
    sigma = np.sqrt(np.maximum((target / image.voxel_size) ** 2 - 1, 0)) / FWHM
    data = np.asarray(image.data, dtype=np.float32)
    if (sigma > 0).any():
        data = gaussian_filter(data, sigma, mode="nearest", truncate=2.5)
    pull = np.linalg.inv(image.affine) @ affine
    data = affine_transform(data, pull[:3, :3], pull[:3, 3], shape, order=1)
    return Volume(data, affine)


def to_isotropic(image: Volume, size: float) -> Volume:
    """Resample to isotropic RAS voxels of `size` mm."""
    return resample(image, *isotropic_grid(image.data.shape, image.affine, size))


def crop_to(image: Volume, mask: np.ndarray, margin: float) -> tuple[slice, ...]:
    """Slices of the smallest box around `mask` (x, y, z) plus `margin` mm on every side.

    Parameters
    ----------
    mask : ndarray (x, y, z) of bool
        Not empty.

    Returns
    -------
    tuple of three slice
    """
    occupied = np.argwhere(mask)
    extra = np.ceil(margin / image.voxel_size).astype(int)
    low = np.maximum(occupied.min(axis=0) - extra, 0)
    high = np.minimum(occupied.max(axis=0) + 1 + extra, mask.shape)
    return tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))


def cropped(image: Volume, box: tuple[slice, ...]) -> Volume:
    """Crop an image, preserving its position in space."""
    affine = image.affine.copy()
    affine[:3, 3] = apply_affine(image.affine, [s.start for s in box])
    return Volume(image.data[box], affine)


def grown(mask: np.ndarray, image: Volume, mm: float) -> np.ndarray:
    """The mask (x, y, z) and `mm` around it.

    Parameters
    ----------
    mask : ndarray (x, y, z) of bool
    image : Volume
        Image on the grid of the mask, with cubic voxels.

    Returns
    -------
    ndarray (x, y, z) of bool
    """
    return binary_dilation(mask, iterations=max(1, round(mm / float(image.voxel_size[0]))))


def to_uint8(data: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Convert intensities to bytes: 0 to 255 for 0 to 1.2 times the 99.5th percentile in `mask`.

    Parameters
    ----------
    data : ndarray (x, y, z)
    mask : ndarray (x, y, z) of bool
        Not empty.

    Returns
    -------
    ndarray (x, y, z) of uint8
    """
    top = 1.2 * np.percentile(data[mask], 99.5)
    return np.rint(np.clip(data / max(top, 1e-12), 0, 1) * 255).astype(np.uint8)


def save_image(path: Path, image: Volume, slope: float | None = None) -> None:
    """Write NIfTI with sform and qform; the same image gives the same bytes.

    Parameters
    ----------
    slope : float, optional
        Scale factor of stored values.
    """
    file = nib.Nifti1Image(image.data, image.affine)
    if slope is not None:
        file.header.set_slope_inter(slope, 0)
    file.header.set_xyzt_units("mm", "sec")
    file.set_sform(image.affine, code=1)
    file.set_qform(image.affine, code=1)
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(file.to_bytes(), 6, mtime=0))


def load_image(path: Path) -> Volume:
    """Read an image written by `save_image`."""
    image = nib.Nifti1Image.from_filename(path)
    return Volume(np.asanyarray(image.dataobj), np.asarray(image.affine))
