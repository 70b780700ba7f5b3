"""Tissues of a T1w: three Gaussians of intensity, weighted by the template's priors."""

from __future__ import annotations

import numpy as np

GREY, WHITE, FLUID = 1, 2, 3  # labels of BIDS' dseg
LABELS = np.array([FLUID, GREY, WHITE], dtype=np.uint8)  # in the order of the priors
ITERATIONS = 40
TOLERANCE = 1e-4


def segment(t1w: np.ndarray, mask: np.ndarray, priors: np.ndarray) -> np.ndarray:
    """Posterior probabilities of CSF, grey and white matter.

    Expectation maximisation of a Gaussian mixture whose weights are, at each voxel, the priors.

    Parameters
    ----------
    t1w : ndarray (x, y, z)
        Bias-corrected intensity.
    mask : ndarray (x, y, z) of bool
        The brain.
    priors : ndarray (x, y, z, 3)
        CSF, grey, white.

    Returns
    -------
    ndarray (x, y, z, 3) of float32
        Sums to 1 inside the mask, 0 outside.

    Raises
    ------
    ValueError
        If the mask has fewer than 100 voxels, or they all have the same intensity.
    """
    if mask.sum() < 100 or np.ptp(t1w[mask]) == 0:
        raise ValueError(f"found {int(mask.sum())} brain voxels, or no contrast among them")
    low, high = np.percentile(t1w[mask], [0.1, 99.9])
    x = np.clip(t1w[mask], low, high).astype(np.float64)
    prior = np.maximum(priors[mask].astype(np.float64), 1e-3)
    prior /= prior.sum(axis=1, keepdims=True)
    posterior = prior
    before = np.full(3, np.inf)
    for _ in range(ITERATIONS):
        mean, sigma = _gaussians(x, posterior, 0.02 * (high - low))
        density = np.exp(-0.5 * ((x[:, None] - mean) / sigma) ** 2) / sigma
        joint = prior * density + 1e-300
        posterior = joint / joint.sum(axis=1, keepdims=True)
        if np.abs(mean - before).max() < TOLERANCE * (high - low):
            break
        before = mean
    full = np.zeros((*mask.shape, 3), dtype=np.float32)
    full[mask] = posterior
    return full


def labels_of(posteriors: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The most probable tissue (x, y, z) of each voxel of the mask, as BIDS labels; 0 outside.

    Parameters
    ----------
    posteriors : ndarray (x, y, z, n_tissues)
    mask : ndarray (x, y, z) of bool

    Returns
    -------
    ndarray (x, y, z) of uint8
    """
    return np.where(mask, LABELS[posteriors.argmax(axis=-1)], 0).astype(np.uint8)


def _gaussians(
    x: np.ndarray, weights: np.ndarray, smallest: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (3,) of each tissue."""
    total = weights.sum(axis=0)
    mean = (weights * x[:, None]).sum(axis=0) / total
    variance = (weights * (x[:, None] - mean) ** 2).sum(axis=0) / total
    return mean, np.maximum(np.sqrt(variance), smallest)
