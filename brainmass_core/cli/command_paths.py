"""Paths on the command line: refuse `~` and `$HOME` that a shell has not replaced."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import typer

Function = TypeVar("Function", bound=Callable[..., Any])


class Commands(typer.Typer):
    """Commands that refuse `~` and `$HOME` in their paths, as the configuration does.

    Bash does not replace the `~` in ``--out=~/scores.tsv``, nor anything in single quotes.
    """

    def command(self, *names: Any, **settings: Any) -> Callable[[Function], Function]:
        """Add a command, as `typer.Typer.command` does."""
        add = super().command(*names, **settings)

        def decorate(function: Function) -> Function:
            @functools.wraps(function)
            def checked(**given: Any) -> Any:
                _refuse_unreplaced(given)
                return function(**given)

            add(checked)
            return function

        return decorate


def _refuse_unreplaced(given: dict[str, Any]) -> None:
    paths = {name: value for name, value in given.items() if isinstance(value, Path)}
    if not any("~" in str(path) or "$" in str(path) for path in paths.values()):
        return
    # imported late, so that help does not wait for pydantic
    from brainmass_core.config.base import (
        written_out,
    )

    for name, path in paths.items():
        try:
            written_out(path)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
