"""Render templates to one self-contained HTML file."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from brainmass_core import pages
from brainmass_core.report.cells import Cell

PACKAGES = (
    "brainmass-core",
    "antspyx",
    "picsl-greedy",
    "SimpleITK",
    "deepbet",
    "nilearn",
    "nibabel",
    "numpy",
    "scipy",
    "scikit-learn",
    "torch",
    "pyarrow",
    "matplotlib",
)


@dataclass(frozen=True)
class Picture:
    """A figure on a page.

    Attributes
    ----------
    missing : str
        Why there is no figure; shown instead of it.
    wide : bool
        Whether it takes the full width.
    """

    name: str
    title: str
    caption: str
    png: bytes
    missing: str = ""
    wide: bool = False

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


def render(template: str, context: dict[str, Any]) -> str:
    """Render a template of the report; see `pages.render`."""
    tests = {"cell": lambda value: isinstance(value, Cell)}
    return pages.render(template, context, "brainmass_core.report", tests)


def software() -> list[dict[str, str]]:
    """Versions of the packages that produce the results."""
    rows = []
    for name in PACKAGES:
        try:
            rows.append({"Package": name, "Version": version(name)})
        except PackageNotFoundError:
            continue
    return rows
