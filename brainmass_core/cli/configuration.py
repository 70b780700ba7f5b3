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


@app.command("init")
def init(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Folders: BIDS, derivatives, or parcel series."),
    ],
    out: Annotated[Path, typer.Option(help="Configuration to write.")] = Path("my.yaml"),
    results: Annotated[Path, typer.Option(help="Folder for results.")] = Path("results"),
    atlas: Annotated[Path | None, typer.Option(help="Label image (.nii.gz).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a first configuration from what is in some folders, and check it.

    Guesses and questions are comments that begin with `# ?`; they are also printed.
    """
    from brainmass_core.config import ConfigError

    if out.exists() and not force:
        raise ConfigError(f"{out} exists; choose another name with --out, or add --force")
    from brainmass_core.draft import MARK, draft

    text = draft(paths, results, atlas)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    for i, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith(MARK):
            typer.echo(f"{out}:{i}: {line.strip().removeprefix(MARK).strip()}")
    config_check(out)


@config_app.command("check")
def config_check(config: Annotated[Path, typer.Argument()] = DEFAULT_CONFIG) -> None:
    """Validate a configuration, list every error at once, and print a plan of the study.

    It warns of missing programs. The plan gives, for each stage of batches, the scans, jobs, files
    that stay, megabytes and CPU-hours; and how often the methods of each task are fitted.
    """
    from brainmass_core.config import load_config

    settings = load_config(config)
    from brainmass_core.pipeline.data_changes import DataChanges
    from brainmass_core.pipeline.plan import fits, plan, table
    from brainmass_core.preprocess.engines import missing

    for line in missing(settings.preprocess.engines):
        typer.echo(f"warning: {line}", err=True)
    study = DataChanges(settings)
    study.check_ratings()
    n_scans = {name: study.n_scans(name) for name in settings.datasets}
    told = study.settle()
    typer.echo("\n".join(table(plan(study.config, n_scans))))
    typer.echo(
        "Estimated from the number of scans by file names, and from measured costs of scans; "
        "pre-training, tasks and the report are not included."
    )
    for line in fits(study.config):
        typer.echo(line)
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
