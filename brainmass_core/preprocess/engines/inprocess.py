"""Head motion by libraries that run inside this process: SimpleITK and antspyx.

Slower and a little less exact than `motion.motion_to_reference` on heads whose motion is known
(`benchmarks/motion.py`); here for comparison, and for labs that want ITK's optimisers.
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
SHRINK = [2, 1]  # of the reference, coarse to fine
SIGMAS = [4.0, 0.0]  # mm, on top of the smoothing
SAMPLED = 0.25  # share of the voxels that take part
LEARNING_RATE = 1.0  # mm
MIN_STEP = 1e-4  # mm
ITERATIONS = 100
ANTS_KIND = "BOLDRigid"  # mutual information; antspyx's own choice for head motion


def motion_simpleitk(data: np.ndarray, affine: np.ndarray, boldref: np.ndarray) -> np.ndarray:
    """Head motion by SimpleITK: Euler angles, mean squares, smoothed images, two resolutions.

    Each volume starts from the one before. One thread: the same result at every run.

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
    reference = make_reference(boldref, affine)  # its points: the head without the image's border
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
    """Head motion by antspyx: rigid, mutual information, each volume by itself.

    One thread and a fixed seed: the same result at every run.

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
        If ANTs gives up on a volume.
    """
    fixed = Volume(boldref, affine)
    motion = np.empty((data.shape[3], 4, 4))
    for t in range(data.shape[3]):
        motion[t] = register(fixed, Volume(data[..., t], affine), ANTS_KIND).affine
    return motion


def _simpleitk() -> Any:
    try:
        import SimpleITK  # an extra: it need not be there
    except ImportError as error:
        raise ValueError(
            f"preprocess.engines.motion is simpleitk, but SimpleITK cannot be imported ({error}); "
            "`pip install 'brainmass-core[simpleitk]'`, or choose embedded"
        ) from None
    return SimpleITK


def _method(sitk: Any, mask: Any) -> Any:
    """A registration without start, which may be used for one volume after the other."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)  # sums of several threads differ in the last bits
    method.SetMetricAsMeanSquares()
    method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLED, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(LEARNING_RATE, MIN_STEP, ITERATIONS, 0.5, 1e-8)
    method.SetOptimizerScales([50.0**2] * 3 + [1.0] * 3)  # a radian moves the cortex 50 mm
    method.SetShrinkFactorsPerLevel(SHRINK)
    method.SetSmoothingSigmasPerLevel(SIGMAS)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return method


def _smooth_image(sitk: Any, volume: np.ndarray, affine: np.ndarray) -> Any:
    """Smoothed, with a mean of 10: the scanner's gain is no motion, and steps need a scale."""
    image = sitk.SmoothingRecursiveGaussian(
        simpleitk_image(np.asarray(volume, dtype=np.float32), affine), SMOOTHING / FWHM
    )
    return image * (10.0 / max(float(volume.mean()), 1e-12))


def _head_mask(points: np.ndarray, affine: np.ndarray, shape: tuple[int, ...]) -> Any:
    mask = np.zeros(shape, dtype=np.uint8)
    mask[tuple(np.rint(apply_affine(np.linalg.inv(affine), points)).astype(int).T)] = 1
    return simpleitk_image(mask, affine)


def _to_ras(transform: Any) -> np.ndarray:
    """RAS mm to RAS mm (4, 4) of an Euler3DTransform."""
    centre = np.array(transform.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - matrix[:3, :3] @ centre
    return LPS @ matrix @ LPS
