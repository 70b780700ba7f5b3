"""Convert transforms of other packages to point transforms in mm (RAS), reference to moving.

FSL's coordinates are in mm from the corner voxel, along the voxel axes, with x flipped if the voxel
axes are right-handed; its matrices lead from the moving to the reference image. AFNI and ITK use
LPS; their matrices lead from the reference to the moving image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes

from brainmass_core.preprocess.grids import Volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Grid:
    """The voxel grid of an image.

    Attributes
    ----------
    shape : tuple of int (3,)
    affine : ndarray (4, 4)
        Voxel to mm, RAS.
    """

    shape: tuple[int, ...]
    affine: np.ndarray

    @classmethod
    def of(cls, image: Volume) -> Grid:
        """The grid of an image."""
        return cls(image.data.shape[:3], image.affine)

    def fsl(self) -> np.ndarray:
        """Matrix from voxel index to FSL's mm.

        FSL scales by the voxel size and flips the first axis if the affine has a positive
        determinant.

        Returns
        -------
        ndarray (4, 4)
        """
        size = voxel_sizes(self.affine)
        matrix = np.diag([*size, 1.0])
        if np.linalg.det(self.affine[:3, :3]) > 0:
            matrix[0] = [-size[0], 0, 0, (self.shape[0] - 1) * size[0]]
        return matrix

    def fsl_to_world(self) -> np.ndarray:
        """Matrix from FSL's mm to mm in RAS.

        Returns
        -------
        ndarray (4, 4)
        """
        return self.affine @ np.linalg.inv(self.fsl())


def flirt_to_world(matrix: np.ndarray, moving: Grid, reference: Grid) -> np.ndarray:
    """Convert a matrix of FLIRT or MCFLIRT to reference to moving points.

    Parameters
    ----------
    matrix : ndarray (4, 4)
        As in the file: moving to reference, FSL's mm.
    moving, reference : Grid
        Of ``-in`` and of ``-ref`` (``-reffile``).

    Returns
    -------
    ndarray (4, 4)
        mm to mm, RAS.
    """
    back = np.linalg.inv(matrix)
    return moving.fsl_to_world() @ back @ np.linalg.inv(reference.fsl_to_world())


def fsl_warp_to_world(field: np.ndarray, moving: Grid, reference: Grid) -> np.ndarray:
    """Positions of the reference's voxels according to FNIRT's warp field.

    Parameters
    ----------
    field : ndarray (x, y, z, 3)
        Relative displacements, affine part included, as ``convertwarp --relout`` writes them:
        from the reference's to the moving image's FSL mm.
    moving, reference : Grid

    Returns
    -------
    ndarray (x, y, z, 3)
        Points of the moving image in mm, RAS.
    """
    voxels = np.moveaxis(np.indices(reference.shape), 0, -1)
    return apply_affine(moving.fsl_to_world(), apply_affine(reference.fsl(), voxels) + field)


def displacement(points: np.ndarray, affine: np.ndarray, reference: Grid) -> np.ndarray:
    """The field of a `Normalisation`: ``points = affine @ (p + field(p))``.

    Parameters
    ----------
    points : ndarray (x, y, z, 3)
        Positions of the reference's voxels, mm.
    affine : ndarray (4, 4)
        mm to mm.

    Returns
    -------
    ndarray (x, y, z, 3) of float32
        mm.
    """
    voxels = np.moveaxis(np.indices(reference.shape), 0, -1)
    here = apply_affine(reference.affine, voxels)
    return (apply_affine(np.linalg.inv(affine), points) - here).astype(np.float32)


def afni_to_world(rows: np.ndarray) -> np.ndarray:
    """Convert rows of a ``.aff12.1D`` file to transforms of base to input points.

    Parameters
    ----------
    rows : ndarray (n, 12)
        The upper three rows of each matrix, one after the other, LPS.

    Returns
    -------
    ndarray (n, 4, 4)
        mm to mm, RAS.
    """
    matrices = np.tile(np.eye(4), (len(rows), 1, 1))
    matrices[:, :3] = rows.reshape(-1, 3, 4)
    return LPS @ matrices @ LPS


def itk_field_to_world(field: np.ndarray) -> np.ndarray:
    """Convert an ITK displacement field (x, y, z, 1, 3), LPS, to (x, y, z, 3) in mm, RAS.

    Parameters
    ----------
    field : ndarray (x, y, z, 1, 3)
        mm.

    Returns
    -------
    ndarray (x, y, z, 3) of float32
    """
    vectors = field.reshape(*field.shape[:3], 3)
    return (vectors * np.array([-1, -1, 1])).astype(np.float32)


def plain(grid: Grid) -> Grid:
    """The same voxels on a grid along the world axes, centred at its origin.

    AFNI ignores the obliquity of oblique images in some places and not in others; this grid has
    none.
    """
    affine = np.diag([*voxel_sizes(grid.affine), 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2)
    return Grid(grid.shape, affine)


def moved_back(matrices: np.ndarray, grid: Grid) -> np.ndarray:
    """Convert transforms (n, 4, 4) estimated on `plain` of a grid to the grid itself.

    Parameters
    ----------
    matrices : ndarray (n, 4, 4)
        mm.

    Returns
    -------
    ndarray (n, 4, 4)
    """
    lead = grid.affine @ np.linalg.inv(plain(grid).affine)
    return lead @ matrices @ np.linalg.inv(lead)


def simpleitk_image(volume: np.ndarray, affine: np.ndarray) -> Any:
    """Convert a volume (x, y, z) on a grid without shear to a SimpleITK image (LPS).

    Parameters
    ----------
    volume : ndarray (x, y, z)
    affine : ndarray (4, 4)
        Voxel to mm, RAS.

    Returns
    -------
    SimpleITK.Image
    """
    from SimpleITK import GetImageFromArray  # an optional dependency

    image = GetImageFromArray(np.ascontiguousarray(volume.T))
    spacing = voxel_sizes(affine)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((LPS[:3, :3] @ affine[:3, 3]).tolist())
    image.SetDirection((LPS[:3, :3] @ affine[:3, :3] / spacing).ravel().tolist())
    return image
