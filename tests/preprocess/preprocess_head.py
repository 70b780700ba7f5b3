"""A whole head at 1 mm with known truth: the packaged template, bent, with skull, scalp and neck.

`Head.t1w_to_template` maps points of the T1w to the template, so that truth needs no inversion. The
affine and the field are random but fixed by the seed. `benchmarks/anatomy.py` uses it, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from nilearn import datasets
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates, spline_filter
from scipy.spatial.transform import Rotation

FIELD_RMS = 3.1  # mm
FIELD_SIGMA = 16.0  # mm; smoothness of the field
NODE = 8.0  # mm between its nodes
CENTRE = np.array([0.0, -18.0, 10.0])  # of the template's brain, mm
LOW, HIGH = np.array([-98.0, -130.0, -130.0]), np.array([98.0, 112.0, 112.0])  # field of view, mm
NOISE = 0.03  # standard deviation in both channels; white matter has 0.9
BIAS = 0.2  # standard deviation of the receive field's logarithm


@dataclass(frozen=True)
class Maps:
    """The template at 1 mm with a head around it; t1w as spline coefficients."""

    t1w: np.ndarray
    brain: np.ndarray
    grey: np.ndarray
    white: np.ndarray
    to_voxel: np.ndarray


@lru_cache(maxsize=1)
def maps() -> Maps:
    """The template's head: brain, fluid, bone with marrow, scalp, muscles of the neck, a face."""
    image = datasets.load_mni152_template(resolution=1)
    pad = ((12, 12), (12, 12), (60, 12))
    inside = np.asarray(datasets.load_mni152_brain_mask(resolution=1).dataobj) > 0
    brain = np.pad(image.get_fdata(dtype=np.float32) * inside, pad)
    mask = np.pad(inside, pad)
    grey, white = (
        np.pad(load(resolution=1).get_fdata(dtype=np.float32), pad)
        for load in (datasets.load_mni152_gm_template, datasets.load_mni152_wm_template)
    )
    affine = image.affine.copy()
    affine[:3, 3] -= [12, 12, 60]
    return Maps(
        spline_filter(np.where(mask, brain, _around(mask, affine)), order=3, output=np.float32),
        mask.astype(np.float32),
        grey,
        white,
        np.linalg.inv(affine),
    )


