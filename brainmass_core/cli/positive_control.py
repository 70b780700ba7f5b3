"""The command `positive-control`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from brainmass_core.cli.application import app
from brainmass_core.cli.logs import start_log
from brainmass_core.cli.options import load, refuse

SECTIONS = ("pfc", "pretrain", "resources")


@app.command("positive-control")
def positive_control(
    folder: Annotated[Path, typer.Argument(help="Folder for the simulated studies; must be new.")],
    config: Annotated[
        Path | None,
        typer.Option(help="Configuration whose pfc and pretrain are tried. Default: our recipe."),
    ] = None,
    unlabelled: Annotated[
        str, typer.Option(help="Numbers of scans for pre-training, separated by commas.")
    ] = "100,1000,10000",
    k: Annotated[int, typer.Option("--labelled", min=2, help="Labelled people per class.")] = 10,
    n_draws: Annotated[int, typer.Option(min=3, help="Draws of labelled people.")] = 20,
    n_rois: Annotated[int, typer.Option(min=8, help="Number of ROIs.")] = 24,
    n_timepoints: Annotated[int, typer.Option(min=20, help="Timepoints of a scan.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything.")] = 42,
    negative: Annotated[
        bool, typer.Option("--negative", help="The label has nothing to do with the scans.")
    ] = False,
) -> None:
    """Try the pre-training on simulated people whose lasting traits decide the label.

    Ends with status 1 if the pre-trained encoder does not beat FC and the untrained encoder; with
    --negative, if it does.
    """
    start_log(None)
    if folder.exists():
        refuse(f"{folder} exists; name a folder that does not")
    try:
        sizes = tuple(sorted({int(n) for n in unlabelled.split(",")}))
    except ValueError:
        refuse(f"--unlabelled: found {unlabelled!r}, expected numbers such as 100,1000")
    if sizes[0] < 64:
        refuse(f"--unlabelled: found {sizes[0]}, expected at least 64 scans")
    sections = _sections(config) if config else None
    from brainmass_core.positive_control import control

    setting = control.Setting(sizes, n_rois, n_timepoints, k, n_draws, seed, not negative)
    table = control.run(folder.absolute(), setting, sections)
    if not control.reported(folder, table, setting, typer.echo):
        raise typer.Exit(1)


def _sections(config: Path) -> dict[str, Any]:
    """The sections of a configuration that a control tries."""
    settings = load(config, check_paths=False)
    if settings.pretrain.encoder.sees_series:
        refuse(
            f"pretrain.model: found {settings.pretrain.model}, which is trained on series; the "
            "control is for encoders of FC: set pretrain.model to brainmass"
        )
    given = settings.model_dump(mode="json", include=set(SECTIONS), exclude_unset=True)
    return given
