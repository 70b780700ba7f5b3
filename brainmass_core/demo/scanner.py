"""A synthetic EPI run: head motion, slice timing, drift, physiology, spikes and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine
from scipy.ndimage import gaussian_filter, map_coordinates, spline_filter, uniform_filter
from scipy.spatial.transform import Rotation

from brainmass_core.demo.dynamics import at_times, low_frequency
from brainmass_core.demo.head import (
    BACKGROUND,
    Head,
    bias_field,
    centred_affine,
    grid_points,
    template_maps,
)

FIELD_OF_VIEW = (184.0, 224.0, 168.0)  # mm
FINE = 2.0  # mm; grid of the head at rest, from which every volume is sampled
AMPLITUDE = 0.02  # BOLD fluctuation relative to the grey-matter level
LEVEL = 100.0  # grey level of bright tissue, low to keep the compressed files small
SUBVOXELS = np.array(np.meshgrid(*[[-0.25, 0.25]] * 3)).reshape(3, -1).T


@dataclass(frozen=True)
class Rest:
    """The head at rest in the scanner, on a fine grid.

    Attributes
    ----------
    level : ndarray (x, y, z)
        Spline coefficients of the intensity, averaged over a voxel.
    weight : ndarray (x, y, z)
        Intensity of the grey matter inside parcels.
    parcels : ndarray (x, y, z) of int
        0 outside.
    csf, white_matter : ndarray (x, y, z)
    to_voxel : ndarray (4, 4)
        mm to voxels of this grid.
    voxel_size : float
        Edge of the recorded voxels in mm.
    """

    level: np.ndarray
    weight: np.ndarray
    parcels: np.ndarray
    csf: np.ndarray
    white_matter: np.ndarray
    to_voxel: np.ndarray
    voxel_size: float

    def nearest(self, voxels: np.ndarray) -> tuple[np.ndarray, ...]:
        """Nearest indices of the fine grid to `voxels` (n, 3); border indices for points
        outside."""
        indices = (voxels + 0.5).astype(np.int32)
        return tuple(np.minimum(np.maximum(indices, 0), np.array(self.level.shape) - 1).T)


def head_at_rest(rng: np.random.Generator, head: Head, pose: np.ndarray, voxel_size: float) -> Rest:
    """Sample the head from the template once; `pose` is scanner to head.

    Parameters
    ----------
    pose : ndarray (4, 4)
    voxel_size : float
        Edge of the voxels to be acquired, mm; the head is blurred by their width.
    """
    shape = tuple(int(f / FINE) + 12 for f in FIELD_OF_VIEW)  # a margin for head motion
    affine = centred_affine(shape, FINE)
    points = head.to_template(apply_affine(pose, grid_points(shape, affine)))
    maps = template_maps()
    epi = maps.sample("epi", points).reshape(shape) * bias_field(rng, shape, 0.08)
    parcels = maps.sample("parcels", points, order=0).reshape(shape)
    csf = maps.sample("csf", points).reshape(shape)
    white = maps.sample("white_matter", points).reshape(shape)
    # width of a voxel; a box with an even number of points would shift the head by half a point
    blurred = gaussian_filter(epi, voxel_size / FINE / np.sqrt(12))
    return Rest(
        level=spline_filter(blurred, order=3),
        # the packaged grey-matter mask is generous, so activity is weighted by grey matter
        weight=epi * (parcels > 0) * np.clip(1 - csf - white, 0, 1),
        parcels=parcels,
        csf=csf,
        white_matter=white,
        to_voxel=np.linalg.inv(affine),
        voxel_size=voxel_size,
    )


def random_motion(rng: np.random.Generator, n_volumes: int, mean_fd: float) -> np.ndarray:
    """Slow drift of the head with a few sudden movements.

    Parameters
    ----------
    mean_fd : float
        Mean framewise displacement in mm (Power: 50 mm sphere) of the result.

    Returns
    -------
    ndarray (n_volumes, 6)
        Translations in mm and rotations in rad about x, y, z.
    """
    walk = np.cumsum(rng.standard_normal((n_volumes, 6)) * 0.25, axis=0)
    walk -= np.linspace(0, 1, n_volumes)[:, None] * walk[-1] * 0.7
    for start in rng.integers(5, n_volumes - 5, max(2, n_volumes // 40)):
        walk[start : start + rng.integers(2, 5)] += rng.normal(0, 2.0, 6)
    walk[:, 3:] /= 50.0
    walk -= walk[0]
    return walk * (mean_fd / framewise_displacement(walk).mean())


def framewise_displacement(motion: np.ndarray) -> np.ndarray:
    """Framewise displacement of Power 2012, rotations measured on a sphere of 50 mm.

    Parameters
    ----------
    motion : ndarray (n_volumes, 6)
        Three translations (mm) and three rotations (rad).

    Returns
    -------
    ndarray (n_volumes - 1,)
        mm.
    """
    steps = np.abs(np.diff(motion, axis=0))
    return steps[:, :3].sum(axis=1) + 50.0 * steps[:, 3:].sum(axis=1)


def rigid(parameters: np.ndarray) -> np.ndarray:
    """Rigid transform (4, 4) of three translations (mm) and rotations (rad) about the origin.

    Parameters
    ----------
    parameters : ndarray (6,)
        Three translations, then three extrinsic Euler angles.

    Returns
    -------
    ndarray (4, 4)
    """
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", parameters[3:]).as_matrix()
    matrix[:3, 3] = parameters[:3]
    return matrix


def interleaved_slice_timing(n_slices: int, t_r: float, odd_first: bool) -> np.ndarray:
    """Start of every slice in seconds (n_slices,), every other slice first.

    Parameters
    ----------
    t_r : float
        s.
    odd_first : bool
        Whether slices 1, 3, ... precede slices 0, 2, ...

    Returns
    -------
    ndarray (n_slices,)
        s.
    """
    first, second = (1, 0) if odd_first else (0, 1)
    order = np.r_[np.arange(first, n_slices, 2), np.arange(second, n_slices, 2)]
    times = np.empty(n_slices)
    times[order] = np.arange(n_slices) * t_r / n_slices
    return times


def scan_bold(
    rng: np.random.Generator,
    rest: Rest,
    signals: np.ndarray,
    motion: np.ndarray,
    slice_times: np.ndarray,
    t_r: float,
    noise: float,
    flip: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Record an EPI run.

    Parameters
    ----------
    signals : ndarray (n_samples, n_rois)
        Parcel activity in continuous time, see `dynamics.parcel_signals`.
    motion : ndarray (n_volumes, 6)
        Motion from points of the scanner to points of the resting head, see `rigid`.
    slice_times : ndarray (n_slices,)
        Seconds from the start of each volume.
    noise : float
        Standard deviation relative to bright tissue.
    flip : bool
        Store x from right to left.

    Returns
    -------
    data : ndarray (x, y, z, n_volumes) of int16
    affine : ndarray (4, 4)
    """
    shape = bold_shape(rest.voxel_size)
    affine = centred_affine(shape, rest.voxel_size, flip)
    points = grid_points(shape, affine)
    slices = np.tile(np.arange(shape[2]), shape[0] * shape[1])
    head = _near(rest, np.abs(rest.level) > 0.02, points)
    points, slices = points[head], slices[head]
    grey = _near(rest, rest.parcels > 0, points)
    duration = len(motion) * t_r
    physiology = _Physiology(rng, duration)
    data = np.empty((*shape, len(motion)), dtype=np.int16)
    for t, parameters in enumerate(motion):
        times = t * t_r + slice_times
        voxels = apply_affine(rest.to_voxel @ rigid(parameters), points)
        volume = _anatomy(rest, voxels, slices, physiology, times)
        volume[grey] += _bold(rest, voxels[grey], slices[grey], at_times(signals, times))
        frame = np.zeros(len(head))
        frame[head] = volume * physiology.gain(t, len(motion))
        frame = np.hypot(frame + rng.normal(0, noise, len(head)), rng.normal(0, noise, len(head)))
        frame[frame < BACKGROUND] = 0
        data[..., t] = np.rint(LEVEL * frame).reshape(shape)
    return data, affine


