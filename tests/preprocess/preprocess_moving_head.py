"""A head with realistic, known motion in the scanner, for tests and benchmarks."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from nibabel.affines import apply_affine
from preprocess_phantom import centred, grid, maps, sample, t1w_to_template
from scipy.ndimage import map_coordinates, spline_filter
from scipy.spatial.transform import Rotation

SHAPE = (64, 64, 36)
AFFINE = np.diag([-3.5, 3.5, 3.6, 1.0])
AFFINE[:3, 3] = [110.25, -112.25, -63.0]
CENTRE = np.array([0.0, -2.0, 8.0])
RADIUS = 80.0  # mm, of the sphere on which errors are measured
NOISE = 0.012  # of the intensity of grey matter: a temporal SNR of about 80


@lru_cache(maxsize=1)
def head() -> tuple[np.ndarray, np.ndarray]:
    """Spline coefficients (x, y, z) of the bent head at rest, and mm to voxels (4, 4)."""
    shape = (84, 100, 80)
    affine = centred(shape, 2.5)
    affine[:3, 3] += CENTRE
    epi = np.clip(sample(maps().epi, t1w_to_template(grid(shape, affine))), 0, None)
    return spline_filter(epi.reshape(shape), order=3), np.linalg.inv(affine)


def rigid(parameters: np.ndarray) -> np.ndarray:
    """Motion (4, 4) of three mm and three degrees about the centre of the head."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", parameters[3:], degrees=True).as_matrix()
    matrix[:3, 3] = parameters[:3] + CENTRE - matrix[:3, :3] @ CENTRE
    return matrix


def true_motion(n_volumes: int, seed: int = 5, jumps: tuple[float, ...] = ()) -> np.ndarray:
    """Rest to volume t (n_volumes, 4, 4): drift, breathing, spikes, then planted jumps.

    Parameters
    ----------
    jumps : tuple of float
        Sizes in mm (and in degrees about a slanted axis); each lasts three volumes.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(n_volumes)
    walk = np.cumsum(rng.normal(0, [0.01, 0.02, 0.03, 0.03, 0.01, 0.01], (n_volumes, 6)), axis=0)
    breathing = np.sin(2 * np.pi * 0.23 * time)[:, None] * [0, 0.03, 0.04, 0.02, 0, 0]
    found = walk + breathing
    for t in rng.choice(np.arange(3, n_volumes - 3), max(n_volumes // 25, 1), replace=False):
        found[t : t + rng.integers(1, 3)] += rng.normal(0, [0.15, 0.2, 0.3, 0.3, 0.15, 0.15])
    for number, size in enumerate(jumps):
        first = (number + 1) * n_volumes // (len(jumps) + 1)
        way = rng.normal(size=(2, 3))
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        found[first : first + 3] += size * way.ravel()
    return np.array([rigid(p) for p in found])


def scanned(motion: np.ndarray, noise: float = NOISE, seed: int = 6) -> np.ndarray:
    """A run (x, y, z, n_volumes) of float32 with a gain that drifts by some percent."""
    rng = np.random.default_rng(seed)
    coefficients, to_voxel = head()
    points = grid(SHAPE, AFFINE)
    gain = 1 + 0.03 * np.linspace(-1, 1, len(motion)) ** 3 + rng.normal(0, 0.002, len(motion))
    run = np.empty((*SHAPE, len(motion)), dtype=np.float32)
    for t, moved in enumerate(motion):
        voxels = apply_affine(to_voxel @ np.linalg.inv(moved), points).T
        values = map_coordinates(coefficients, voxels, order=3, prefilter=False)
        values = np.clip(values, 0, None) * gain[t] + rng.normal(0, noise, values.shape)
        run[..., t] = np.rint(1000 * np.abs(values)).reshape(SHAPE)
    return run


def relative_to_truth(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Error transforms (n_volumes, 4, 4) at rest; the position of the reference itself is
    arbitrary.
    """
    error = np.linalg.inv(truth) @ found  # reference to rest: ideally the same for all volumes
    middle = np.eye(4)
    middle[:3, :3] = Rotation.from_matrix(error[:, :3, :3]).mean().as_matrix()
    shift = np.median([apply_affine(e, CENTRE) for e in error], axis=0)
    middle[:3, 3] = shift - middle[:3, :3] @ CENTRE
    return error @ np.linalg.inv(middle)


def sphere_rms(transforms: np.ndarray) -> np.ndarray:
    """RMS displacement (n_volumes,) in mm of the points of a sphere of 80 mm (Jenkinson 1999)."""
    change = transforms - np.eye(4)
    matrix = change[:, :3, :3]
    shift = change[:, :3, 3] + matrix @ CENTRE
    return np.sqrt(RADIUS**2 / 5 * (matrix**2).sum(axis=(1, 2)) + (shift**2).sum(axis=1))
