"""Transforms from the template to the T1w, to the reference volume and to every volume.

This is the interface between `preprocess`, which estimates them, and `timeseries`, which applies
them. All coordinates are RAS, in mm, and every transform maps *points* from the output grid
(template) to the data (raw volume).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from nibabel.affines import apply_affine
from scipy.ndimage import map_coordinates, spline_filter

from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.spaces.warps import at_nodes, spline_coefficients
from brainmass_core.tables import atomic_path

FIELD_STEP = 4.0  # mm; SyN fields are smooth, so 4 mm nodes and cubic splines lose < 0.05 mm
FIELD_LEVEL = 0.01  # mm, rounding of displacements in files
# the error decreases by a factor of 0.4 per step, or 0.8 where the field is steep
INVERSION_STEPS = 30


@dataclass(frozen=True)
class Normalisation:
    """Template to T1w: ``affine @ (point + field(point))``.

    Attributes
    ----------
    affine : ndarray (4, 4)
        mm to mm.
    field : ndarray (nx, ny, nz, 3) of float32
        Displacement in mm at the nodes of a grid over the template; all zero for an affine
        normalisation. Outside the grid the border value is used.
    field_affine : ndarray (4, 4)
        Node index to mm of the template.
    """

    affine: np.ndarray
    field: np.ndarray
    field_affine: np.ndarray

    @cached_property
    def _coefficients(self) -> list[np.ndarray]:
        return spline_coefficients(self.field)

    def template_to_t1w(self, points: np.ndarray) -> np.ndarray:
        """Map points of the template to the T1w.

        Parameters
        ----------
        points : ndarray (n, 3)
            In mm of the template.

        Returns
        -------
        ndarray (n, 3)
            In mm of the T1w.
        """
        moved = at_nodes(self._coefficients, self.field_affine, points)
        return apply_affine(self.affine, points + moved)


@dataclass(frozen=True)
class Distortion:
    """Distortion of an EPI: ``point + displacement(point) * direction``.

    Attributes
    ----------
    displacement : ndarray (nx, ny, nz) of float32
        In mm, at the nodes of a grid in the undistorted space of the reference volume. Outside the
        grid the border value is used.
    affine : ndarray (4, 4)
        Node index to mm.
    direction : ndarray (3,)
        Unit vector along the phase-encoding axis, RAS.
    """

    displacement: np.ndarray
    affine: np.ndarray
    direction: np.ndarray

    @cached_property
    def _coefficients(self) -> np.ndarray:
        return spline_filter(self.displacement.astype(np.float64), order=3, mode="mirror")

    def at(self, points: np.ndarray) -> np.ndarray:
        """Displacement at undistorted points.

        Parameters
        ----------
        points : ndarray (n, 3)
            In mm.

        Returns
        -------
        ndarray (n,)
            In mm along `direction`.
        """
        nodes = apply_affine(np.linalg.inv(self.affine), points)
        nodes = np.clip(nodes, 0, np.array(self.displacement.shape) - 1).T
        return map_coordinates(self._coefficients, nodes, order=3, mode="mirror", prefilter=False)

    def to_distorted(self, points: np.ndarray) -> np.ndarray:
        """Map points of the undistorted reference to the distorted EPI.

        Parameters
        ----------
        points : ndarray (n, 3)
            In mm.

        Returns
        -------
        ndarray (n, 3)
            In mm.
        """
        return points + self.at(points)[:, None] * self.direction

    def to_undistorted(self, points: np.ndarray) -> np.ndarray:
        """Map points of the distorted EPI to undistorted space.

        Damped fixed-point iteration, which converges where the EPI is not folded; where it is
        folded, one of several solutions is returned.

        Parameters
        ----------
        points : ndarray (n, 3)
            In mm.

        Returns
        -------
        ndarray (n, 3)
            In mm.
        """
        found = np.array(points, dtype=np.float64)
        for _ in range(INVERSION_STEPS):
            found += 0.6 * (points - self.to_distorted(found))
        return found


@dataclass(frozen=True)
class ScanTransforms:
    """All transforms from the template to the volumes of one run.

    Attributes
    ----------
    normalisation : Normalisation
        Template to T1w.
    t1w_to_boldref : ndarray (4, 4)
        T1w to reference volume, mm to mm.
    motion : ndarray (n_volumes, 4, 4)
        Reference volume to volume t, mm to mm, without dummy volumes.
    distortion : Distortion or None
        Distortion of the reference volume; then `t1w_to_boldref` leads to the undistorted
        reference. It is assumed to move with the head.
    """

    normalisation: Normalisation
    t1w_to_boldref: np.ndarray
    motion: np.ndarray
    distortion: Distortion | None = None

    @property
    def n_volumes(self) -> int:
        """Number of volumes without dummies."""
        return len(self.motion)

    def template_to_boldref(self, points: np.ndarray) -> np.ndarray:
        """Map points of the template to the reference volume. Call this once per run.

        Parameters
        ----------
        points : ndarray (n, 3)
            In mm.

        Returns
        -------
        ndarray (n, 3)
            In mm of the distorted volume, if the distortion is known.
        """
        there = apply_affine(self.t1w_to_boldref, self.normalisation.template_to_t1w(points))
        return there if self.distortion is None else self.distortion.to_distorted(there)

    def boldref_to_volume(self, points: np.ndarray, t: int) -> np.ndarray:
        """Map points of the reference volume to a volume.

        Parameters
        ----------
        points : ndarray (n, 3)
            In mm.
        t : int
            Number of the volume, without dummies.

        Returns
        -------
        ndarray (n, 3)
            In mm.
        """
        return apply_affine(self.motion[t], points)

    def template_to_volume(self, points: np.ndarray, t: int) -> np.ndarray:
        """Map points of the template to a volume.

        Parameters
        ----------
        points : ndarray (n, 3)
            In mm.
        t : int
            Number of the volume, without dummies.

        Returns
        -------
        ndarray (n, 3)
            In mm.
        """
        return self.boldref_to_volume(self.template_to_boldref(points), t)


def save_normalisation(path: Path, normalisation: Normalisation) -> None:
    """Write a normalisation as .npz, with a precision of 0.005 mm for the field."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            affine=normalisation.affine.astype(np.float64),
            field_steps=_packed(normalisation.field),
            field_affine=normalisation.field_affine.astype(np.float64),
        )


