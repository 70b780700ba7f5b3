"""Head motion by libraries in process: SimpleITK and antspyx.

Slower and slightly less accurate than `motion.motion_to_reference` on heads with known motion
(`benchmarks/motion.py`); for comparison, and for labs that prefer ITK's optimisers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from nibabel.affines import apply_affine

from brainmass_core.preprocess.engines.antspy import LPS, register
from brainmass_core.preprocess.engines.matrices import simpleitk_image
from brainmass_core.preprocess.functional.motion import make_reference
from brainmass_core.preprocess.grids import FWHM, Volume

SMOOTHING = 5.0  # mm FWHM, as for our own estimate
SHRINK = [2, 1]  # subsampling of the reference, coarse to fine
SIGMAS = [4.0, 0.0]  # mm, in addition to the smoothing
SAMPLED = 0.25  # fraction of the voxels that is used
LEARNING_RATE = 1.0  # mm
MIN_STEP = 1e-4  # mm
ITERATIONS = 100
ANTS_KIND = "BOLDRigid"  # mutual information; antspyx's own choice for head motion


def motion_simpleitk(data: np.ndarray, affine: np.ndarray, boldref: np.ndarray) -> np.ndarray:
    """Head motion by SimpleITK: Euler angles, mean squares, smoothed images, two resolutions.

    Each volume starts from the previous one. One thread, for reproducible results.

    Parameters
    ----------
    data : ndarray (x, y, z, n_volumes)
        Finite.
    affine : ndarray (4, 4)
        Voxel to mm, of both; without shear.
    boldref : ndarray (x, y, z)
        Reference volume.

    Returns
    -------
    ndarray (n_volumes, 4, 4)
        Reference to volume t, RAS mm.

    Raises
    ------
    ValueError
        If SimpleITK is not installed.
    """
    sitk = _simpleitk()
    # provides the points of the head without the image's border
    reference = make_reference(boldref, affine)
    fixed = _smooth_image(sitk, boldref, affine)
    method = _method(sitk, _head_mask(reference.points, affine, boldref.shape))
    guess = sitk.Euler3DTransform()
    guess.SetCenter((LPS[:3, :3] @ reference.centre).tolist())
    motion = np.empty((data.shape[3], 4, 4))
    for t in range(data.shape[3]):
        found = sitk.Euler3DTransform(guess)
        method.SetInitialTransform(found, True)
        method.Execute(fixed, _smooth_image(sitk, data[..., t], affine))
        motion[t] = _to_ras(found)
        guess = found
    return motion


def motion_ants(data: np.ndarray, affine: np.ndarray, boldref: np.ndarray) -> np.ndarray:
    """Head motion by antspyx: rigid, mutual information, each volume separately.

    One thread and a fixed seed, for reproducible results.

    Parameters
    ----------
    data : ndarray (x, y, z, n_volumes)
        Finite.
    affine : ndarray (4, 4)
        Voxel to mm, of both; without shear.
    boldref : ndarray (x, y, z)
        Reference volume.

    Returns
    -------
    ndarray (n_volumes, 4, 4)
        Reference to volume t, RAS mm.

    Raises
    ------
    ScanFailed
        If ANTs fails for a volume.
    """
    fixed = Volume(boldref, affine)
    motion = np.empty((data.shape[3], 4, 4))
    for t in range(data.shape[3]):
        motion[t] = register(fixed, Volume(data[..., t], affine), ANTS_KIND).affine
    return motion


def _simpleitk() -> Any:
    try:
        import SimpleITK  # takes a while, and most studies do not need it here
    except ImportError as error:
        raise ValueError(
            f"preprocess.engines.motion is simpleitk, but SimpleITK cannot be imported ({error}); "
            "`pip install SimpleITK`, or choose embedded"
        ) from None
    return SimpleITK


def _method(sitk: Any, mask: Any) -> Any:
    """A registration method without initial transform, which can be reused for all volumes."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)  # sums over several threads differ in the last bits
    method.SetMetricAsMeanSquares()
    method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLED, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(LEARNING_RATE, MIN_STEP, ITERATIONS, 0.5, 1e-8)
    # a rotation by 1 rad moves the cortex by 50 mm
    method.SetOptimizerScales([50.0**2] * 3 + [1.0] * 3)
    method.SetShrinkFactorsPerLevel(SHRINK)
    method.SetSmoothingSigmasPerLevel(SIGMAS)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return method


def _smooth_image(sitk: Any, volume: np.ndarray, affine: np.ndarray) -> Any:
    """Smooth a volume and scale its mean to 10, to remove gain changes and fix the step scale."""
    image = sitk.SmoothingRecursiveGaussian(
        simpleitk_image(np.asarray(volume, dtype=np.float32), affine), SMOOTHING / FWHM
    )
    return image * (10.0 / max(float(volume.mean()), 1e-12))


def _head_mask(points: np.ndarray, affine: np.ndarray, shape: tuple[int, ...]) -> Any:
    mask = np.zeros(shape, dtype=np.uint8)
    mask[tuple(np.rint(apply_affine(np.linalg.inv(affine), points)).astype(int).T)] = 1
    return simpleitk_image(mask, affine)


def _to_ras(transform: Any) -> np.ndarray:
    """Convert an Euler3DTransform to RAS mm to RAS mm (4, 4)."""
    centre = np.array(transform.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - matrix[:3, :3] @ centre
    return LPS @ matrix @ LPS
