"""Commands that encoders provide for external models, and checksums of models without them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from brainmass_core.cli.application import app
from brainmass_core.cli.logs import start_log
from brainmass_core.encoders.registry import encoders, resolve


def _logged(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command so that it logs to the terminal."""

    @wraps(command)
    def run(*given: Any, **named: Any) -> None:
        start_log(None)
        command(*given, **named)

    return run


for _encoder in encoders():
    for _name, _place in _encoder.commands.items():
        app.command(_name)(_logged(resolve(_place)))


@app.command()
def checksum(
    folder: Annotated[Path, typer.Argument(help="Folder of a pre-trained or a task's model.")],
) -> None:
    """Write the checksums of a model folder that was made without them, if you trust its files."""
    start_log(None)
    from brainmass_core.predict.checksum import write_checksums

    typer.echo(f"{write_checksums(folder)}: checksums written")
