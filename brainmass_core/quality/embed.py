"""Small, reproducible pictures as data URIs; charts for light and dark backgrounds."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from brainmass_core import drawing

WEBP_QUALITY = 72
INK = "#767d88"  # text and axes: the same contrast on white and near-black backgrounds
ACCENT, WARM, COOL, GREEN = "#d9534f", "#e08a1e", "#3d8fd1", "#2e9e73"
SERIES = (COOL, WARM, GREEN)
STYLE: dict[Any, Any] = {
    **drawing.STYLE,
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "legend.labelcolor": INK,
    "legend.fontsize": 8,
    "lines.linewidth": 0.9,
}


def photo(picture: np.ndarray) -> str:
    """A picture (height, width, 3) of uint8 as a lossy WebP data URI.

    Parameters
    ----------
    picture : ndarray (height, width, 3) of uint8
    """
    return _uri(Image.fromarray(picture), quality=WEBP_QUALITY, method=4)


def chart(make: Callable[[], Figure]) -> str:
    """A figure of lines, text and few colours as a lossless WebP data URI."""
    # 64 colours suffice, and reduce the size to a third
    image = _drawn(make).quantize(64, method=Image.Quantize.FASTOCTREE)
    return _uri(image.convert("RGBA"), lossless=True, quality=60, method=4)


def rich_chart(make: Callable[[], Figure], quality: int = 80) -> str:
    """A figure with colour maps or greys as a lossy WebP data URI."""
    return _uri(_drawn(make), quality=quality, method=4)


def _drawn(make: Callable[[], Figure]) -> Image.Image:
    """The figure on a transparent background."""
    with drawing.styled(STYLE):
        png = drawing.png_of(make(), transparent=True)
    return Image.open(io.BytesIO(png)).convert("RGBA")


def new_figure(width: float, height: float, **grid: Any) -> tuple[Figure, Any]:
    """A figure (inches) and its axes; `grid` goes to `Figure.subplots`."""
    figure = drawing.new_figure(width, height)
    return figure, figure.subplots(**grid)


def _uri(image: Image.Image, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", **options)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
