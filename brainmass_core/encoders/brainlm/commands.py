"""The command for checkpoints of the released BrainLM models; it imports torch when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_brainlm(
    source: Annotated[Path, typer.Argument(help="Folder of one published model.")],
    folder: Annotated[Path, typer.Argument(help="New folder of the model.")],
    mode: Annotated[
        str | None,
        typer.Option(
            help="corrected or reference. Default: corrected for 13M, otherwise reference."
        ),
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights.")] = "CC-BY-NC-ND-4.0",
) -> None:
    """Convert a published BrainLM checkpoint to a brainmass model folder, with its licence."""
    from brainmass_core.encoders.brainlm.official import import_brainlm

    model = import_brainlm(source, folder, mode, licence)
    n = sum(p.numel() for p in model.parameters())
    typer.echo(f"{folder}: {model.size}, mode {model.mode}, {n:,} parameters, licence {licence}")
