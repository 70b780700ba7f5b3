"""A smooth map between the points of two spaces: an affine and a displacement field."""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from nibabel.affines import apply_affine
from scipy.ndimage import map_coordinates, spline_filter

STEP = 2**-6  # mm, rounding of displacements in files; float16 stores these exactly up to 32 mm


def spline_coefficients(field: np.ndarray) -> list[np.ndarray]:
    """Coefficients of the cubic splines through the components of a field (nx, ny, nz, 3).

    Parameters
    ----------
    field : ndarray (nx, ny, nz, 3)

    Returns
    -------
    list of three ndarray (nx, ny, nz)
        float64; boundaries are mirrored.
    """
    components = np.moveaxis(field.astype(np.float64), -1, 0)
    return [spline_filter(c, order=3, mode="mirror") for c in components]


def at_nodes(coefficients: list[np.ndarray], grid: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The field of `spline_coefficients` at points (n, 3), mm; beyond the grid its border holds.

    Parameters
    ----------
    grid : ndarray (4, 4)
        Node index to mm.
    """
    nodes = apply_affine(np.linalg.inv(grid), points)
    nodes = np.clip(nodes, 0, np.array(coefficients[0].shape) - 1).T
    found = [
        map_coordinates(c, nodes, order=3, mode="mirror", prefilter=False) for c in coefficients
    ]
    return np.stack(found, axis=-1)


@dataclass(frozen=True)
class Warp:
    """``affine @ point + field(point)``.

    Attributes
    ----------
    affine : ndarray (4, 4)
        mm to mm, RAS.
    field : ndarray (nx, ny, nz, 3)
        Residual displacement after the affine, mm, at the nodes of a grid over the source space,
        interpolated by cubic splines. It is 0 at the border of the grid and outside.
    grid : ndarray (4, 4)
        Node index to mm.
    """

    affine: np.ndarray
    field: np.ndarray
    grid: np.ndarray

    @cached_property
    def _coefficients(self) -> list[np.ndarray]:
        return spline_coefficients(self.field)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Transform points (n, 3) of the source to points (n, 3) of the target, mm."""
        return apply_affine(self.affine, points) + at_nodes(self._coefficients, self.grid, points)

    def inverse_at(self, points: np.ndarray, steps: int = 40) -> np.ndarray:
        """Transform points (n, 3) of the target to the source, by fixed-point iteration.

        It converges where the map is not folded.
        """
        back = np.linalg.inv(self.affine)
        found = apply_affine(back, points)
        for _ in range(steps):
            bent = self(found) - apply_affine(self.affine, found)
            found = apply_affine(back, points - bent)
        return found


def to_bytes(warp: Warp) -> bytes:
    """Serialise a warp as compressed .npz; the same warp gives the same bytes with the same
    zlib."""
    steps = np.rint(warp.field.astype(np.float64) / STEP) * STEP
    buffer = io.BytesIO()
    np.savez(
        buffer,
        affine=warp.affine.astype(np.float64),
        field=steps.astype(np.float16)
        .transpose(3, 0, 1, 2)
        .copy(),  # one axis after the other compresses better
        grid=warp.grid.astype(np.float64),
    )
    return gzip.compress(buffer.getvalue(), 9, mtime=0)


def from_file(path: Path) -> Warp:
    """Read a file written by `to_bytes`.

    Raises
    ------
    ValueError
        If it contains anything else.
    """
    with np.load(io.BytesIO(gzip.decompress(path.read_bytes())), allow_pickle=False) as file:
        affine, field, grid = (file[name] for name in ("affine", "field", "grid"))
    if affine.shape != (4, 4) or grid.shape != (4, 4) or field.ndim != 4 or len(field) != 3:
        raise ValueError(f"{path}: found arrays {affine.shape}, {field.shape}, {grid.shape}")
    return Warp(affine, field.astype(np.float32).transpose(1, 2, 3, 0), grid)