def load_normalisation(path: Path) -> Normalisation:
    """Read a normalisation written by `save_normalisation`."""
    with np.load(path, allow_pickle=False) as file:
        return Normalisation(
            affine=file["affine"],
            field=_unpacked(file["field_steps"]),
            field_affine=file["field_affine"],
        )


def _packed(field: np.ndarray) -> np.ndarray:
    """Pack a field as int16 differences (3, nx, ny, nz) between neighbours along each axis.

    Differences of a smooth field are small: compressed they take a third of the size of float16.
    """
    steps = np.clip(np.rint(np.moveaxis(field, -1, 0) / FIELD_LEVEL), -32768, 32767)
    packed = steps.astype(np.int16)
    for axis in (1, 2, 3):  # int16 overflow wraps around, and is reversed by `_unpacked`
        packed = np.diff(packed, axis=axis, prepend=np.int16(0))
    return packed


def _unpacked(packed: np.ndarray) -> np.ndarray:
    """Inverse of `_packed`: a field (nx, ny, nz, 3) of float32, mm."""
    if packed.dtype != np.int16 or packed.ndim != 4:
        raise ValueError(f"found a field of {packed.dtype} {packed.shape}, expected int16, 4-D")
    steps = packed
    for axis in (3, 2, 1):
        steps = np.cumsum(steps, axis=axis, dtype=np.int16)
    return np.moveaxis(steps * np.float32(FIELD_LEVEL), 0, -1)


def save_distortion(path: Path, distortion: Distortion) -> None:
    """Write a distortion as .npz, rounded to 1/64 mm for compression."""
    rounded = np.rint(distortion.displacement.astype(np.float64) * 64) / 64
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            displacement=rounded.astype(np.float16),
            affine=distortion.affine.astype(np.float64),
            direction=distortion.direction.astype(np.float64),
        )


def load_distortion(path: Path) -> Distortion:
    """Read a distortion written by `save_distortion`."""
    with np.load(path, allow_pickle=False) as file:
        return Distortion(
            displacement=file["displacement"].astype(np.float32),
            affine=file["affine"],
            direction=file["direction"],
        )


def save_affine(path: Path, affine: np.ndarray) -> None:
    """Write one transform (4, 4) as text.

    Parameters
    ----------
    affine : ndarray (4, 4)
        mm.
    """
    with atomic_path(path) as temporary:
        np.savetxt(temporary, affine, fmt="%.17g")


def save_motion(path: Path, motion: np.ndarray) -> None:
    """Write transforms (n_volumes, 4, 4) as .npy.

    Parameters
    ----------
    motion : ndarray (n_volumes, 4, 4)
        mm.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, np.asarray(motion, dtype=np.float64), allow_pickle=False)


def load_transforms(
    results_root: str | os.PathLike[str], outputs: Mapping[str, str] | list[tuple[str, str]]
) -> ScanTransforms:
    """Read the transforms of one scan.

    Parameters
    ----------
    results_root : path
        Results folder, which contains the paths.
    outputs : mapping, or list of pairs as pyarrow returns a map column
        Column ``outputs`` of the preprocess table: ``normalisation``, ``coregistration`` and
        ``motion`` are used, and ``distortion`` if there is one.

    Raises
    ------
    ScanFailed
        If a file is missing or damaged, or contains no transforms.
    """
    root, names = Path(results_root), dict(outputs)
    try:
        found = ScanTransforms(
            normalisation=load_normalisation(root / names["normalisation"]),
            t1w_to_boldref=np.loadtxt(root / names["coregistration"], comments=None),
            motion=np.load(root / names["motion"], allow_pickle=False),
            distortion=load_distortion(root / names["distortion"])
            if "distortion" in names
            else None,
        )
        _check(found)
    except Exception as error:  # NumPy and zipfile raise many types
        raise ScanFailed(
            f"{root}: the transforms of this scan cannot be read ({error})",
            "transforms",
            "run preprocess again for this data set",
        ) from None
    return found


def _check(found: ScanTransforms) -> None:
    """Refuse arrays with wrong shapes or non-finite values."""
    parts = [(found.t1w_to_boldref, (4, 4)), (found.motion, (len(found.motion), 4, 4))]
    warp = found.normalisation
    parts += [(warp.affine, (4, 4)), (warp.field_affine, (4, 4))]
    parts += [(warp.field, (*warp.field.shape[:3], 3))]
    if (shift := found.distortion) is not None:
        parts += [(shift.affine, (4, 4)), (shift.direction, (3,))]
        parts += [(shift.displacement, shift.displacement.shape[:3])]
        if shift.displacement.ndim != 3:
            raise ValueError(f"found a distortion of shape {shift.displacement.shape}")
    for array, shape in parts:
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"found numbers of shape {array.shape}, expected finite ones, {shape}")
