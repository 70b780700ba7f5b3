"""Reproducible figures without windows: one style, one canvas, one way to PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 150
STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a user's name may contain $
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


class NotAvailableError(ValueError):
    """A figure cannot be drawn; the message gives the reason and is shown instead."""


def palette(names: Iterable[str]) -> dict[str, tuple]:
    """A colour for each name, in the order in which they come first."""
    distinct = list(dict.fromkeys(names))
    colours = mpl.colormaps["tab10" if len(distinct) <= 10 else "tab20"]
    return {name: colours(i % colours.N) for i, name in enumerate(distinct)}


def new_figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    """An empty figure without a window, with width and height in inches."""
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def styled(style: Mapping[Any, Any] = STYLE) -> Iterator[None]:
    """Use Matplotlib's defaults and this style, regardless of the user's matplotlibrc."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(style)
        yield


def png_of(figure: Figure, **options: Any) -> bytes:
    """The figure as PNG, without software version and time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None}, **options)
    return buffer.getvalue()


def draw(make: Callable[[], Figure]) -> tuple[bytes, str]:
    """PNG of a figure, and the reason if it is not available (otherwise empty)."""
    reason = ""
    with styled():
        try:
            figure = make()
        except NotAvailableError as error:
            reason = str(error)
            figure = new_figure(5.2, 1.4)
            figure.text(0.5, 0.5, reason, ha="center", va="center", wrap=True, color="#555555")
        return png_of(figure), reason
