"""Pictures as data URIs, small and the same for the same input; charts that suit any background."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

WEBP_QUALITY = 72
DPI = 150
INK = "#767d88"  # text and axes: the same contrast on white as on near black
ACCENT, WARM, COOL, GREEN = "#d9534f", "#e08a1e", "#3d8fd1", "#2e9e73"
SERIES = (COOL, WARM, GREEN)
STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a name of a user may hold a $
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "legend.fontsize": 8,
    "lines.linewidth": 0.9,
}


class MissingError(ValueError):
    """A picture that cannot be made; the message says why and stands in its place."""


def photo(picture: np.ndarray) -> str:
    """A picture (height, width, 3) of uint8 as a lossy WebP data URI."""
    return _uri(Image.fromarray(picture), quality=WEBP_QUALITY, method=4)


def chart(make: Callable[[], Figure]) -> str:
    """A figure of lines, text and few colours as a lossless WebP data URI."""
    # 64 colours are enough for it, and make a third of the size
    image = _drawn(make).quantize(64, method=Image.Quantize.FASTOCTREE)
    return _uri(image.convert("RGBA"), lossless=True, quality=60, method=4)


def rich_chart(make: Callable[[], Figure], quality: int = 80) -> str:
    """A figure with colour maps or greys as a lossy WebP data URI."""
    return _uri(_drawn(make), quality=quality, method=4)


def _drawn(make: Callable[[], Figure]) -> Image.Image:
    """The figure on a transparent background; nobody's matplotlibrc changes it."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        figure = make()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, transparent=True)
    return Image.open(buffer).convert("RGBA")


def new_figure(width: float, height: float, **grid: Any) -> tuple[Figure, Any]:
    """A figure (inches) and its axes; `grid` goes to `Figure.subplots`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(**grid)


def _uri(image: Image.Image, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", **options)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
