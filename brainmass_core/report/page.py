"""Templates to one self-contained HTML file."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from brainmass_core.report.cells import Cell

PACKAGES = (
    "brainmass-core",
    "antspyx",
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
        Why there is none; shown in its place.
    wide : bool
        Whether it takes the whole width.
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
    """Fill a template; a name that the context lacks is an error, and text is escaped."""
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader("brainmass_core.report"), PackageLoader("brainmass_core.quality")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["fragment"] = lambda path: environment.from_string(_text(path))
    environment.tests["cell"] = lambda value: isinstance(value, Cell)
    return environment.get_template(template).render(context)


def _text(paragraph: Path | None) -> str:
    """The paragraph of an encoder, or one for those that bring none."""
    place = paragraph or Path(__file__).with_name("templates") / "pretraining.html.jinja"
    return place.read_text(encoding="utf-8")


def software() -> list[dict[str, str]]:
    """Versions of the packages that make the results."""
    rows = []
    for name in PACKAGES:
        try:
            rows.append({"Package": name, "Version": version(name)})
        except PackageNotFoundError:
            continue
    return rows
