"""Check that a header gives the size of the voxels and which side is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from brainmass_core.pipeline.manifest import ScanExcluded

SMALLEST, LARGEST = 0.1, 100.0  # mm; sizes outside are in another unit by mistake
TURNED = 0.7  # cosine between the two descriptions of an axis, about 45 degrees


def check_geometry(path: Path, image: Any) -> None:
    """Refuse an image whose voxels have no size in mm, or whose left and right cannot be told.

    Parameters
    ----------
    image : nibabel image
        Its header is read, not its voxels.

    Raises
    ------
    ScanExcluded
        With the content of the header.
    """
    affine = np.asarray(image.affine, dtype=float)
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if not ((sizes >= SMALLEST) & (sizes <= LARGEST)).all():
        unit = image.header.get_xyzt_units()[0]
        found = " x ".join(f"{s:g}" for s in sizes)
        raise ScanExcluded(
            f"{path}: voxels of {found} (unit in the header: {unit}), expected {SMALLEST:g} to "
            f"{LARGEST:g} mm; is it in metres or micrometres? convert the image again",
            "header",
        )
    if isinstance(image, nib.Nifti1Image) and image.header.is_single:
        _check_sides(path, image.header)


def _check_sides(path: Path, header: Any) -> None:
    try:
        scanner, scanner_code = header.get_qform(coded=True)
        standard, standard_code = header.get_sform(coded=True)
        for matrix in (scanner, standard):
            if matrix is not None and not np.isfinite(matrix).all():
                raise ValueError("it contains values that are not numbers")
    except (ValueError, np.linalg.LinAlgError) as error:
        raise ScanExcluded(
            f"{path}: its qform or sform is damaged ({error}); copy the file again or convert it "
            "again",
            "header",
        ) from None
    if not scanner_code and not standard_code:
        raise ScanExcluded(
            f"{path}: its header does not state which side is left: "
            "qform_code and sform_code are 0; "
            "convert the image again from DICOM, or, if you know its orientation, set the code "
            "(fslorient -setqformcode 1)",
            "header",
        )
    if not scanner_code or not standard_code:
        return
    axes = [m[:3, :3] / np.sqrt((m[:3, :3] ** 2).sum(axis=0)) for m in (scanner, standard)]
    if not (axes[0] * axes[1]).sum(axis=0).min() > TURNED:
        sides = ["".join(map(str, nib.aff2axcodes(m))) for m in (scanner, standard)]
        raise ScanExcluded(
            f"{path}: its header gives two orientations, {sides[0]} "
            f"(qform) and {sides[1]} (sform), "
            "expected one, because left and right may be exchanged; find out which is right and "
            "copy it over the other (fslorient -copysform2qform)",
            "header",
        )