def bold_shape(voxel_size: float) -> tuple[int, int, int]:
    """Matrix size of the EPI run."""
    x, y, z = (int(f / voxel_size) for f in FIELD_OF_VIEW)
    return x, y, z


class _Physiology:
    """Non-neural signals: scanner drift and spikes, breathing in CSF, slow white-matter signal."""

    def __init__(self, rng: np.random.Generator, duration: float) -> None:
        n = int(duration / 0.25) + 8
        self.slow = low_frequency(rng, n, 2)
        self.breathing, self.phase = rng.uniform(0.22, 0.32), rng.uniform(0, 2 * np.pi)
        self.drift = rng.normal(0, 0.01, 2)
        self.spikes = rng.uniform(size=int(duration)) < 0.01
        self.heights = rng.normal(0, 0.02, int(duration))

    def gain(self, t: int, n_volumes: int) -> float:
        """Scanner drift and spikes of volume `t`."""
        x = 2 * t / n_volumes - 1
        drift = self.drift[0] * x + self.drift[1] * (x**2 - 1 / 3)
        return 1 + drift + self.spikes[t % len(self.spikes)] * self.heights[t % len(self.heights)]

    def tissue(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Relative change of fluid and white matter at `times`."""
        slow = at_times(self.slow, times)
        breath = np.sin(2 * np.pi * self.breathing * times + self.phase)
        return 0.04 * slow[..., 0] + 0.03 * breath, 0.012 * slow[..., 1]


def _anatomy(
    rest: Rest, voxels: np.ndarray, slices: np.ndarray, physiology: _Physiology, times: np.ndarray
) -> np.ndarray:
    """Intensity (n_voxels,) without neural activity, each slice at its own time.

    `voxels` (n_voxels, 3) are coordinates of the fine grid.
    """
    level = map_coordinates(rest.level, voxels.T, order=3, prefilter=False)
    nearest = rest.nearest(voxels)
    fluid, white = (change[slices] for change in physiology.tissue(times))
    return level * (1 + rest.csf[nearest] * fluid + rest.white_matter[nearest] * white)


def _bold(rest: Rest, voxels: np.ndarray, slices: np.ndarray, activity: np.ndarray) -> np.ndarray:
    """Contribution of neural activity (n_slices, n_rois) to the intensity (n_voxels,)."""
    bold = np.zeros(len(voxels))
    padded = np.column_stack([np.zeros(len(activity)), activity])
    for offset in SUBVOXELS * (rest.voxel_size / FINE):  # parcel borders cross voxels
        inside = rest.nearest(voxels + offset)
        bold += rest.weight[inside] * padded[slices, rest.parcels[inside]]
    return AMPLITUDE * bold / len(SUBVOXELS)


def _near(rest: Rest, mask: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Whether points (n,) are near a mask of the fine grid in any volume."""
    size = int(2 * rest.voxel_size / FINE)
    occupied = uniform_filter(mask.astype(np.float32), size) > 1e-4
    return occupied[rest.nearest(apply_affine(rest.to_voxel, points))]
