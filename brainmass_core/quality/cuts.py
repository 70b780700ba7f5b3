"""Slices through a head: points of their pixels, and grey or coloured pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from nibabel.affines import apply_affine

from brainmass_core.preprocess.grids import Volume

AXES = {"x": 0, "y": 1, "z": 2}
# axis, and relative position in the brain: four axial, two sagittal, two coronal
PLACES = (
    *(("z", 0.22), ("z", 0.4), ("z", 0.56), ("z", 0.74)),
    *(("x", 0.3), ("x", 0.53), ("y", 0.35), ("y", 0.62)),
)
PIXEL = 0.95  # mm
MARGIN = 10.0  # mm around the brain
LINE = 1.1  # pixels
Transform = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Cut:
    """One slice; left in the picture is left in the head.

    Attributes
    ----------
    name : str
        Such as ``z = 12``, mm.
    points : ndarray (height, width, 3)
        Position of each pixel, mm, RAS; the first row is superior or anterior.
    """

    name: str
    points: np.ndarray


def cuts_of(brain: Volume) -> list[Cut]:
    """Square slices through a brain, all of the same size.

    Parameters
    ----------
    brain : Volume (x, y, z)
        Positive inside; on any grid, in any orientation.

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    occupied = np.argwhere(np.asarray(brain.data) > 0)
    if not len(occupied):
        raise ValueError("the mask is empty, expected a brain")
    places = apply_affine(brain.affine, occupied)
    low, high = places.min(axis=0), places.max(axis=0)
    n = int(np.ceil((float(np.max(high - low)) + 2 * MARGIN) / PIXEL))
    steps = (np.arange(n) - (n - 1) / 2) * PIXEL
    middle = (low + high) / 2
    made = []
    for letter, share in PLACES:
        axis = AXES[letter]
        across, up = sorted({0, 1, 2} - {axis})
        points = np.empty((n, n, 3))
        points[..., axis] = low[axis] + share * (high[axis] - low[axis])
        points[..., across] = middle[across] + steps[None, :]
        points[..., up] = middle[up] - steps[:, None]
        made.append(Cut(f"{letter} = {points[0, 0, axis]:.0f}", points))
    return made


def sample(image: Volume, cut: Cut, to_image: Transform | None = None) -> np.ndarray:
    """Values (height, width) of an image on a slice, 0 outside it.

    Parameters
    ----------
    to_image : callable, optional
        Maps points (n, 3) of the slice's space to the image's space, mm.
    """
    points = cut.points.reshape(-1, 3)
    values = image.at(points if to_image is None else to_image(points))
    return values.reshape(cut.points.shape[:2])


def grey(values: np.ndarray, top: float) -> np.ndarray:
    """Convert intensities (height, width) to a grey picture (height, width, 3) of bytes.

    Parameters
    ----------
    values : ndarray (height, width)
    top : float
        Intensity that is white.

    Returns
    -------
    ndarray (height, width, 3) of uint8
    """
    shade = np.rint(255 * np.clip(values / max(top, 1e-12), 0, 1)).astype(np.uint8)
    return np.repeat(shade[..., None], 3, axis=2)


def coloured(values: np.ndarray, top: float, palette: str) -> np.ndarray:
    """Convert values (height, width) by a Matplotlib palette; black if they are not positive.

    Parameters
    ----------
    values : ndarray (height, width)
    top : float
        Value of the last colour.

    Returns
    -------
    ndarray (height, width, 3) of uint8
    """
    colours = mpl.colormaps[palette](np.clip(values / max(top, 1e-12), 0, 1))[..., :3]
    return np.rint(255 * colours * (values > 0)[..., None]).astype(np.uint8)


def outlined(picture: np.ndarray, inside: np.ndarray, colour: str) -> np.ndarray:
    """Draw the 0.5 contour of a map on a picture.

    Parameters
    ----------
    picture : ndarray (height, width, 3) of uint8
    inside : ndarray (height, width)
        Fraction of a tissue at each pixel, 0 to 1.
    colour : str
        A Matplotlib colour.
    """
    slope = np.hypot(*np.gradient(inside))
    # distance from the contour in pixels; flat regions count as far away
    away = np.abs(inside - 0.5) / np.maximum(slope, 1e-6)
    weight = np.clip(LINE - away, 0, 1)[..., None]
    line = 255 * np.array(mpl.colors.to_rgb(colour))
    return np.rint((1 - weight) * picture + weight * line).astype(np.uint8)


def bright(image: Volume, where: np.ndarray) -> float:
    """The intensity that is displayed as white: the 99.5th percentile inside `where`.

    Parameters
    ----------
    where : ndarray (x, y, z) of bool
        Not empty.
    """
    return float(np.percentile(np.asarray(image.data)[where], 99.5))
