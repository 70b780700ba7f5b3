"""A head with known truth: the packaged template, bent, moved and scanned, for these tests only.

`HEAD` maps T1w points to template points, from which images are sampled, so truth needs no
inversion.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from nilearn import datasets
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates, spline_filter
from scipy.spatial.transform import Rotation

T_R = 2.0
T1W_TO_BOLD_WORLD = np.eye(4)  # position of a T1w point in the scanner during the BOLD run
T1W_TO_BOLD_WORLD[:3, :3] = Rotation.from_euler("xyz", [4, -3, 5], degrees=True).as_matrix()
T1W_TO_BOLD_WORLD[:3, 3] = [5.0, -12.0, 25.0]


@dataclass(frozen=True)
class Maps:
    """Template maps on a 2 mm grid, as spline coefficients."""

    t1w: np.ndarray
    epi: np.ndarray
    brain: np.ndarray
    white: np.ndarray
    to_voxel: np.ndarray


@lru_cache(maxsize=1)
def maps() -> Maps:
    template = datasets.load_mni152_template(resolution=2)
    brain = np.asarray(datasets.load_mni152_brain_mask(resolution=2).dataobj) > 0
    grey = datasets.load_mni152_gm_template(resolution=2).get_fdata()
    white = datasets.load_mni152_wm_template(resolution=2).get_fdata()
    fluid = np.clip(1 - grey - white, 0, 1) * brain
    outside = distance_transform_edt(~brain, sampling=2.0)
    scalp = (outside > 7) & (outside < 13)
    t1w = template.get_fdata() * brain + 0.9 * scalp
    epi = (1.0 * grey + 0.8 * white + 1.25 * fluid) * brain + 0.15 * scalp
    epi = gaussian_filter(epi, 0.85)  # a voxel of 4 mm averages its content
    return Maps(
        *(spline_filter(x.astype(np.float64), order=3) for x in (t1w, epi)),
        brain.astype(np.float64),
        white,
        np.linalg.inv(template.affine),
    )


def sample(volume: np.ndarray, points: np.ndarray, order: int = 3) -> np.ndarray:
    voxels = apply_affine(maps().to_voxel, points).T
    return map_coordinates(volume, voxels, order=order, prefilter=False)


def t1w_to_template(points: np.ndarray) -> np.ndarray:
    """The head: slightly larger, tilted, and bent by a few millimetres."""
    matrix = Rotation.from_euler("xyz", [6, 2, -4], degrees=True).as_matrix() @ np.diag(
        [1.04, 0.95, 1.03]
    )
    moved = points @ matrix.T + [3.0, -22.0, 15.0]
    bend = [
        2.5 * np.sin(points[:, 1] / 28.0) * np.cos(points[:, 2] / 35.0),
        2.5 * np.sin(points[:, 2] / 30.0 + 1) * np.cos(points[:, 0] / 33.0),
        2.5 * np.cos(points[:, 0] / 27.0) * np.sin(points[:, 1] / 36.0 + 2),
    ]
    return moved + np.stack(bend, axis=1)


def centred(shape: tuple[int, ...], size: float) -> np.ndarray:
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = -size * (np.array(shape) - 1) / 2
    return affine


def grid(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    return apply_affine(affine, np.indices(shape).reshape(3, -1).T)


@lru_cache(maxsize=1)
def t1w() -> nib.Nifti1Image:
    shape, rng = (66, 80, 66), np.random.default_rng(1)
    affine = centred(shape, 3.0)
    points = grid(shape, affine)
    data = np.clip(sample(maps().t1w, t1w_to_template(points)), 0, None)
    data *= 1 + 0.002 * points[:, 0] + 0.001 * points[:, 1]  # receive field
    data = np.abs(data + rng.normal(0, 0.02, data.shape)).reshape(shape)
    return image(np.rint(400 * data).astype(np.int16), affine)


BOLD_SHAPE = (48, 58, 42)
BOLD_AFFINE = np.array([[-4.0, 0, 0, 99], [0, 4, 0, -126], [0, 0, 4, -56], [0, 0, 0, 1]])


def rigid(parameters: np.ndarray) -> np.ndarray:
    """mm and degrees about the centre of the BOLD grid."""
    centre = apply_affine(BOLD_AFFINE, (np.array(BOLD_SHAPE) - 1) / 2)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", parameters[3:], degrees=True).as_matrix()
    matrix[:3, 3] = parameters[:3] + centre - matrix[:3, :3] @ centre
    return matrix


def bold(motion: np.ndarray, noise: float = 0.01, seed: int = 2) -> np.ndarray:
    """A run; `motion` (n_volumes, 4, 4) maps the head at rest to the scanner of each volume."""
    rng = np.random.default_rng(seed)
    points = grid(BOLD_SHAPE, BOLD_AFFINE)
    to_t1w = np.linalg.inv(T1W_TO_BOLD_WORLD)
    run = np.empty((*BOLD_SHAPE, len(motion)), dtype=np.float32)
    slow = np.cumsum(rng.normal(0, 0.003, len(motion)))
    for t, moved in enumerate(motion):
        rest = apply_affine(to_t1w @ np.linalg.inv(moved), points)
        values = np.clip(sample(maps().epi, t1w_to_template(rest)), 0, None) * (1 + slow[t])
        values = np.abs(values + rng.normal(0, noise, values.shape))
        run[..., t] = np.rint(1000 * values).reshape(BOLD_SHAPE)
    return run


def slow_motion(n_volumes: int, size: float = 0.05, seed: int = 3) -> np.ndarray:
    """Motion (n_volumes, 4, 4) that starts and wanders near rest."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(0, size, (n_volumes, 6)), axis=0)
    return np.array([rigid(p - walk.mean(axis=0)) for p in walk])


def image(data: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    out = nib.Nifti1Image(data, affine)
    out.header.set_xyzt_units("mm", "sec")
    return out


def save(path: Path, made: nib.Nifti1Image, sidecar: dict | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if made.ndim == 4:
        made.header.set_zooms((*made.header.get_zooms()[:3], T_R))
    path.write_bytes(gzip.compress(made.to_bytes(), 1, mtime=0))
    if sidecar is not None:
        json_path = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
        json_path.write_text(json.dumps(sidecar))
    return path


def rms(transform: np.ndarray, centre: tuple[float, ...] = (0, 0, 20)) -> float:
    """RMS displacement (mm) of points 45 mm around the head's centre."""
    corners = np.array(np.meshgrid(*[[-45, 45]] * 3)).reshape(3, -1).T + centre
    moved = apply_affine(transform, corners) - corners
    return float(np.sqrt((moved**2).sum(axis=1).mean()))
