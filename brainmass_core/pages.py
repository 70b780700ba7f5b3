"""Render templates to self-contained HTML."""

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
    """Render a template; undefined names are errors, and text is escaped.

    ``fragment(path)`` in a template includes a template from another folder.

    Parameters
    ----------
    package : str
        Package with the templates, in addition to the shared ones of `brainmass_core`.
    tests : dict, optional
        Additional Jinja tests, by name.
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
