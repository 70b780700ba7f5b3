"""Estimate the distortion of the EPI along its phase-encoding axis, with or without a fieldmap.

Sign, as in BIDS: with `PhaseEncodingDirection` ``j``, signal at a point with a field of f Hz is
displaced by f * TotalReadoutTime voxels along the second axis of the image file; with ``j-`` in the
opposite direction. See `docs/explanation/distortion.md`. Intensities are not corrected: a factor
per voxel does not change temporal correlations.
"""

from __future__ import annotations

import numpy as np
from nibabel.affines import apply_affine
from scipy.ndimage import binary_dilation, map_coordinates

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.preprocess.anatomical.segmentation import FLUID, GREY, WHITE
from brainmass_core.preprocess.distortion.b0field import field_of, head_mask
from brainmass_core.preprocess.distortion.displacement import towards_image
from brainmass_core.preprocess.distortion.fieldmap import Fieldmap, LoadedFieldmap
from brainmass_core.preprocess.functional.coregistration import Coregistered, coregister, rigid_near
from brainmass_core.preprocess.functional.tissues import share_in_bold
from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.transforms import Distortion

NODES = 4.0  # mm, minimum distance of the nodes at which a distortion is stored
INTENSITY = {GREY: 1.0, WHITE: 0.8, FLUID: 1.25}  # approximate intensities in T2*-weighted images


def estimate_distortion(
    boldref: Volume,
    epi_mask: np.ndarray,
    fieldmap: Fieldmap | None,
    t1w: Volume,
    tissue: np.ndarray,
    t1w_to_boldref: np.ndarray,
    settings: Preprocess,
    phase_encoding: str | None,
    total_readout_time: float | None,
) -> tuple[Distortion | None, str]:
    """Estimate the distortion of a run's reference volume.

    Parameters
    ----------
    boldref : Volume (x, y, z)
        On the run's own grid, which contains the phase-encoding axis.
    epi_mask : ndarray (x, y, z) of bool
    fieldmap : Fieldmap or None
        Result of `fieldmap.find_fieldmap`.
    t1w, tissue, t1w_to_boldref
        As for `coregistration.coregister`, and its result.
    phase_encoding : str or None
        ``i``, ``j`` or ``k``, with ``-`` for the reversed direction.
    total_readout_time : float or None
        In s; the fieldmap-less estimate does not need it.

    Returns
    -------
    distortion : Distortion or None
    done : str
        ``fieldmap``, ``phasediff``, ``pepolar``, ``fieldmap-less``, or ``none: `` and the reason.

    Raises
    ------
    ScanFailed
        If a fieldmap that belongs to the run cannot be read or used.
    """
    wanted = settings.distortion
    if wanted == "none":
        return None, "none: preprocess.distortion is none"
    if phase_encoding is None:
        return None, "none: no PhaseEncodingDirection"
    reason = "no fieldmap"
    if fieldmap is not None and wanted in ("fieldmap", "any"):
        if total_readout_time is not None:
            bold = (boldref, phase_encoding, total_readout_time)
            return with_fieldmap(bold, epi_mask, fieldmap.load(), settings), fieldmap.kind
        reason = "no TotalReadoutTime"
    if wanted == "fieldmap":
        return None, f"none: {reason}"
    place = (t1w, tissue, t1w_to_boldref)
    return without_fieldmap(boldref, epi_mask, *place, phase_encoding), "fieldmap-less"


def coregister_undistorted(
    boldref: Volume,
    epi_mask: np.ndarray,
    t1w: Volume,
    tissue: np.ndarray,
    before: Coregistered,
    distortion: Distortion | None,
) -> Coregistered:
    """Coregister again with the known distortion; returns `before` if there is none.

    The resulting transform leads from the T1w to the undistorted reference.

    Parameters
    ----------
    epi_mask : ndarray (x, y, z) of bool
        On the grid of `boldref`.
    tissue : ndarray (x, y, z)
        Labels on the grid of `t1w`.
    before : Coregistered
        Coregistration to the distorted reference.
    """
    if distortion is None:
        return before
    return coregister(boldref, epi_mask, t1w, tissue, distortion, before.t1w_to_boldref)


