"""Head motion of a run: from volumes to transforms, parameters and displacements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine

from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.functional.bold import Bold
from brainmass_core.preprocess.functional.motion import (
    motion_to_reference,
    reference_volume,
)
from brainmass_core.preprocess.functional.motion_parameters import (
    framewise_displacement,
    motion_parameters,
    rms_displacement,
)
from brainmass_core.preprocess.functional.tissues import epi_brain
from brainmass_core.preprocess.grids import Volume

Estimate = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Moved:
    """Head motion of a run.

    Attributes
    ----------
    motion : ndarray (n_volumes, 4, 4)
        Reference to volume t, mm.
    boldref : Volume (x, y, z)
    epi_mask : ndarray (x, y, z) of bool
        Brain of `boldref`.
    parameters : ndarray (n_volumes, 6)
    displacement : dict
        ``framewise_displacement`` and ``rmsd`` (n_volumes,), mm.
    """

    motion: np.ndarray
    boldref: Volume
    epi_mask: np.ndarray
    parameters: np.ndarray
    displacement: dict[str, np.ndarray]

    @property
    def mean_fd(self) -> float:
        """Mean framewise displacement in mm."""
        return float(np.nanmean(self.displacement["framewise_displacement"]))

    def n_censored(self, threshold: float) -> int:
        """Number of volumes with a framewise displacement above `threshold` mm."""
        return int(np.sum(self.displacement["framewise_displacement"] > threshold))


def head_motion(bold: Bold, path: str, estimate: Estimate = motion_to_reference) -> Moved:
    """Motion of a run, about the centre of its brain.

    It is estimated before slice timing correction, as in fMRIPrep: interpolation in time blurs
    sudden movements and makes the framewise displacement of runs with much motion up to a tenth too
    small.

    Parameters
    ----------
    bold : Bold
    path : str
        Path of the run, for messages.
    estimate : callable
        ``estimate(data, affine, boldref)`` returns the motion (n_volumes, 4, 4), reference to
        volume t in mm; see `engines`. All engines use the same reference, so that changing the
        engine only changes the motion.

    Raises
    ------
    ScanFailed
        If the engine does not return a rigid transform for each volume.
    """
    reference = reference_volume(bold.data, bold.affine)
    motion = checked(estimate(bold.data, bold.affine, reference), bold.data.shape[3], path)
    boldref = Volume(reference, bold.affine)
    mask = epi_brain(boldref, path)
    centre = apply_affine(bold.affine, np.argwhere(mask).mean(axis=0))
    parameters = motion_parameters(motion, centre)
    displacement = {
        "framewise_displacement": framewise_displacement(parameters),
        "rmsd": rms_displacement(motion, centre),
    }
    return Moved(motion, boldref, mask, parameters, displacement)


def checked(motion: np.ndarray, n_volumes: int, path: str) -> np.ndarray:
    """Check that an engine's motion is one rigid transform for each volume.

    Parameters
    ----------
    motion : ndarray (n_volumes, 4, 4)
        mm to mm.
    path : str
        Of the run, for the message.

    Returns
    -------
    ndarray (n_volumes, 4, 4), float64

    Raises
    ------
    ScanFailed
        If their number differs, one is not finite, or one stretches by 1e-3 or more.
    """
    motion = np.asarray(motion, dtype=np.float64)
    if motion.shape != (n_volumes, 4, 4):
        found = f"transforms of shape {motion.shape}"
    else:
        turned = motion[:, :3, :3]
        stretch = np.abs(np.swapaxes(turned, 1, 2) @ turned - np.eye(3)).max(axis=(1, 2))
        bad = np.flatnonzero(~(np.isfinite(motion).all(axis=(1, 2)) & (stretch < 1e-3)))
        if not len(bad):
            return motion
        found = f"no rigid transform for {len(bad)} volumes, the first is number {bad[0]}"
    raise ScanFailed(
        f"{path}: motion estimation gave {found}, expected {n_volumes} rigid transforms",
        "motion",
        "choose another engine at preprocess.engines.motion, for instance embedded",
    )