def _around(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Everything but the brain, by its distance (mm) from the brain."""
    rng = np.random.default_rng(11)
    uneven = gaussian_filter(rng.standard_normal(mask.shape).astype(np.float32), 6)
    uneven /= uneven.std()
    far = distance_transform_edt(~mask) + uneven  # the thickness of layers varies
    axes = [affine[a, a] * np.arange(n) + affine[a, 3] for a, n in enumerate(mask.shape)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)  # the template's grid is upright
    texture = gaussian_filter(rng.standard_normal(mask.shape).astype(np.float32), 2)
    muscle = 0.5 + 0.1 * texture / texture.std()
    head = np.zeros(mask.shape, np.float32)
    neck = ((x / 62) ** 2 + ((y + 30) / 68) ** 2 < 1) & (z < -40)
    face = ((x / 60) ** 2 + ((y - 45) / 45) ** 2 < 1) & (z < -28)
    head[neck | face] = muscle[neck | face]
    head[((x / 14) ** 2 + ((y + 5) / 10) ** 2 < 1) & (z < -55)] = 0.02  # airway
    layers = [(14, 0.95), (9, 0.06), (7, 0.55), (5, 0.06), (3, 0.4), (2.2, 0.22)]
    for limit, level in layers:  # scalp, bone, marrow, bone, dura, fluid
        head[far < limit] = level
    return gaussian_filter(head, 0.6)


def _bend(coefficients: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Displacement (n, 3) in mm at points (n, 3)."""
    nodes = ((points - LOW + 40) / NODE).T
    layers = [map_coordinates(f, nodes, order=3, prefilter=False) for f in coefficients]
    return np.stack(layers, axis=1)


@dataclass(frozen=True)
class Head:
    """One person.

    Attributes
    ----------
    seed : int
    tilt : tuple of float
        Further rotation about x, y, z in degrees.
    shift : tuple of float
        Further translation in mm.
    """

    seed: int
    tilt: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @cached_property
    def matrix(self) -> np.ndarray:
        """T1w to template (4, 4), the linear part."""
        rng = np.random.default_rng([self.seed, 1])
        turn = Rotation.from_euler("xyz", rng.uniform(-8, 8, 3), degrees=True).as_matrix()
        size = np.diag(1 + rng.uniform(-0.06, 0.06, 3)) + np.triu(
            rng.uniform(-0.03, 0.03, (3, 3)), 1
        )
        extra = Rotation.from_euler("xyz", self.tilt, degrees=True).as_matrix()
        linear = size @ turn @ extra.T
        matrix = np.eye(4)
        matrix[:3, :3] = linear
        matrix[:3, 3] = CENTRE + rng.uniform(-12, 12, 3) - linear @ (CENTRE + self.shift)
        return matrix

    @cached_property
    def _field(self) -> np.ndarray:
        """Spline coefficients (3, nx, ny, nz) of the bend, mm."""
        rng = np.random.default_rng([self.seed, 2])
        shape = tuple(int(n) for n in (HIGH - LOW + 80) / NODE)
        field = rng.standard_normal((3, *shape))
        field = np.stack([gaussian_filter(f, FIELD_SIGMA / NODE) for f in field])
        coefficients = np.stack([spline_filter(f, order=3) for f in field])
        bend = _bend(coefficients, template_points(8))
        return coefficients * FIELD_RMS / np.sqrt((bend**2).sum(axis=1).mean())

    def t1w_to_template(self, points: np.ndarray) -> np.ndarray:
        """Map points (n, 3) of the T1w to the template, mm."""
        linear = apply_affine(self.matrix, points)
        return linear + _bend(self._field, linear)

    def sample(self, volume: np.ndarray, points: np.ndarray, order: int = 1) -> np.ndarray:
        """A map of the template at points (n, 3) of the T1w."""
        voxels = apply_affine(maps().to_voxel, self.t1w_to_template(points)).T
        return map_coordinates(volume, voxels.astype(np.float32), order=order, prefilter=False)

    def t1w(
        self,
        size: float | tuple[float, float, float] = 1.0,
        bias: float = BIAS,
        noise: float = NOISE,
    ) -> nib.Nifti1Image:
        """The scan, int16, voxels of `size` mm."""
        rng = np.random.default_rng([self.seed, 3])
        affine = np.diag([*np.broadcast_to(size, 3), 1.0])
        affine[:3, 3] = LOW + self.shift
        shape = tuple(int(n) for n in (HIGH - LOW) / np.diag(affine)[:3])
        coil = gaussian_filter(rng.standard_normal((12, 15, 15)), 3)  # 17 mm nodes
        coil = spline_filter((coil - coil.mean()) / coil.std(), order=3)
        data = np.empty(shape, dtype=np.int16)
        for k in range(shape[2]):  # slice by slice: points of a whole head fill 300 MB
            voxels = np.indices((*shape[:2], 1)).reshape(3, -1).T
            voxels[:, 2] = k
            points = apply_affine(affine, voxels)
            at = (points - affine[:3, 3]) / (HIGH - LOW) * (np.array(coil.shape) - 1)
            received = np.exp(bias * map_coordinates(coil, at.T, order=3, prefilter=False))
            signal = np.clip(self.sample(maps().t1w, points, 3), 0, None) * received
            real, imaginary = rng.normal(0, noise, (2, len(signal)))
            values = 800 * np.hypot(signal + real, imaginary)
            data[..., k] = np.rint(values).reshape(shape[:2]).astype(np.int16)
        image = nib.Nifti1Image(data, affine)
        image.header.set_xyzt_units("mm", "sec")
        return image


def template_points(step: int = 2) -> np.ndarray:
    """Points (n, 3) of the template's brain, mm, one in `step` voxels along each axis."""
    image = datasets.load_mni152_brain_mask(resolution=1)
    mask = np.asarray(image.dataobj) > 0
    voxels = np.argwhere(mask)
    return apply_affine(image.affine, voxels[(voxels % step == 0).all(axis=1)])


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two masks."""
    return float(2 * (a & b).sum() / max(a.sum() + b.sum(), 1))
