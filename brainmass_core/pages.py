"""Templates to self-contained HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def render(
    template: str,
    context: dict[str, Any],
    package: str,
    tests: Mapping[str, Callable[[Any], bool]] | None = None,
) -> str:
    """Fill a template; a name that the context lacks is an error, and text is escaped.

    ``fragment(path)`` in a template is one to include from a file elsewhere.

    Parameters
    ----------
    package : str
        Whose templates there are, beside those of `brainmass_core` that all pages share.
    tests : dict, optional
        More tests of values, by name.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("brainmass_core")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["fragment"] = lambda path: environment.from_string(path.read_text("utf-8"))
    environment.tests |= tests or {}
    return environment.get_template(template).render(context)
