"""Masks of brain, white matter and CSF in the BOLD."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from scipy.ndimage import distance_transform_edt, gaussian_filter

from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.anatomical.segmentation import FLUID, WHITE
from brainmass_core.preprocess.anatomical.template import Template
from brainmass_core.preprocess.grids import FWHM, Volume
from brainmass_core.preprocess.transforms import Distortion, ScanTransforms

DEEP = 3.0  # mm from other tissue: white matter without partial volume of cortex in BOLD voxels
# minimum fraction of a BOLD voxel in the tissue; the strictest that gives enough voxels is used
SHARES = (0.95, 0.8, 0.5, 0.2)
ENOUGH = 30  # voxels
FEWEST = 5  # voxels
LEAST_BRAIN = 1e5  # mm³


def epi_brain(boldref: Volume, path: str) -> np.ndarray:
    """Brain mask of a reference volume, from its intensities.

    Parameters
    ----------
    boldref : Volume (x, y, z)
    path : str
        Of the run, for the message.

    Returns
    -------
    ndarray (x, y, z) of bool

    Raises
    ------
    ScanFailed
        If there is no contrast between brain and air, or less than `LEAST_BRAIN` of brain.
    """
    image = nib.Nifti1Image(boldref.data.astype(np.float32), boldref.affine)
    try:
        from nilearn.masking import compute_epi_mask

        mask = np.asarray(compute_epi_mask(image, verbose=0).dataobj) > 0
    except (ValueError, IndexError) as error:
        mask, reason = np.zeros(boldref.data.shape, dtype=bool), f" ({error})"
    else:
        reason = ""
    volume = mask.sum() * abs(np.linalg.det(boldref.affine[:3, :3]))
    if volume < LEAST_BRAIN:
        raise ScanFailed(
            f"{path}: found {volume / 1e3:.0f} ml of brain in the mean volume{reason}, expected "
            f"more than {LEAST_BRAIN / 1e3:.0f} ml",
            "epi_mask",
            "check the run: is it a BOLD run with the complete brain, skull-stripped or not?",
        )
    return mask


def share_in_bold(
    t1w: Volume,
    region: np.ndarray,
    boldref: Volume,
    t1w_to_boldref: np.ndarray,
    distortion: Distortion | None = None,
) -> np.ndarray:
    """Fraction of each BOLD voxel in a region of the T1w.

    Parameters
    ----------
    region : ndarray (x, y, z) of bool
        On the grid of `t1w`.
    t1w_to_boldref : ndarray (4, 4)
        To the undistorted reference, if `distortion` is given; mm to mm.

    Returns
    -------
    ndarray (x, y, z), in [0, 1]
        On the grid of `boldref`. The region is smoothed to the size of the BOLD voxels, so this
        is a Gaussian-weighted fraction.
    """
    sigma = np.sqrt(np.maximum((boldref.voxel_size / t1w.voxel_size) ** 2 - 1, 0)) / FWHM
    smooth = gaussian_filter(region.astype(np.float32), sigma, mode="constant")
    points = boldref.points()
    if distortion is not None:
        points = distortion.to_undistorted(points)
    points = apply_affine(np.linalg.inv(t1w_to_boldref), points)
    return t1w.with_data(smooth).at(points).reshape(boldref.data.shape)


def bold_brain(
    epi: np.ndarray,
    t1w: Volume,
    tissue: np.ndarray,
    boldref: Volume,
    t1w_to_boldref: np.ndarray,
    distortion: Distortion | None = None,
) -> np.ndarray:
    """Voxels (x, y, z) that are brain in both BOLD and T1w.

    Parameters
    ----------
    epi : ndarray (x, y, z) of bool
        Brain in the EPI, on the grid of `boldref`.
    tissue : ndarray (x, y, z)
        Labels on the grid of `t1w`; 0 is no brain.
    t1w_to_boldref : ndarray (4, 4)
        mm.

    Returns
    -------
    ndarray (x, y, z) of bool
        On the grid of `boldref`.
    """
    share = share_in_bold(t1w, tissue > 0, boldref, t1w_to_boldref, distortion)
    return epi & (share > 0.5)


def noise_regions(
    t1w: Volume,
    tissue: np.ndarray,
    boldref: Volume,
    t1w_to_boldref: np.ndarray,
    brain: np.ndarray,
    path: str,
    distortion: Distortion | None = None,
) -> dict[str, np.ndarray]:
    """BOLD voxels without cortex.

    White matter is eroded by `DEEP`. CSF excludes the brain's surface, which leaves ventricles and
    cisterns; both only include voxels that are almost completely in the tissue.

    Parameters
    ----------
    tissue : ndarray (x, y, z) of int
        Labels on the grid of `t1w`.
    t1w_to_boldref : ndarray (4, 4)
        To the undistorted reference, if `distortion` is given; mm to mm.
    brain : ndarray (x, y, z) of bool
        On the grid of `boldref`; voxels outside are not used.

    Returns
    -------
    dict of ndarray (x, y, z) of bool
        ``csf`` and ``white_matter``, on the grid of `boldref`.

    Raises
    ------
    ScanFailed
        If there are fewer than `FEWEST` voxels of one of them in the BOLD.
    """
    size = t1w.voxel_size
    white = tissue == WHITE
    deep = distance_transform_edt(white, sampling=size) > DEEP
    inside = distance_transform_edt(tissue > 0, sampling=size) > 2 * DEEP
    fluid = (tissue == FLUID) & inside
    found = {}
    for name, region in (("csf", fluid), ("white_matter", deep)):
        share = share_in_bold(t1w, region, boldref, t1w_to_boldref, distortion)
        found[name] = _purest(share, brain)
        if found[name].sum() < FEWEST:
            raise ScanFailed(
                f"{path}: found {int(found[name].sum())} voxels of {name} in the BOLD, expected "
                f"at least {FEWEST}: it covers too little of the brain, or registration failed",
                "noise_regions",
                "check T1w and BOLD in a viewer",
            )
    return found


def _purest(share: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Voxels above the strictest fraction that gives enough of them."""
    for least in SHARES:
        chosen = (share > least) & brain
        if chosen.sum() >= ENOUGH:
            break
    return chosen


def overlap_with_template(epi: Volume, template: Template, transforms: ScanTransforms) -> float:
    """Dice overlap of the template's brain and the BOLD's, after all transforms.

    The BOLD's brain mask is independent of the template, so this detects failed registrations. Only
    the BOLD's field of view is compared.
    """
    every = max(1, round(4 / float(template.brain.voxel_size[0])))
    thin = (slice(None, None, every),) * 3
    points = template.brain.points().reshape(*template.mask.shape, 3)[thin].reshape(-1, 3)
    voxels = apply_affine(np.linalg.inv(epi.affine), transforms.template_to_boldref(points))
    limit = np.array(epi.data.shape) - 1
    seen = ((voxels >= 0) & (voxels <= limit)).all(axis=1)
    expected = template.mask[thin].ravel()[seen]
    at = np.rint(voxels[seen]).astype(int)
    found = np.asarray(epi.data)[tuple(at.T)] > 0
    return float(2 * (found & expected).sum() / max(found.sum() + expected.sum(), 1))
