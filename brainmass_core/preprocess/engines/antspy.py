"""ANTs in process: from arrays in RAS to transforms between RAS points.

ANTs uses LPS and temporary files; both are internal to this module. Its results are bit-identical
only with one thread and a given seed (measured: up to 1.3 mm apart otherwise).

antspyx 0.6.2 and later ignore ``random_seed`` and need ``ants.config.set_ants_deterministic``. With
it 0.6.3 gives the same bits as 0.6.1 with the seed, also with numpy 2.4 (measured). But its
metadata require numpy < 2.4, which pyproject.toml excludes: hence the pin there.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")  # read when ANTs is imported

import ants
import numpy as np
from nibabel.affines import apply_affine

from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.grids import Volume

SEED = 1
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Registered:
    """Outcome of a registration.

    Attributes
    ----------
    affine : ndarray (4, 4)
        Fixed to moving points, RAS mm: ``affine @ (point + field(point))``.
    field : ndarray (x, y, z, 3) or None
        Displacement in mm (RAS) at the voxels of the fixed image.
    """

    affine: np.ndarray
    field: np.ndarray | None


def register(
    fixed: Volume,
    moving: Volume,
    kind: str,
    fixed_mask: np.ndarray | None = None,
    initial: np.ndarray | None = None,
    **options: Any,
) -> Registered:
    """Register `moving` to `fixed`.

    Parameters
    ----------
    kind : str
        ``type_of_transform`` of `ants.registration`.
    fixed_mask : ndarray (x, y, z) of bool, optional
        Region of the fixed image in which the metric is computed.
    initial : ndarray (4, 4), optional
        Initial transform of fixed to moving points; default: centres of mass.
    **options
        Passed to `ants.registration`.

    Raises
    ------
    ScanFailed
        If ANTs gives up.
    """
    mask = None if fixed_mask is None else to_ants(fixed.with_data(fixed_mask))
    with tempfile.TemporaryDirectory(prefix="brainmass-ants-") as folder:
        start = None
        if initial is not None:
            start = _write_affine(f"{folder}/initial.mat", initial, fixed)
        try:
            found = ants.registration(
                *(to_ants(fixed), to_ants(moving), kind),
                mask=mask,
                initial_transform=start,
                outprefix=f"{folder}/",
                random_seed=SEED,
                **options,
            )
        except RuntimeError as error:
            raise ScanFailed(
                f"ANTs could not register ({error}), expected two images of a head",
                f"registration ({kind})",
                "check the images in a viewer: do they match their names?",
            ) from None
        forward = found["fwdtransforms"]
        warps = [f for f in forward if f.endswith("Warp.nii.gz")]
        field = _read_field(warps[0]) if warps else None
        return Registered(read_affine(forward[-1]), field)


def correct_bias(image: Volume, mask: np.ndarray) -> np.ndarray:
    """Correct the bias field (N4).

    Parameters
    ----------
    mask : ndarray (x, y, z) of bool
        Voxels from which the field is estimated.

    Returns
    -------
    ndarray (x, y, z) of float32
        Corrected everywhere.
    """
    corrected = ants.n4_bias_field_correction(
        to_ants(image),
        mask=to_ants(image.with_data(mask)),
        shrink_factor=bias_shrink(image),
        convergence={"iters": [50, 30, 20, 10], "tol": 1e-7},
    )
    return corrected.numpy()


def bias_shrink(image: Volume) -> int:
    """Factor by which N4 may subsample an image: 6 mm suffice, because the field is smooth."""
    return max(1, round(6.0 / float(image.voxel_size.max())))


def to_ants(image: Volume) -> Any:
    """An ANTs image of a grid without shear."""
    axes = image.affine[:3, :3] / image.voxel_size
    return ants.from_numpy(
        np.ascontiguousarray(image.data, dtype=np.float32),
        origin=(LPS[:3, :3] @ image.affine[:3, 3]).tolist(),
        spacing=image.voxel_size.tolist(),
        direction=LPS[:3, :3] @ axes,
    )


def read_affine(path: str) -> np.ndarray:
    """ANTs' affine, fixed to moving points, as RAS mm to RAS mm (4, 4).

    Returns
    -------
    ndarray (4, 4)
    """
    transform = ants.read_transform(path)
    parameters = np.asarray(transform.parameters, dtype=np.float64)
    centre = np.asarray(transform.fixed_parameters, dtype=np.float64)
    matrix = np.eye(4)
    matrix[:3, :3] = parameters[:9].reshape(3, 3)
    matrix[:3, 3] = parameters[9:] + centre - matrix[:3, :3] @ centre
    return LPS @ matrix @ LPS


def _write_affine(path: str, affine: np.ndarray, fixed: Volume) -> str:
    """Write an affine of RAS points for ANTs, with the centre of `fixed` as the centre of
    rotation."""
    matrix = LPS @ affine @ LPS
    middle = apply_affine(fixed.affine, np.argwhere(fixed.data).mean(axis=0))
    centre = LPS[:3, :3] @ middle
    shift = matrix[:3, 3] - centre + matrix[:3, :3] @ centre
    transform = ants.create_ants_transform(
        transform_type="AffineTransform",
        dimension=3,
        precision="double",
        parameters=[*matrix[:3, :3].ravel(), *shift],
        fixed_parameters=centre.tolist(),
    )
    ants.write_transform(transform, path)
    return path


def _read_field(path: str) -> np.ndarray:
    """ANTs' displacement field (x, y, z, 3) in RAS mm."""
    field = ants.image_read(str(Path(path))).numpy()
    return (field * np.array([-1, -1, 1])).astype(np.float32)
