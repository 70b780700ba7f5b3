"""Commands for checkpoints of the authors' released BrainMass code; they import torch when they
run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_official(
    checkpoint: Annotated[Path, typer.Argument(help="File of the authors' code, such as .pth.")],
    folder: Annotated[Path, typer.Argument(help="New folder of the model.")],
    heads: Annotated[
        int | None, typer.Option(help="Attention heads. Default: that of the size.", min=1)
    ] = None,
    atlas: Annotated[
        str | None,
        typer.Option(help="Atlas of the FC it was trained on. Default: that of `atlas.name`."),
    ] = None,
    estimator: Annotated[str, typer.Option(help="Estimator of that FC.")] = "ledoit_wolf",
    fisher_z: Annotated[
        bool, typer.Option("--fisher-z", help="It was trained on FC transformed by Fisher z.")
    ] = False,
) -> None:
    """Convert a checkpoint of the authors' released BrainMass code to a brainmass model folder."""
    from brainmass_core.config.inputs import Atlas
    from brainmass_core.encoders.brainmass.official import import_official

    about = (atlas or Atlas().name, estimator, heads, fisher_z)
    model = import_official(checkpoint, folder, *about)
    typer.echo(f"{folder}: {model.size}, {model.n_rois} ROIs, {model.heads} heads")


def export_official(
    folder: Annotated[Path, typer.Argument(help="Folder of a pre-trained model.")],
    checkpoint: Annotated[Path, typer.Argument(help="File to write, .pth.")],
) -> None:
    """Write a model as a checkpoint that the authors' released BrainMass code loads."""
    from brainmass_core.encoders.brainmass.official import export_official

    export_official(folder, checkpoint)
    typer.echo(str(checkpoint))
