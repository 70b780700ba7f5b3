"""Transforms from the template to the T1w, to the reference volume and to every volume.

This is the interface between `preprocess`, which estimates them, and `timeseries`, which applies
them; `transform_files` writes and reads them. All coordinates are RAS, in mm, and every transform
maps *points* from the output grid (template) to the data (raw volume).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from nibabel.affines import apply_affine
from scipy.ndimage import map_coordinates, spline_filter

from brainmass_core.spaces.warps import at_nodes, spline_coefficients

FIELD_STEP = 4.0  # mm; SyN fields are smooth, so 4 mm nodes and cubic splines lose < 0.05 mm
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
