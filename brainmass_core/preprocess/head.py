"""How the head moved in a run: from volumes to transforms, parameters and displacements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine

from brainmass_core.preprocess.functional import Bold
from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.motion import (
    estimate_motion,
    framewise_displacement,
    motion_parameters,
    rms_displacement,
)
from brainmass_core.preprocess.tissues import epi_brain


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
        """Volumes with more framewise displacement than `threshold` mm."""
        return int(np.sum(self.displacement["framewise_displacement"] > threshold))


def head_motion(bold: Bold, path: str) -> Moved:
    """Motion of a run, about the centre of its brain.

    It is estimated before slice timing is corrected, as fMRIPrep does: interpolation in time
    blurs jerks and makes the framewise displacement of restless runs a tenth too small.
    """
    motion, reference = estimate_motion(bold.data, bold.affine)
    boldref = Volume(reference, bold.affine)
    mask = epi_brain(boldref, path)
    centre = apply_affine(bold.affine, np.argwhere(mask).mean(axis=0))
    parameters = motion_parameters(motion, centre)
    displacement = {
        "framewise_displacement": framewise_displacement(parameters),
        "rmsd": rms_displacement(motion, centre),
    }
    return Moved(motion, boldref, mask, parameters, displacement)
