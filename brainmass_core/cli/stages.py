"""Commands of the stages."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from brainmass_core.cli.application import app
from brainmass_core.cli.logs import start_log
from brainmass_core.cli.options import (
    DEFAULT_CONFIG,
    BatchNumber,
    ConfigPath,
    DatasetName,
    LogPath,
    Threads,
    check_dataset,
    load,
    refuse,
    usable_cores,
)
from brainmass_core.pipeline.stages import STAGES, stages_of


class TaskPart(StrEnum):
    """Parts of the stage `finetune`."""

    SCORES = "scores"
    FEW_SHOT = "few-shot"
    ZERO_SHOT = "zero-shot"
    MODEL = "model"


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to write; must not contain other data.")],
    config: ConfigPath = DEFAULT_CONFIG,
    dataset: Annotated[
        str | None, typer.Option(help="Data set of the configuration that gives the size.")
    ] = None,
    log: LogPath = None,
) -> None:
    """Write the synthetic BIDS data set."""
    start_log(log)
    from brainmass_core.config.inputs import Synthetic

    size = Synthetic()
    if dataset is not None:
        settings = load(config)
        check_dataset(settings, dataset)
        size = settings.datasets[dataset].synthetic or size
    from brainmass_core.demo import write_demo
    from brainmass_core.pipeline.fingerprints import remember

    write_demo(folder, size)
    remember(folder)


@app.command(help=STAGES["scans"].summary)
def scans(
    dataset: DatasetName,
    config: ConfigPath = DEFAULT_CONFIG,
    log: LogPath = None,
) -> None:
    """Run the stage `scans` of a data set."""
    start_log(log)
    settings = load(config)
    check_dataset(settings, dataset)
    from brainmass_core.pipeline.dag import Study
    from brainmass_core.pipeline.paths import Paths
    from brainmass_core.scans import run
    from brainmass_core.tables import atomic_path

    # read before listing, so that changes in the meantime count as new
    seen = Study(settings).listed_from(dataset)
    run(settings, dataset)
    with atomic_path(Paths(settings.results).listed_from(dataset)) as file:
        file.write_text(seen, encoding="utf-8")


def _add_batch_stage(stage: str) -> None:
    """Add the command of a stage that processes batches; all have the same options."""

    @app.command(stage, help=STAGES[stage].summary)
    def command(
        dataset: DatasetName,
        batch: BatchNumber,
        config: ConfigPath = DEFAULT_CONFIG,
        threads: Threads = 1,
        log: LogPath = None,
    ) -> None:
        start_log(log)
        settings = load(config)
        check_dataset(settings, dataset, batch)
        run = import_module(f"brainmass_core.{stage}").run
        run(settings, dataset, batch, usable_cores(threads))


for _stage in stages_of("batch"):
    _add_batch_stage(_stage)


@app.command("quality-dataset")
def quality_dataset(
    dataset: DatasetName,
    config: ConfigPath = DEFAULT_CONFIG,
    log: LogPath = None,
) -> None:
    """Write the cohort page of a data set: distributions, outliers, groups, motion in FC."""
    start_log(log)
    settings = load(config)
    check_dataset(settings, dataset)
    from brainmass_core.quality import run_dataset

    run_dataset(settings, dataset)


@app.command(help=STAGES["pretrain"].summary)
def pretrain(config: ConfigPath = DEFAULT_CONFIG, log: LogPath = None) -> None:
    """Run the stage `pretrain`."""
    start_log(log)
    settings = load(config)
    from brainmass_core.pretrain.launch.torchrun import run

    run(settings, config)


@app.command(help=STAGES["finetune"].summary)
def finetune(
    task: Annotated[str, typer.Option("--task", help="Name of the task.")],
    config: ConfigPath = DEFAULT_CONFIG,
    log: LogPath = None,
    part: Annotated[
        TaskPart,
        typer.Option(
            "--part",
            help="The scores, few-shot curves, zero-shot transfer, or the model for new scans.",
        ),
    ] = TaskPart.SCORES,
) -> None:
    """Run one part of the stage `finetune` of a task."""
    start_log(log)
    settings = load(config)
    if task not in settings.tasks:
        refuse(f"--task {task}: expected one of {sorted(settings.tasks)}")
    from brainmass_core.finetune import run, run_few_shot, run_zero_shot
    from brainmass_core.predict import deploy

    parts = {
        TaskPart.SCORES: run,
        TaskPart.FEW_SHOT: run_few_shot,
        TaskPart.ZERO_SHOT: run_zero_shot,
        TaskPart.MODEL: deploy,
    }
    parts[part](settings, task)


@app.command(help=STAGES["interpret"].summary)
def interpret(
    task: Annotated[str, typer.Option("--task", help="Name of the task.")],
    config: ConfigPath = DEFAULT_CONFIG,
    log: LogPath = None,
) -> None:
    """Run the stage `interpret` of a task."""
    start_log(log)
    settings = load(config)
    if task not in settings.tasks:
        refuse(f"--task {task}: expected one of {sorted(settings.tasks)}")
    from brainmass_core.interpret import run

    run(settings, task)


@app.command("series_model", help=STAGES["series_model"].summary)
def series_model(
    analysis: Annotated[str, typer.Option("--analysis", help="One of series_model.analyses.")],
    config: ConfigPath = DEFAULT_CONFIG,
    log: LogPath = None,
) -> None:
    """Run one analysis of the stage `series_model`."""
    start_log(log)
    settings = load(config)
    if analysis not in settings.series_model.analyses:
        refuse(
            f"--analysis {analysis}: expected one of series_model.analyses, which are "
            f"{settings.series_model.analyses}"
        )
    from brainmass_core.series_model.stage import run

    run(settings, analysis)


@app.command(help=STAGES["report"].summary)
def report(
    page: Annotated[str, typer.Option("--page", help="Name of a task, or index.")],
    config: ConfigPath = DEFAULT_CONFIG,
    log: LogPath = None,
) -> None:
    """Write one page of the report."""
    start_log(log)
    settings = load(config)
    if page not in (*settings.tasks, "index"):
        refuse(f"--page {page}: expected index or one of {sorted(settings.tasks)}")
    from brainmass_core.report import run

    run(settings, page)
