"""The static field in Hz from phases, a measured field, or opposite phase encodings."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_fill_holes, binary_opening, gaussian_filter, label, median_filter
from skimage.filters import threshold_otsu
from skimage.restoration import unwrap_phase

from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.distortion.displacement import opposite_pair, unwarped
from brainmass_core.preprocess.distortion.fieldmap import LoadedFieldmap
from brainmass_core.preprocess.engines import engine
from brainmass_core.preprocess.grids import Volume, resample

STEP = "distortion"
# mm, standard deviations for smoothing a measured field, and for extrapolating it outside the head;
# the first is as small as phase noise allows: 3 mm would reduce the peak above a sinus by 8 %
REACHES = (1.5, 4.0, 8.0, 16.0, 32.0)
FAINT = 1e-3  # fraction of head in a neighbourhood, below which a larger neighbourhood is used


def field_of(
    fieldmap: LoadedFieldmap, engine_name: str, bold: tuple[Volume, str, float]
) -> tuple[Volume, Volume]:
    """Field of a fieldmap, and an anatomical image in the same space.

    Parameters
    ----------
    engine_name : str
        ``embedded``, or ``fsl`` for TOPUP and PRELUDE.
    bold : tuple of (Volume, str, float)
        Reference volume of the run, its phase-encoding direction and total readout time (s): the
        partner of a fieldmap that only has the opposite direction.

    Returns
    -------
    hz : Volume (x, y, z)
        Smooth everywhere.
    anatomy : Volume (x, y, z)
        Undistorted, on the same grid.

    Raises
    ------
    ScanFailed
        If there is no head in the images, or no opposite direction.
    """
    if fieldmap.kind == "pepolar":
        return _from_pair(fieldmap, engine_name, bold)
    anatomy = fieldmap.images[-1]
    mask = head_mask(anatomy)
    if fieldmap.kind == "fieldmap":
        hz = _on(fieldmap.images[0], anatomy).data
    else:
        phase = _on_phase(fieldmap, anatomy)
        hz = hz_of_phase(phase, anatomy, mask, fieldmap.echo_difference, engine_name)
    weight = np.where(mask, anatomy.data.astype(np.float64) ** 2, 0)
    return anatomy.with_data(smoothed(hz, weight, anatomy.voxel_size)), anatomy


def head_mask(image: Volume) -> np.ndarray:
    """Mask of the head: the largest connected bright region, with holes filled.

    Parameters
    ----------
    image : Volume (x, y, z)
        Magnitude.

    Returns
    -------
    ndarray (x, y, z) of bool

    Raises
    ------
    ScanFailed
        If there is no head.
    """
    data = np.asarray(image.data, dtype=np.float32)
    bright = binary_opening(data > 0.5 * threshold_otsu(data))
    parts, n = label(bright)
    if not n:
        raise ScanFailed(
            "found no head in the magnitude image of the fieldmap, expected one",
            STEP,
            "check the fieldmap, or set preprocess.distortion to none",
        )
    largest = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
    return binary_fill_holes(largest)


def hz_of_phase(
    phase: np.ndarray,
    magnitude: Volume,
    mask: np.ndarray,
    echo_difference: float,
    engine_name: str = "embedded",
) -> np.ndarray:
    """Field from a phase difference, ``phase / (2 pi dTE)``.

    Its median is set to 0: unwrapping leaves multiples of 2 pi undetermined, scanners differ in
    their definition of 0, and the centre frequency of the EPI is adjusted separately. A constant
    field shifts the entire image, which the following coregistration corrects.

    Parameters
    ----------
    phase : ndarray (x, y, z)
        rad, wrapped.
    magnitude : Volume (x, y, z)
        On the grid of `phase`; only read by unwrapping engines other than ``embedded``.
    mask : ndarray (x, y, z) of bool
        Voxels in which the phase is unwrapped.
    echo_difference : float
        dTE in s.

    Returns
    -------
    ndarray (x, y, z)
        In Hz; 0 outside the mask.
    """
    if engine_name == "embedded":
        turns = unwrap_phase(np.ma.array(phase, mask=~mask), rng=0).filled(0)
    else:
        turns = engine("unwrap", engine_name)(magnitude.with_data(phase), magnitude, mask).data
    hz = turns / (2 * np.pi * echo_difference)
    return np.where(mask, hz - np.median(hz[mask]), 0)


def smoothed(hz: np.ndarray, weight: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Remove outliers of a field, and extrapolate it smoothly where the weight is 0.

    By normalised convolution with increasingly wide Gaussians.

    Parameters
    ----------
    hz : ndarray (x, y, z)
        In Hz.
    weight : ndarray (x, y, z)
        Reliability of each voxel, 0 outside the head.
    size : ndarray (3,)
        Voxel edges in mm.

    Returns
    -------
    ndarray (x, y, z) of float32
        In Hz; far from the head the weighted mean of the field.
    """
    weight = weight / weight.max()
    inside = weight > 0
    calm = median_filter(np.where(inside, hz, 0), 3)
    full = median_filter(inside.astype(np.uint8), 3, mode="constant") > 0
    value = np.where(full, calm, hz)
    found = np.zeros(hz.shape)
    rest = np.ones(hz.shape)  # weight that smaller neighbourhoods have left
    for reach in REACHES:
        near = gaussian_filter(weight, reach / size)
        local = gaussian_filter(weight * value, reach / size) / np.maximum(near, 1e-12)
        trust = rest * np.clip(near / FAINT, 0, 1)
        found += trust * local
        rest -= trust
    return (found + rest * np.average(value, weights=weight)).astype(np.float32)


