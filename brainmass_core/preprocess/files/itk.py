"""Write transforms as ITK files, which ANTs, fMRIPrep's tools, Slicer and SimpleITK read.

ITK maps points from the output grid to the data, as we do, but in LPS: a BIDS file
``from-A_to-B_mode-image`` contains the map of points of B to points of A.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine

from brainmass_core.preprocess.transforms import Normalisation
from brainmass_core.tables import atomic_path

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
FRACTION = 2**6  # displacements are multiples of 1/64 mm, which halves the compressed file


def affines_as_itk(affines: np.ndarray) -> str:
    """Affine transforms as text in ITK's format, one block for each.

    Parameters
    ----------
    affines : ndarray (n, 4, 4)
        RAS, mm to mm, from the points of the output grid to those of the data.

    Returns
    -------
    str
    """
    lines = ["#Insight Transform File V1.0"]
    for i, affine in enumerate(np.asarray(affines, dtype=np.float64)):
        turned = TO_LPS @ affine @ TO_LPS
        parameters = [*turned[:3, :3].ravel(), *turned[:3, 3]]
        lines += [
            f"#Transform {i}",
            "Transform: AffineTransform_double_3_3",
            "Parameters: " + " ".join(f"{p:.10g}" for p in parameters),
            "FixedParameters: 0 0 0",
        ]
    return "\n".join(lines) + "\n"


def save_itk_affines(path: Path, affines: np.ndarray) -> None:
    """Write affine transforms (n, 4, 4) as ITK text, see `affines_as_itk`.

    Parameters
    ----------
    affines : ndarray (n, 4, 4)
        mm, RAS.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(affines_as_itk(affines))


def save_itk_field(path: Path, normalisation: Normalisation) -> None:
    """Write a normalisation, affine part included, as a displacement field of ITK (NIfTI).

    ITK interpolates the field linearly between nodes and we use splines: with nodes 4 mm apart the
    difference on a real head is 0.04 mm on average and always below 0.5 mm.
    """
    shape = normalisation.field.shape[:3]
    nodes = apply_affine(normalisation.field_affine, np.indices(shape).reshape(3, -1).T)
    moved = normalisation.template_to_t1w(nodes) - nodes
    lps = np.rint(moved * np.diag(TO_LPS)[:3] * FRACTION) / FRACTION
    image = nib.Nifti1Image(
        lps.astype(np.float32).reshape(*shape, 1, 3), normalisation.field_affine
    )
    image.header.set_intent("vector")
    image.header.set_xyzt_units("mm", "sec")
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), 6, mtime=0))
