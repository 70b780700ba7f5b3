"""The template: brain, mask and tissue priors on one isotropic grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation, binary_fill_holes, gaussian_filter

from brainmass_core.preprocess.grids import Volume, isotropic_grid, resample
from brainmass_core.readers.files import FileError
from brainmass_core.readers.image import read_image

MARGIN = 12.0  # mm of space kept around the brain
PRIOR_FLOOR = 0.03  # no tissue is impossible anywhere: heads differ from the template


class TemplateError(ValueError):
    """A template that cannot be used."""


@dataclass(frozen=True)
class Template:
    """Brain of the template, without skull.

    Attributes
    ----------
    brain : Volume (x, y, z)
        T1w intensity inside the mask, 0 outside.
    mask : ndarray (x, y, z) of bool
    priors : ndarray (x, y, z, 3)
        Probability of CSF, grey and white matter; sums to 1 inside the mask.
    """

    brain: Volume
    mask: np.ndarray
    priors: np.ndarray

    def near_brain(self, mm: float) -> np.ndarray:
        """The mask (x, y, z) grown by `mm`."""
        steps = max(1, round(mm / float(self.brain.voxel_size[0])))
        return binary_dilation(self.mask, iterations=steps)


@lru_cache(maxsize=1)
def load_template(path: Path | None, mask_path: Path | None, resolution: float) -> Template:
    """Load a template at a resolution.

    Parameters
    ----------
    path : Path or None
        T1w image in MNI152 space; None takes nilearn's packaged ICBM152 2009a.
    mask_path : Path or None
        Its brain mask; needed with `path`.
    resolution : float
        Edge of the voxels in mm.

    Raises
    ------
    TemplateError
        If the mask is missing or does not overlap, or an image cannot be read.
    """
    if path is None:
        head, brain = _packaged("load_mni152_template"), _packaged("load_mni152_brain_mask")
    elif mask_path is None:
        raise TemplateError(
            f"preprocess.template is {path}, but there is no preprocess.template_mask; give the "
            "brain mask of the template, or leave both out for the packaged template"
        )
    else:
        head, brain = _read(path), _read(mask_path)
    grid = _grid_around(brain, resolution)
    mask = binary_fill_holes(resample(brain, *grid).data > 0.5)  # FSL's has holes
    inside = resample(head, *grid).data
    if not mask.any() or np.ptp(inside[mask]) == 0:
        raise TemplateError(
            f"preprocess.template {path}: found no image inside its mask {mask_path}, expected "
            "two images of one head in the same space"
        )
    return Template(Volume(np.where(mask, inside, 0), grid[1]), mask, _priors(grid, mask))


def _grid_around(brain: Volume, resolution: float) -> tuple[tuple[int, int, int], np.ndarray]:
    occupied = np.argwhere(brain.data > 0.5)
    if not len(occupied):
        raise TemplateError("preprocess.template_mask is empty, expected 1 inside the brain")
    low, high = occupied.min(axis=0), occupied.max(axis=0) + 1
    extra = MARGIN / brain.voxel_size
    affine = brain.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (low - extra)
    shape = tuple(int(n) for n in np.ceil(high - low + 2 * extra))
    return isotropic_grid(shape, affine, resolution)


def _priors(grid: tuple[tuple[int, int, int], np.ndarray], mask: np.ndarray) -> np.ndarray:
    """The packaged priors, in MNI152 space, smoothed because templates differ by millimetres."""
    grey, white = (
        resample(_packaged(load), *grid).data
        for load in ("load_mni152_gm_template", "load_mni152_wm_template")
    )
    fluid = np.clip(1 - grey - white, 0, 1)
    priors = np.stack([fluid, grey, white], axis=-1)
    sigma = 1.5 / np.diag(grid[1])[:3]
    priors = np.stack([gaussian_filter(priors[..., k], sigma) for k in range(3)], axis=-1)
    priors = np.maximum(priors, PRIOR_FLOOR)
    return (priors / priors.sum(axis=-1, keepdims=True) * mask[..., None]).astype(np.float32)


def _packaged(load: str) -> Volume:
    """An image of nilearn's, by the name of its loader; importing them takes a second."""
    from nilearn import datasets

    image: Any = getattr(datasets, load)(resolution=1)
    return Volume(np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine))


def _read(path: Path) -> Volume:
    try:
        stored, affine = read_image(path)
    except FileError as error:
        raise TemplateError(str(error)) from None
    data = np.asarray(stored, dtype=np.float32)
    if data.ndim != 3:
        raise TemplateError(f"{path}: found shape {data.shape}, expected 3 dimensions")
    return Volume(np.nan_to_num(data), affine)
