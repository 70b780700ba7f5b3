"""Synthetic heads: nilearn's packaged template, deformed and moved for each participant.

All transforms map points of a participant's head to the template, where values are looked up, so no
deformation has to be inverted. Points are RAS coordinates in mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from nibabel.affines import apply_affine
from nilearn import datasets
from scipy.ndimage import distance_transform_edt, map_coordinates, zoom
from scipy.spatial.transform import Rotation

from brainmass_core.atlas import voronoi_image

FIELD_STEP = 30.0  # mm between the nodes of a random deformation
FIELD_ORIGIN = np.array([-120.0, -150.0, -120.0])
FIELD_NODES = 11
CENTRE = np.array([0.0, -18.0, 6.0])  # centre of the template's brain, in the middle of a scan
BACKGROUND = 0.08  # darker voxels are air and set to zero, as by scanners with a noise filter


@dataclass(frozen=True)
class Maps:
    """Maps of the template head on its 2 mm grid.

    Attributes
    ----------
    t1w, epi : ndarray (x, y, z)
        Contrast of the two modalities, brain and scalp, about 0 to 1.
    parcels : ndarray (x, y, z) of int
        Row of the atlas's label table plus one; 0 outside.
    csf, white_matter : ndarray (x, y, z)
        Fraction of the tissue.
    affine : ndarray (4, 4)
        Voxel to mm.
    """

    t1w: np.ndarray
    epi: np.ndarray
    parcels: np.ndarray
    csf: np.ndarray
    white_matter: np.ndarray
    affine: np.ndarray

    def sample(self, name: str, points: np.ndarray, order: int = 1) -> np.ndarray:
        """A map at points (n, 3) of the template; 0 outside."""
        voxels = apply_affine(np.linalg.inv(self.affine), points)
        return map_coordinates(getattr(self, name), voxels.T, order=order)


@lru_cache(maxsize=1)
def template_maps() -> Maps:
    """Make maps of the template head, with skull and scalp around the packaged brain."""
    template = datasets.load_mni152_template(resolution=2)
    brain = np.asarray(datasets.load_mni152_brain_mask(resolution=2).dataobj) > 0
    grey = datasets.load_mni152_gm_template(resolution=2).get_fdata(dtype=np.float32)
    white = datasets.load_mni152_wm_template(resolution=2).get_fdata(dtype=np.float32)
    csf = np.clip(1 - grey - white, 0, 1) * brain
    outside = distance_transform_edt(~brain, sampling=2.0)  # mm from the brain
    fluid = (outside > 0) & (outside <= 3)
    scalp = (outside > 8) & (outside <= 14)
    t1w = np.where(brain, template.get_fdata(dtype=np.float32), 0.15 * fluid + 0.95 * scalp)
    tissue = 0.85 * grey + 0.70 * white + 1.0 * csf
    epi = np.where(brain, tissue, 0.5 * fluid + 0.12 * scalp)  # fat is suppressed
    parcels = np.asarray(voronoi_image().dataobj)
    return Maps(t1w, epi, parcels, csf, white * brain, template.affine)


@dataclass(frozen=True)
class Head:
    """One participant's anatomy.

    Attributes
    ----------
    affine : ndarray (4, 4)
        Size and shear: head to template, before the deformation.
    field : ndarray (3, x, y, z)
        Deformation in mm on a lattice of `step` mm from `FIELD_ORIGIN`.
    """

    affine: np.ndarray
    field: np.ndarray
    step: float

    def to_template(self, points: np.ndarray) -> np.ndarray:
        """Points of the head (n, 3) to points of the template (n, 3)."""
        lattice = ((points - FIELD_ORIGIN) / self.step).T
        bent = [map_coordinates(f, lattice, order=1, mode="nearest") for f in self.field]
        return apply_affine(self.affine, points) + np.stack(bent, axis=-1)


def random_head(rng: np.random.Generator) -> Head:
    """Draw an individual head: up to 6 % larger or smaller, deformed by 3 mm (RMS), without
    folding."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(rng.uniform(0.94, 1.06, 3)) + rng.normal(0, 0.01, (3, 3))
    nodes = rng.standard_normal((3, FIELD_NODES, FIELD_NODES, FIELD_NODES))
    factor = 5
    field = np.stack([zoom(n, factor, order=3, mode="nearest", grid_mode=False) for n in nodes])
    step = FIELD_STEP * (FIELD_NODES - 1) / (FIELD_NODES * factor - 1)
    return Head(affine, field * (3.0 / field.std() / np.sqrt(3)), step)


def random_pose(rng: np.random.Generator, degrees: float, mm: float) -> np.ndarray:
    """Scanner to head (4, 4): up to `degrees` about each axis and `mm` along it.

    Parameters
    ----------
    degrees, mm : float
        Limits of the uniform distributions.

    Returns
    -------
    ndarray (4, 4)
    """
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-degrees, degrees, 3), True).as_matrix()
    pose[:3, 3] = CENTRE + rng.uniform(-mm, mm, 3)
    return pose


def bias_field(rng: np.random.Generator, shape: tuple[int, ...], strength: float) -> np.ndarray:
    """A smooth receive field around 1, of the given relative standard deviation.

    Parameters
    ----------
    shape : tuple of int (3,)
    strength : float
        Standard deviation of the logarithm of the field.

    Returns
    -------
    ndarray (x, y, z)
    """
    waves = [np.cos(np.pi * np.outer(np.arange(3), (np.arange(n) + 0.5) / n)) for n in shape]
    field = np.einsum("ijk,ix,jy,kz->xyz", rng.standard_normal((3, 3, 3)), *waves, optimize=True)
    return np.exp(strength * (field - field.mean()) / field.std())


def grid_points(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Points (n_voxels, 3) in mm of all voxels of a grid, in C order.

    Parameters
    ----------
    affine : ndarray (4, 4)
        Voxel to mm.

    Returns
    -------
    ndarray (n_voxels, 3)
    """
    return apply_affine(affine, np.indices(shape).reshape(3, -1).T)


def centred_affine(shape: tuple[int, ...], size: float, flip: bool = False) -> np.ndarray:
    """Affine of a grid whose centre lies at the origin; `flip` runs x from right to left.

    Parameters
    ----------
    shape : tuple of int (3,)
    size : float
        Edge of a voxel, mm.

    Returns
    -------
    ndarray (4, 4)
        Voxel to mm.
    """
    affine = np.diag([-size if flip else size, size, size, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def scan_t1w(
    rng: np.random.Generator, head: Head, pose: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """A T1w image of a head.

    Parameters
    ----------
    pose : ndarray (4, 4)
        Scanner to head.
    noise : float
        Standard deviation relative to white matter.

    Returns
    -------
    data : ndarray (100, 118, 96) of int16
    affine : ndarray (4, 4)
    """
    shape = (100, 118, 96)
    affine = centred_affine(shape, 2.0)
    points = head.to_template(apply_affine(pose, grid_points(shape, affine)))
    image = template_maps().sample("t1w", points, order=3).reshape(shape)
    image = np.clip(image, 0, None) * bias_field(rng, shape, 0.1)
    noisy = np.hypot(image + rng.normal(0, noise, shape), rng.normal(0, noise, shape))
    noisy[noisy < BACKGROUND] = 0
    return np.rint(300 * noisy).astype(np.int16), affine
