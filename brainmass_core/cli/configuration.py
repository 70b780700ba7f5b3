"""Commands about the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainmass_core.cli.application import app
from brainmass_core.cli.command_paths import Commands
from brainmass_core.cli.options import DEFAULT_CONFIG

config_app = Commands(help="Check and explain the configuration.", no_args_is_help=True)
app.add_typer(config_app, name="config")


@config_app.command("check")
def config_check(config: Annotated[Path, typer.Argument()] = DEFAULT_CONFIG) -> None:
    """Validate a configuration, list every error at once, and print a plan of the study.

    It warns of missing programs. The plan gives, for each stage of batches, the scans, jobs, files
    that stay, megabytes and CPU-hours.
    """
    from brainmass_core.config import load_config

    settings = load_config(config)
    from brainmass_core.pipeline.data_changes import DataChanges
    from brainmass_core.pipeline.plan import plan, table
    from brainmass_core.preprocess.engines import missing

    for line in missing(settings.preprocess.engines):
        typer.echo(f"warning: {line}", err=True)
    study = DataChanges(settings)
    n_scans = {name: study.n_scans(name) for name in settings.datasets}
    told = study.settle()
    typer.echo("\n".join(table(plan(study.config, n_scans))))
    typer.echo(
        "Estimated from the number of scans by file names, and from measured costs of scans; "
        "pre-training, tasks and the report are not included."
    )
    for name, dataset in study.config.datasets.items():
        if "batches" not in settings.datasets[name].model_fields_set:
            told.append(f"datasets.{name}.batches: {dataset.batches}, for {n_scans[name]:,} scans")
    for line in told:
        typer.echo(line)
    typer.echo(f"{config}: {len(settings.datasets)} data sets, {len(settings.tasks)} tasks, valid")


@config_app.command("presets")
def config_presets() -> None:
    """List the presets that a configuration may extend."""
    from brainmass_core.config import list_presets

    typer.echo("\n".join(list_presets()))


@config_app.command("reference")
def config_reference() -> None:
    """Print the reference page of all settings."""
    from brainmass_core.config.reference import reference_markdown

    typer.echo(reference_markdown())


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema, for editors."""
    from brainmass_core.config.reference import json_schema

    typer.echo(json_schema())
