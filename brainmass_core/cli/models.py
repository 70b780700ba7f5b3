"""Models of others, and checksums of models that have none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainmass_core.cli.application import app
from brainmass_core.cli.logs import start_log


@app.command("import-official")
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
) -> None:
    """Bring a checkpoint of the authors' released BrainMass code into this product's form."""
    start_log(None)
    from brainmass_core.config.inputs import Atlas
    from brainmass_core.pretrain.official import import_official

    model = import_official(checkpoint, folder, atlas or Atlas().name, estimator, heads)
    typer.echo(f"{folder}: {model.size}, {model.n_rois} ROIs, {model.heads} heads")


@app.command("import-brainlm")
def import_brainlm(
    source: Annotated[Path, typer.Argument(help="Folder of one published model.")],
    folder: Annotated[Path, typer.Argument(help="New folder of the model.")],
    mode: Annotated[
        str | None,
        typer.Option(help="corrected or reference. Default: corrected for 13M, else reference."),
    ] = None,
    licence: Annotated[str, typer.Option(help="Of the weights.")] = "CC-BY-NC-ND-4.0",
) -> None:
    """Bring a published BrainLM checkpoint into this product's form, with its licence."""
    start_log(None)
    from brainmass_core.pretrain.brainlm_official import import_brainlm

    model = import_brainlm(source, folder, mode, licence)
    n = sum(p.numel() for p in model.parameters())
    typer.echo(f"{folder}: {model.size}, mode {model.mode}, {n:,} parameters, licence {licence}")


@app.command()
def checksum(
    folder: Annotated[Path, typer.Argument(help="Folder of a pre-trained or a task's model.")],
) -> None:
    """Write the checksums of a model folder that was made without them, if you trust its files."""
    start_log(None)
    from brainmass_core.predict.checksum import write_checksums

    typer.echo(f"{write_checksums(folder)}: checksums written")


@app.command("export-official")
def export_official(
    folder: Annotated[Path, typer.Argument(help="Folder of a pre-trained model.")],
    checkpoint: Annotated[Path, typer.Argument(help="File to write, .pth.")],
) -> None:
    """Write a model as a checkpoint that the authors' released BrainMass code loads."""
    start_log(None)
    from brainmass_core.pretrain.official import export_official

    export_official(folder, checkpoint)
    typer.echo(str(checkpoint))
