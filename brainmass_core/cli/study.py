"""Commands about the progress of a study: `status`, `retry`, `version`."""

from __future__ import annotations

from typing import Annotated

import typer

from brainmass_core import __version__
from brainmass_core.cli.application import app
from brainmass_core.cli.options import DEFAULT_CONFIG, ConfigPath, load


@app.command()
def status(
    config: ConfigPath = DEFAULT_CONFIG,
    watch: Annotated[
        float, typer.Option(help="Interval in seconds for updating the display; 0 shows it once.")
    ] = 0.0,
) -> None:
    """Show the progress of a run: scans done, failed, excluded and remaining, per stage."""
    settings = load(config, check_paths=False)
    from rich.console import Console

    from brainmass_core.pipeline.status import show

    show(settings, Console(), watch)


@app.command()
def retry(config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Make the next `snakemake` process failed and excluded scans again; finished ones are kept."""
    settings = load(config, check_paths=False)
    from brainmass_core.pipeline.paths import Paths
    from brainmass_core.pipeline.retry import forget_exclusions, forget_failures

    tables = forget_failures(Paths(settings.results))
    for dataset, changed in forget_exclusions(settings).items():
        typer.echo(f"excluded scans of {dataset} were listed again: {len(changed)} batches change")
        tables += [table for table in changed if table not in tables]
    for table in tables:
        typer.echo(f"will be computed again: {table}")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)
