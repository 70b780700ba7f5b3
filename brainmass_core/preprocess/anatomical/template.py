"""The template: brain, mask and tissue priors on one isotropic grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import binary_fill_holes, gaussian_filter

from brainmass_core.config.preprocess import PACKAGED, Preprocess
from brainmass_core.preprocess.grids import Volume, grown, isotropic_grid, resample
from brainmass_core.readers.files import FileError
from brainmass_core.readers.image import read_image
from brainmass_core.spaces import ICBM_2009A, SpaceError, agreed, choices, space_of_file
from brainmass_core.spaces.bridges import bridge
from brainmass_core.spaces.templateflow import HOME, homes, template_files

MARGIN = 12.0  # mm around the brain
PACKAGED_SPACE = ICBM_2009A  # of nilearn's template, mask and tissue priors
PRIOR_FLOOR = 0.03  # minimum prior of each tissue, because heads differ from the template


class TemplateError(ValueError):
    """A template cannot be used."""


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
        """The mask and its surroundings.

        Parameters
        ----------
        mm : float
            Width of the surroundings.

        Returns
        -------
        ndarray (x, y, z) of bool
        """
        return grown(self.mask, self.brain, mm)


@dataclass(frozen=True)
class Chosen:
    """Files and space of ``preprocess.template`` on this machine.

    Attributes
    ----------
    path, mask : Path or None
        T1w and brain mask; None for the packaged template.
    space : str
        TemplateFlow name.
    """

    path: Path | None
    mask: Path | None
    space: str


def chosen_template(settings: Preprocess) -> Chosen:
    """Files and space of the template of a configuration.

    Raises
    ------
    TemplateError
        If a template is given by name and TemplateFlow's folder does not contain it, or the space
        of a template given by path is unknown.
    """
    if settings.template == PACKAGED:
        return Chosen(None, None, PACKAGED_SPACE)
    if isinstance(settings.template, Path):
        space = space_of_template(settings.template, settings.template_space)
        return Chosen(settings.template, settings.template_mask, space)
    found = template_files(settings.template, settings.resolution, homes())
    if found is None:
        start = f"tpl-{settings.template}/tpl-{settings.template}_res-02_"
        raise TemplateError(
            f"preprocess.template is {settings.template}, but {homes()[0]} contains no "
            f"{start}T1w.nii.gz with {start}desc-brain_mask.nii.gz, nor both with res-01: put "
            f"them there, or set {HOME} to the folder of TemplateFlow, or give the path of the "
            "template as preprocess.template, or use `packaged`, which reaches the atlas by a "
            "bridge"
        )
    return Chosen(*found, settings.template)


def space_of_template(path: Path, given: str | None) -> str:
    """Space of a template given by path.

    Parameters
    ----------
    given : str or None
        ``preprocess.template_space``.

    Raises
    ------
    TemplateError
        If neither that nor the file's name contains it, or they contradict each other.
    """
    try:
        said = {"preprocess.template_space": given, "its name": space_of_file(path)}
        return agreed(said, f"preprocess.template {path}", "name it as preprocess.template_space")
    except SpaceError as error:
        raise TemplateError(str(error)) from None


def template_of(settings: Preprocess) -> Template:
    """The template of a configuration at ``preprocess.resolution``.

    Raises
    ------
    TemplateError
        See `chosen_template` and `load_template`.
    """
    chosen = chosen_template(settings)
    return load_template(chosen.path, chosen.mask, settings.resolution, chosen.space)


@lru_cache(maxsize=1)
def load_template(
    path: Path | None,
    mask_path: Path | None,
    resolution: float,
    space: str | None = None,
) -> Template:
    """Load a template at a resolution.

    Parameters
    ----------
    path : Path or None
        T1w image; None: nilearn's packaged ICBM152 2009a.
    mask_path : Path or None
        Its brain mask; needed with `path`.
    resolution : float
        Edge of the voxels in mm.
    space : str, optional
        Space of the images, to which a bridge transforms the packaged tissue priors; needed with
        `path`.

    Raises
    ------
    TemplateError
        If mask or space is missing, the mask does not overlap, an image cannot be read, or there
        is no bridge to the priors.
    """
    if path is not None and space is None:
        raise TemplateError(f"{path}: its space is not known; say which: {choices()}")
    if path is None:
        head, brain = _packaged("load_mni152_template"), _packaged("load_mni152_brain_mask")
    elif mask_path is None:
        raise TemplateError(
            f"preprocess.template is {path}, but there is no preprocess.template_mask; give the "
            "brain mask of the template, or remove both for the packaged template"
        )
    else:
        head, brain = _read(path), _read(mask_path)
    grid = _grid_around(brain, resolution)
    mask = binary_fill_holes(resample(brain, *grid).data > 0.5)  # FSL's mask has holes
    inside = resample(head, *grid).data
    if not mask.any() or np.ptp(inside[mask]) == 0:
        raise TemplateError(
            f"preprocess.template {path}: found no image inside its mask {mask_path}, expected "
            "two images of one head in the same space"
        )
    return Template(
        Volume(np.where(mask, inside, 0), grid[1]),
        mask,
        _priors(grid, mask, space or PACKAGED_SPACE),
    )


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


def _priors(
    grid: tuple[tuple[int, int, int], np.ndarray], mask: np.ndarray, space: str
) -> np.ndarray:
    """The packaged priors, transformed to the space of the template and smoothed."""
    maps = [_packaged(load) for load in ("load_mni152_gm_template", "load_mni152_wm_template")]
    if space == PACKAGED_SPACE:
        grey, white = (resample(tissue, *grid).data for tissue in maps)
    else:
        try:
            lead = bridge(space, PACKAGED_SPACE)
        except SpaceError as error:
            raise TemplateError(f"preprocess.template: {error}") from None
        points = lead(Volume(mask, grid[1]).points())
        fine = [resample(m, *isotropic_grid(m.data.shape, m.affine, _edge(grid))) for m in maps]
        grey, white = (tissue.at(points).reshape(mask.shape) for tissue in fine)
    fluid = np.clip(1 - grey - white, 0, 1)
    priors = np.stack([fluid, grey, white], axis=-1)
    sigma = 1.5 / np.diag(grid[1])[:3]
    priors = np.stack([gaussian_filter(priors[..., k], sigma) for k in range(3)], axis=-1)
    priors = np.maximum(priors, PRIOR_FLOOR)
    return (priors / priors.sum(axis=-1, keepdims=True) * mask[..., None]).astype(np.float32)


def _edge(grid: tuple[tuple[int, int, int], np.ndarray]) -> float:
    """Voxel edge of an isotropic grid, mm."""
    return float(grid[1][0, 0])


def _packaged(load: str) -> Volume:
    """An image of nilearn by the name of its loader, imported late because it takes a second."""
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