def _on(image: Volume, grid: Volume) -> Volume:
    if image.data.shape == grid.data.shape and np.allclose(image.affine, grid.affine, atol=1e-3):
        return image
    return resample(image, grid.data.shape, grid.affine)


def _on_phase(fieldmap: LoadedFieldmap, anatomy: Volume) -> np.ndarray:
    """Phase difference (x, y, z) in rad, computed with complex numbers for interpolation."""
    phases = [np.exp(1j * image.data.astype(np.float64)) for image in fieldmap.images[:-1]]
    difference = phases[0] if len(phases) == 1 else phases[1] * phases[0].conj()
    parts = [
        _on(fieldmap.images[0].with_data(part), anatomy).data
        for part in (difference.real, difference.imag)
    ]
    return np.arctan2(parts[1], parts[0])


def _from_pair(
    fieldmap: LoadedFieldmap, engine_name: str, bold: tuple[Volume, str, float]
) -> tuple[Volume, Volume]:
    images = [(i, *e) for i, e in zip(fieldmap.images, fieldmap.encodings, strict=True)]
    if len({direction for _, direction, _ in images}) == 1:
        images.append(bold)
    axis = images[0][1][0]
    grid = images[0][0]
    sides: dict[int, list[tuple[np.ndarray, float]]] = {1: [], -1: []}
    for image, direction, readout in images:
        if direction[0] == axis:
            sides[-1 if direction.endswith("-") else 1].append((_on(image, grid).data, readout))
    if not all(sides.values()):
        raise ScanFailed(
            f"found the phase encodings {[i[1] for i in images]} in the fieldmap and the run, "
            "expected two opposite ones",
            STEP,
            "add the image of the opposite direction, or set preprocess.distortion to none",
        )
    means = [np.mean([data for data, _ in sides[s]], axis=0) for s in (1, -1)]
    readouts = [float(np.mean([readout for _, readout in sides[s]])) for s in (1, -1)]
    longest = max(readouts)
    factors = (readouts[0] / longest, -readouts[1] / longest)
    k = "ijk".index(axis)
    if engine_name == "embedded":
        v = opposite_pair(means[0], means[1], factors, k, grid.voxel_size)
    else:
        v = engine("distortion", engine_name)(images).data * longest
    flat = [unwarped(m, v, k, f).value for m, f in zip(means, factors, strict=True)]
    anatomy = np.mean(flat, axis=0).reshape(v.shape).astype(np.float32)
    return grid.with_data((v / longest).astype(np.float32)), grid.with_data(anatomy)
