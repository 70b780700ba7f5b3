"""The command `run`: a BIDS App."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from brainmass_core.cli.application import app
from brainmass_core.cli.logs import start_log

SEVERAL = {"participant-label", "session-label"}  # options that take all words up to the next


class Level(StrEnum):
    """Levels of analysis of a BIDS App."""

    PARTICIPANT = "participant"
    GROUP = "group"


class BidsAppCommand(TyperCommand):
    """Options as BIDS Apps write them: ``--participant-label 01 02``, ``--participant_label``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Rewrite the words before they are parsed."""
        return super().parse_args(ctx, spelled_out(args))


def spelled_out(words: list[str]) -> list[str]:
    """Words with one option for each of several values, and hyphens in names of options.

    Examples
    --------
    >>> spelled_out(["data", "out", "group", "--participant_label", "01", "02"])[3:]
    ['--participant-label', '01', '--participant-label', '02']
    """
    found: list[str] = []
    option = ""  # that takes the words which follow
    for i, word in enumerate(words):
        if word == "--":
            return found + words[i:]
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            name = name.replace("_", "-")
            option = name if name.removeprefix("--") in SEVERAL and not equals else ""
            found += [] if option else [name + equals + value]
        elif word.startswith("-") and len(word) > 1:
            option = ""
            found.append(word)
        else:
            found += [option, word] if option else [word]
    return found


@app.command("run", cls=BidsAppCommand)
def run(
    bids_dir: Annotated[
        Path, typer.Argument(metavar="BIDS_DIR", help="BIDS data set, or derivatives of fMRIPrep.")
    ],
    output_dir: Annotated[
        Path, typer.Argument(metavar="OUTPUT_DIR", help="Folder for all output.")
    ],
    level: Annotated[
        Level,
        typer.Argument(
            metavar="participant|group",
            help="participant: series, FC and quality pages. group: all that --config asks for, "
            "such as tasks and the report.",
        ),
    ],
    participant_label: Annotated[
        list[str] | None,
        typer.Option(help="Only these participants, with or without sub-; several may follow."),
    ] = None,
    session_label: Annotated[
        list[str] | None, typer.Option(help="Only BOLD runs of these sessions.")
    ] = None,
    task_id: Annotated[str | None, typer.Option(help="Only BOLD runs of this task.")] = None,
    atlas: Annotated[
        str | None,
        typer.Option(help="Label image (.nii.gz), or a name such as Schaefer2018-200-7networks."),
    ] = None,
    denoise: Annotated[
        str | None, typer.Option(help="Preset of denoising, such as 36p; default: cpac-default.")
    ] = None,
    n_procs: Annotated[
        int | None,
        typer.Option("--n-procs", "--nprocs", "--n-cpus", "--nthreads", min=1, help="Cores."),
    ] = None,
    mem_mb: Annotated[
        int | None, typer.Option("--mem-mb", "--mem", min=600, help="Memory in MB.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="Snakemake profile: slurm submits the jobs to Slurm.")
    ] = None,
    work_dir: Annotated[
        Path | None,
        typer.Option("--work-dir", "-w", help="Temporary files. Default: OUTPUT_DIR/work."),
    ] = None,
    skip_bids_validation: Annotated[
        bool, typer.Option("--skip-bids-validation", help="Do not run the BIDS validator.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="Further settings (YAML): tasks, roles, phenotypes.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the configuration and list the jobs.")
    ] = False,
) -> None:
    """Run the workflow as a BIDS App, without writing a configuration."""
    start_log(None)
    from brainmass_core.bids_app.configuration import (
        Request,
        absolute,
        checked,
        configuration,
        with_earlier,
        write,
    )

    request = Request(
        bids_dir,
        output_dir,
        *(tuple(participant_label or ()), tuple(session_label or ()), task_id, atlas, denoise),
        *(n_procs or _cores(profile), mem_mb, config),
    )
    raw = with_earlier(request, configuration(request))
    checked(raw)  # with them, too
    if not skip_bids_validation:
        _validate(raw, absolute(bids_dir))
    file = write(Path(absolute(output_dir)), raw, " ".join(sys.argv))
    status = _run(level, file, n_procs, mem_mb, profile, work_dir, dry_run)
    if status == 0 and not dry_run:
        _say_where(level, output_dir, list(raw["datasets"]))
    raise typer.Exit(status)


def _cores(profile: str | None) -> int | None:
    """Cores of this machine that jobs may use; a profile may run them on others."""
    from brainmass_core.cli.options import usable_cores

    return None if profile else usable_cores(1024)


def _validate(raw: dict[str, Any], bids_dir: str) -> None:
    if {"bids"} == {d["kind"] for d in raw["datasets"].values() if d["path"] == bids_dir}:
        from brainmass_core.bids_app.validation import validate

        validate(Path(bids_dir))


def _run(
    level: Level,
    file: Path,
    n_procs: int | None,
    mem_mb: int | None,
    profile: str | None,
    work_dir: Path | None,
    dry_run: bool,
) -> int:
    import os

    from brainmass_core.bids_app import workflow

    work = (work_dir or file.parent / "work").absolute()
    work.mkdir(parents=True, exist_ok=True)
    temporary = None
    if work_dir is not None:
        temporary = work / "tmp"
        temporary.mkdir(exist_ok=True)
    words = workflow.command(level.value, file, work, n_procs, mem_mb, profile, dry_run)
    return workflow.run(words, workflow.environment(work, os.environ, temporary))


def _say_where(level: Level, output_dir: Path, datasets: list[str]) -> None:
    for name in datasets:
        typer.echo(f"quality: {output_dir / 'quality' / name / 'index.html'}")
    if level is Level.GROUP:
        typer.echo(f"report: {output_dir / 'report' / 'index.html'}")
