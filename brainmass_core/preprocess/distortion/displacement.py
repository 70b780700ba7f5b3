"""Displacement along the phase-encoding axis from images, by regularised Gauss-Newton.

The model is that of Andersson et al. 2003: an EPI shows the signal from x at ``x + v(x)``, and its
intensity there is the true one divided by ``1 + v'(x)``, because signal is conserved. So
``image(x + v) * (1 + v')`` is the undistorted image, which must be the same for two images of
opposite polarity; without a fieldmap, it must agree with the T1w. All lengths are in voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.sparse.linalg import cg

LEVELS = (3.0, 2.0, 1.2, 0.7)  # voxels of smoothing, coarse to fine
ITERATIONS = 6  # per level
CG_STEPS = 60
LARGEST_STEP = 1.0  # voxels per iteration
# weight of roughness; chosen on one phantom head: 0.3 leaves an error of 0.16 of the displacement,
# 0.1 0.76, 3 0.23
PENALTY = 0.3
# without a fieldmap; chosen on one phantom head, where 3, 6 and 10 leave 0.67, 0.65 and 0.66 of the
# error; on a real head 6 moves the brain by 0.8 mm, 3 by 1.1 mm, with patches where no air is near
MODEL_PENALTY = 6.0
WINDOW = 5.0  # mm, standard deviation of the neighbourhood in which contrast is fitted
OUTLYING = 3.0  # standard deviations of that neighbourhood


@dataclass(frozen=True)
class Operators:
    """Finite differences on a grid.

    Attributes
    ----------
    along : sparse (n, n)
        Central difference along the phase-encoding axis.
    roughness : sparse (n, n)
        ``v @ roughness @ v`` is the sum of squared differences of neighbours, per mm².
    """

    along: Any
    roughness: Any


def operators(shape: tuple[int, ...], axis: int, size: np.ndarray) -> Operators:
    """Differences on a grid as matrices.

    Parameters
    ----------
    shape : tuple of int (3,)
    axis : int
        Phase-encoding axis, along which the first derivative is computed.
    size : ndarray (3,)
        Voxel edges in mm.

    Returns
    -------
    Operators
        Sparse matrices (n_voxels, n_voxels).
    """
    roughness: Any = 0
    along: Any = None
    for k, n in enumerate(shape):
        step = sparse.diags([-1.0, 1.0], [0, 1], shape=(n - 1, n))
        roughness = roughness + _along(step.T @ step, shape, k) / size[k] ** 2
        if k == axis:
            middle = sparse.diags([-0.5, 0.5], [-1, 1], shape=(n, n)).tolil()
            middle[0, :2], middle[-1, -2:] = [-1, 1], [-1, 1]
            along = _along(middle, shape, k)
    return Operators(sparse.csr_matrix(along), sparse.csr_matrix(roughness))


def _along(matrix: Any, shape: tuple[int, ...], axis: int) -> Any:
    before, after = int(np.prod(shape[:axis])), int(np.prod(shape[axis + 1 :]))
    return sparse.kron(sparse.kron(sparse.eye(before), matrix), sparse.eye(after))


@dataclass(frozen=True)
class Unwarped:
    """An undistorted image, and its derivatives with respect to the displacement.

    Attributes
    ----------
    value : ndarray (n,)
    slope : ndarray (n,)
        Derivative with respect to v.
    stretch : ndarray (n,)
        Derivative with respect to v'.
    """

    value: np.ndarray
    slope: np.ndarray
    stretch: np.ndarray


def unwarped(image: np.ndarray, v: np.ndarray, axis: int, factor: float = 1.0) -> Unwarped:
    """Remove a displacement of ``factor * v`` voxels along `axis` from an image (x, y, z).

    Parameters
    ----------
    image : ndarray (x, y, z)
    v : ndarray (x, y, z)
        Voxels along `axis`.

    Returns
    -------
    Unwarped
        Arrays (n_voxels,).
    """
    at = _moved(image, factor * v, axis)
    slope = _moved(np.gradient(image, axis=axis), factor * v, axis)
    jacobian = np.clip(1 + factor * np.gradient(v, axis=axis), 0.2, 3.0)
    return Unwarped(
        (at * jacobian).ravel(), (factor * slope * jacobian).ravel(), (factor * at).ravel()
    )


def newton_step(
    residual: np.ndarray,
    slope: np.ndarray,
    stretch: np.ndarray,
    weight: np.ndarray,
    v: np.ndarray,
    penalty: float,
    by: Operators,
) -> np.ndarray:
    """Least-squares update of `v` (x, y, z).

    Minimises ``sum(weight * (residual + J d)²) + penalty * roughness(v + d)`` with
    ``J = diag(slope) + diag(stretch) @ along``.

    Parameters
    ----------
    residual, slope, stretch, weight : ndarray (n_voxels,)
        Of the flattened image, in its unit.
    v : ndarray (x, y, z)
        Displacement in voxels.
    penalty : float
        Weight of the roughness.
    by : Operators
        Sparse matrices over the flattened grid.

    Returns
    -------
    ndarray (x, y, z)
        Change of `v` in voxels, at most `LARGEST_STEP` in each.
    """
    jacobian = sparse.diags(slope) + sparse.diags(stretch) @ by.along
    weighted = jacobian.T @ sparse.diags(weight)
    matrix = (weighted @ jacobian + penalty * by.roughness).tocsr()
    matrix = matrix + sparse.identity(len(slope)) * 1e-6
    right = -(weighted @ residual) - penalty * (by.roughness @ v.ravel())
    inverse = sparse.diags(1 / matrix.diagonal())
    step, _ = cg(matrix, right, rtol=1e-3, maxiter=CG_STEPS, M=inverse)
    return np.clip(step, -LARGEST_STEP, LARGEST_STEP).reshape(v.shape)


def opposite_pair(
    first: np.ndarray,
    second: np.ndarray,
    factors: tuple[float, float],
    axis: int,
    size: np.ndarray,
    penalty: float = PENALTY,
) -> np.ndarray:
    """Displacement that makes two differently distorted images equal.

    Parameters
    ----------
    first, second : ndarray (x, y, z)
        Distorted by ``factors[0] * v`` and ``factors[1] * v`` voxels along `axis`.
    size : ndarray (3,)
        Voxel edges in mm.
    penalty : float
        Weight of roughness; larger is smoother.

    Returns
    -------
    ndarray (x, y, z)
        v, in voxels.
    """
    by = operators(first.shape, axis, size)
    top = [np.percentile(x, 98) for x in (first, second)]
    v = np.zeros(first.shape)
    weight = np.ones(first.size)
    for sigma in LEVELS:
        a_image, b_image = (
            gaussian_filter(x.astype(np.float64) / t, sigma)
            for x, t in zip((first, second), top, strict=True)
        )
        for _ in range(ITERATIONS):
            a = unwarped(a_image, v, axis, factors[0])
            b = unwarped(b_image, v, axis, factors[1])
            parts = (a.value - b.value, a.slope - b.slope, a.stretch - b.stretch)
            v = v + newton_step(*parts, weight, v, penalty, by)
    return v


def towards_image(
    image: np.ndarray,
    expected: np.ndarray,
    region: np.ndarray,
    axis: int,
    size: np.ndarray,
    penalty: float = MODEL_PENALTY,
) -> np.ndarray:
    """Displacement that makes an image most similar to an expected image.

    Locally, the image may be any increasing linear function of the expected one (as in a local
    correlation), which accounts for coil sensitivity, contrast, and the intensity changes by the
    distortion itself: modelling these by ``1 + v'`` would fit v to every shading. Voxels are
    weighted by the variance that the linear function explains around them, so lost signal has no
    weight.

    Parameters
    ----------
    image : ndarray (x, y, z)
        Distorted by v voxels along `axis`.
    expected : ndarray (x, y, z)
        Undistorted.
    region : ndarray (x, y, z) of bool
        Region of the comparison; elsewhere v is extrapolated smoothly.
    size : ndarray (3,)
        Voxel edges in mm.
    penalty : float
        Weight of roughness; larger is smoother.

    Returns
    -------
    ndarray (x, y, z)
        v, in voxels.
    """
    by = operators(image.shape, axis, size)
    v = np.zeros(image.shape)
    window = WINDOW / size
    trust = gaussian_filter(region.astype(np.float64), 0.5)
    share = gaussian_filter(trust, window) + 1e-6

    def mean(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(trust * x, window) / share

    for sigma in LEVELS:
        seen, right = (gaussian_filter(x.astype(np.float64), sigma) for x in (image, expected))
        level = mean(right)
        spread = np.maximum(mean(right**2) - level**2, 1e-5)
        slope = np.gradient(seen, axis=axis)
        for _ in range(ITERATIONS):
            now, change = (_moved(x, v, axis) for x in (seen, slope))
            middle = mean(now)
            variance = np.maximum(mean(now**2) - middle**2, 1e-5)
            shared = np.maximum(mean(now * right) - middle * level, 0)
            residual = (now - middle - shared / spread * (right - level)) / np.sqrt(variance)
            weight = trust * shared**2 / (variance * spread) / (1 + (residual / OUTLYING) ** 2)
            steepness = (change / np.sqrt(variance)).ravel()
            flat = (residual.ravel(), steepness, np.zeros(v.size), weight.ravel())
            v = v + newton_step(*flat, v, penalty, by)
    return v


def _moved(image: np.ndarray, v: np.ndarray, axis: int) -> np.ndarray:
    """Sample the image (x, y, z) `v` voxels further along `axis`."""
    grid = np.indices(image.shape, dtype=np.float32)
    grid[axis] += v
    return map_coordinates(image, grid, order=1, mode="nearest")