def with_fieldmap(
    bold: tuple[Volume, str, float],
    epi_mask: np.ndarray,
    fieldmap: LoadedFieldmap,
    settings: Preprocess,
) -> Distortion:
    """Distortion from a fieldmap, whose anatomy is registered rigidly to the run.

    The registration is done twice, because the reference is still distorted the first time.

    Parameters
    ----------
    bold : tuple of (Volume, str, float)
        Reference volume, phase-encoding direction, total readout time in s.
    """
    hz, anatomy = field_of(fieldmap, settings.engines.distortion, bold)
    mask = head_mask(anatomy)
    to_fieldmap = rigid_near(bold[0], epi_mask, anatomy, mask)
    found = from_hz(hz, to_fieldmap, *bold)
    seen = undistorted(bold[0], found)
    to_fieldmap = rigid_near(seen, epi_mask, anatomy, mask, start=to_fieldmap)
    return from_hz(hz, to_fieldmap, *bold)


def from_hz(
    hz: Volume, boldref_to_hz: np.ndarray, boldref: Volume, phase_encoding: str, readout: float
) -> Distortion:
    """Distortion of a run from the field in Hz.

    Displacement in voxels is ``hz * readout`` along the phase-encoding direction.

    Parameters
    ----------
    hz : Volume (x, y, z)
        Defined and smooth outside the head; outside its grid the border value is used.
    boldref_to_hz : ndarray (4, 4)
        Undistorted reference to the field's space, mm to mm.
    """
    axis = "ijk".index(phase_encoding[0])
    along = hz.with_data(hz.data * (boldref.voxel_size[axis] * readout))
    sign = -1.0 if phase_encoding.endswith("-") else 1.0
    return _kept(along, boldref_to_hz, boldref, axis, sign)


def undistorted(boldref: Volume, distortion: Distortion) -> Volume:
    """The undistorted reference volume, on the same grid."""
    values = boldref.at(distortion.to_distorted(boldref.points()))
    return boldref.with_data(values.reshape(boldref.data.shape))


def without_fieldmap(
    boldref: Volume,
    epi_mask: np.ndarray,
    t1w: Volume,
    tissue: np.ndarray,
    t1w_to_boldref: np.ndarray,
    phase_encoding: str,
) -> Distortion:
    """Distortion from the T1w, whose tissues with typical EPI intensities are the target.

    The polarity does not matter. On four phantom runs (two heads, both polarities; the settings
    were chosen on another grid of one of them) 0.52 to 0.59 of the mean error remains, with SyN of
    antspyx restricted to the axis 0.57 to 0.72; but for displacements above 3 mm, SyN leaves less
    in three of the four (3.1 to 4.7 mm of 6, against 4.2 to 4.5).

    Parameters
    ----------
    boldref : Volume
    epi_mask : ndarray (x, y, z) of bool
        On the grid of `boldref`.
    tissue : ndarray (x, y, z)
        Labels on the grid of `t1w`.
    t1w_to_boldref : ndarray (4, 4)
        mm.
    phase_encoding : str
        As in BIDS, such as ``j-``.

    Returns
    -------
    Distortion
        Displacement along the axis, mm.
    """
    axis = "ijk".index(phase_encoding[0])
    shares = {k: share_in_bold(t1w, tissue == k, boldref, t1w_to_boldref) for k in INTENSITY}
    painted = np.sum([level * shares[k] for k, level in INTENSITY.items()], axis=0)
    region = binary_dilation(np.sum(list(shares.values()), axis=0) > 0.5, iterations=1)
    seen = np.where(binary_dilation(epi_mask, iterations=2), boldref.data, 0)
    seen = seen / np.percentile(boldref.data[epi_mask], 98)
    size = boldref.voxel_size
    moved = size[axis] * towards_image(seen, painted, region, axis, size)
    return _kept(boldref.with_data(moved.astype(np.float32)), np.eye(4), boldref, axis, 1.0)


def _kept(
    along: Volume, boldref_to_it: np.ndarray, boldref: Volume, axis: int, sign: float
) -> Distortion:
    """Convert a displacement in mm along `sign` times a voxel axis to nodes over the reference."""
    step = np.maximum(NODES / boldref.voxel_size, 1.0)
    shape = tuple(int(n) for n in np.ceil((np.array(boldref.data.shape) - 1) / step) + 1)
    nodes = Volume(np.empty(shape), boldref.affine @ np.diag([*step, 1.0]))
    voxels = apply_affine(np.linalg.inv(along.affine) @ boldref_to_it, nodes.points()).T
    values = map_coordinates(along.data, voxels, order=1, mode="nearest").reshape(shape)
    direction = sign * boldref.affine[:3, axis] / boldref.voxel_size[axis]
    return Distortion(values.astype(np.float32), nodes.affine, direction)
