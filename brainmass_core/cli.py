"""``brainmass <stage> ...``: parse, call, write. The rules call exactly these commands.

A command imports what it needs when it runs, and a stage only once its arguments are known to be
right: help and users' errors do not wait for torch.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from brainmass_core import __version__
from brainmass_core.encoders.registry import encoders, resolve
from brainmass_core.pipeline.stages import STAGES, stages_of

if TYPE_CHECKING:
    from brainmass_core.config import Config

app = typer.Typer(
    help="From raw fMRI scans to a diagnosis model a lab can defend.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Check and explain the configuration.", no_args_is_help=True)
app.add_typer(config_app, name="config")
logger = logging.getLogger("brainmass_core")

ConfigPath = Annotated[Path, typer.Option("--config", help="Configuration file.")]
DatasetName = Annotated[str, typer.Option("--dataset", help="Name of the data set.")]
BatchNumber = Annotated[int, typer.Option("--batch", help="Number of the batch.", min=0)]
Threads = Annotated[int, typer.Option("--threads", help="Scans worked on at once.", min=1)]
LogPath = Annotated[Path | None, typer.Option("--log", help="Also write the log to this file.")]
DEFAULT_CONFIG = Path("config.yaml")


class TaskPart(StrEnum):
    """What is made of a task."""

    SCORES = "scores"
    FEW_SHOT = "few-shot"
    ZERO_SHOT = "zero-shot"
    MODEL = "model"


def main() -> None:
    """Run the command; users' errors are one message, never a traceback."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except Exception as error:
        _say(error)
        sys.exit(1)


def _say(error: Exception) -> None:
    """One line for what users can mend; a traceback for what they cannot."""
    if not _is_the_users(error):
        logger.error("unexpected error: please report it with this traceback", exc_info=error)
        return
    logger.debug("", exc_info=error)
    if not isinstance(error, OSError) or isinstance(error, FileNotFoundError) or not error.errno:
        logger.error("%s", error)  # ours, which says all
        return
    from brainmass_core.pipeline.disk import explain

    if error.filename is None:  # what is left to print would fail again at the end
        with suppress(OSError):  # a test may have put a buffer in place of the output
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    logger.error("%s", explain(error))


def _is_the_users(error: Exception) -> bool:
    if isinstance(error, ValueError | OSError):
        return True
    from brainmass_core.pipeline.batch import BatchError

    return isinstance(error, BatchError)


class _LogFile(logging.FileHandler):
    """A log that ends with one line on the terminal when its disk is full."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - of logging
        """Say once why there is no more log; the command goes on."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self.setLevel(logging.CRITICAL + 1)
        from brainmass_core.pipeline.disk import explain

        failed = OSError(error.errno, error.strerror, self.baseFilename)
        print(f"the log ends here: {explain(failed)}", file=sys.stderr)

    def close(self) -> None:
        """What could not be written before cannot be written now."""
        with suppress(OSError):
            super().close()


def _start_log(path: Path | None) -> None:
    """Plain lines to the terminal; everything, tracebacks included, to the file."""
    console = logging.StreamHandler(sys.stderr)
    console.setLevel(logging.INFO)
    handlers: list[logging.Handler] = [console]
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _LogFile(path, mode="w", encoding="utf-8")
        file.setLevel(logging.DEBUG)
        handlers.append(file)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        handlers=handlers,
    )
    logger.setLevel(logging.DEBUG)
    logging.captureWarnings(True)
    warnings.simplefilter("default", category=UserWarning)


def _load(path: Path, **options: Any) -> Config:
    from brainmass_core.config import load_config

    return load_config(path, **options)


def _refuse(message: str) -> NoReturn:
    from brainmass_core.config import ConfigError

    raise ConfigError(message)


def _dataset(config: Config, name: str, batch: int = 0) -> None:
    if name not in config.datasets:
        _refuse(f"--dataset {name}: expected one of {sorted(config.datasets)}")
    batches = config.datasets[name].batches
    if batch >= batches:
        _refuse(f"--batch {batch}: {name} has the batches 0 to {batches - 1}")


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to write; must not hold other data.")],
    config: ConfigPath = DEFAULT_CONFIG,
    dataset: Annotated[str | None, typer.Option(help="Its size is read from here.")] = None,
    log: LogPath = None,
) -> None:
    """Write the synthetic BIDS data set."""
    _start_log(log)
    from brainmass_core.config.inputs import Synthetic

    size = Synthetic()
    if dataset is not None:
        settings = _load(config)
        _dataset(settings, dataset)
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
    _start_log(log)
    settings = _load(config)
    _dataset(settings, dataset)
    from brainmass_core.pipeline.dag import Study
    from brainmass_core.pipeline.paths import Paths
    from brainmass_core.scans import run
    from brainmass_core.tables import atomic_path

    seen = Study(settings).listed_from(dataset)  # before: what changes meanwhile is new again
    run(settings, dataset)
    with atomic_path(Paths(settings.results).listed_from(dataset)) as file:
        file.write_text(seen, encoding="utf-8")


def _add_batch_stage(stage: str) -> None:
    """Add the command of a stage that works on batches; all have the same options."""

    @app.command(stage, help=STAGES[stage].summary)
    def command(
        dataset: DatasetName,
        batch: BatchNumber,
        config: ConfigPath = DEFAULT_CONFIG,
        threads: Threads = 1,
        log: LogPath = None,
    ) -> None:
        _start_log(log)
        settings = _load(config)
        _dataset(settings, dataset, batch)
        run = import_module(f"brainmass_core.{stage}").run
        run(settings, dataset, batch, min(threads, len(os.sched_getaffinity(0))))


for _stage in stages_of("batch"):
    _add_batch_stage(_stage)


@app.command("quality-dataset")
def quality_dataset(
    dataset: DatasetName,
    config: ConfigPath = DEFAULT_CONFIG,
    log: LogPath = None,
) -> None:
    """Write the cohort page of a data set: distributions, outliers, groups, motion in FC."""
    _start_log(log)
    settings = _load(config)
    _dataset(settings, dataset)
    from brainmass_core.quality import run_dataset

    run_dataset(settings, dataset)


@app.command(help=STAGES["pretrain"].summary)
def pretrain(config: ConfigPath = DEFAULT_CONFIG, log: LogPath = None) -> None:
    _start_log(log)
    settings = _load(config)
    from brainmass_core.pretrain import run

    run(settings, config)


def _logged(command: Callable[..., None]) -> Callable[..., None]:
    """The same command with a log on the terminal."""

    @wraps(command)
    def run(*given: Any, **named: Any) -> None:
        _start_log(None)
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
    _start_log(None)
    from brainmass_core.predict.checksum import write_checksums

    typer.echo(f"{write_checksums(folder)}: checksums written")


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
    _start_log(log)
    settings = _load(config)
    if task not in settings.tasks:
        _refuse(f"--task {task}: expected one of {sorted(settings.tasks)}")
    from brainmass_core.finetune import run, run_few_shot, run_zero_shot
    from brainmass_core.predict import deploy

    parts = {
        TaskPart.SCORES: run,
        TaskPart.FEW_SHOT: run_few_shot,
        TaskPart.ZERO_SHOT: run_zero_shot,
        TaskPart.MODEL: deploy,
    }
    parts[part](settings, task)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Folder of a model: results/finetune/TASK/model.")],
    given: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="Results folder, BIDS folder, derivatives, parcel series, FC tables or matrices.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Table to write: .parquet, .tsv or .csv.")] = Path(
        "predictions.parquet"
    ),
    embeddings: Annotated[
        Path | None, typer.Option(help="Also write the embeddings, .parquet.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Configuration of a results folder. Default: its own.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Data sets of a results folder. Default: all.")
    ] = None,
    phenotype: Annotated[
        Path | None, typer.Option(help="Table of participant_id, site, sex, age, mean_fd.")
    ] = None,
    missing_value: Annotated[
        list[str] | None,
        typer.Option(help="Code of missing values in that table, such as -9999; repeatable."),
    ] = None,
    valid_value: Annotated[
        list[float] | None,
        typer.Option(help="Number in it that looks like such a code but is measured; repeatable."),
    ] = None,
    t_r: Annotated[float | None, typer.Option("--t-r", help="Of ready series, s.")] = None,
    pattern: Annotated[
        str | None, typer.Option(help="Glob of the series in a folder, such as *.1D.")
    ] = None,
    header: Annotated[
        bool | None,
        typer.Option("--header/--no-header", help="Whether series as text have a header row."),
    ] = None,
    array: Annotated[
        str | None, typer.Option(help="Name of the array that is the series in .npz files.")
    ] = None,
    orientation: Annotated[
        str | None, typer.Option(help="Axes of the series: time_by_roi or roi_by_time.")
    ] = None,
    atlas: Annotated[Path | None, typer.Option(help="Label image of the model's atlas.")] = None,
    as_trained: Annotated[
        bool, typer.Option("--as-trained", help="Input that does not say so was made as training.")
    ] = False,
    work: Annotated[
        Path | None, typer.Option(help="Folder of intermediate results. Default: temporary.")
    ] = None,
    threads: Threads = 1,
    log: LogPath = None,
) -> None:
    """Score new scans with a task's model; input that was not made as its training is refused."""
    _start_log(log)
    from brainmass_core.predict import Options
    from brainmass_core.predict import predict as score

    threads = min(threads, len(os.sched_getaffinity(0)))
    chosen, codes = tuple(dataset or ()), tuple(missing_value or ())
    options = Options(
        *(phenotype, t_r, atlas, as_trained, pattern, threads, chosen, codes),
        *(tuple(valid_value or ()), header, array, orientation),
    )
    score(model, given, out, embeddings, config, options, work)


@app.command(help=STAGES["interpret"].summary)
def interpret(
    task: Annotated[str, typer.Option("--task", help="Name of the task.")],
    config: ConfigPath = DEFAULT_CONFIG,
    log: LogPath = None,
) -> None:
    _start_log(log)
    settings = _load(config)
    if task not in settings.tasks:
        _refuse(f"--task {task}: expected one of {sorted(settings.tasks)}")
    from brainmass_core.interpret import run

    run(settings, task)


@app.command("series_model", help=STAGES["series_model"].summary)
def series_model(
    analysis: Annotated[str, typer.Option("--analysis", help="One of series_model.analyses.")],
    config: ConfigPath = DEFAULT_CONFIG,
    log: LogPath = None,
) -> None:
    _start_log(log)
    settings = _load(config)
    if analysis not in settings.series_model.analyses:
        _refuse(
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
    _start_log(log)
    settings = _load(config)
    if page not in (*settings.tasks, "index"):
        _refuse(f"--page {page}: expected index or one of {sorted(settings.tasks)}")
    from brainmass_core.report import run

    run(settings, page)


@app.command()
def status(
    config: ConfigPath = DEFAULT_CONFIG,
    watch: Annotated[float, typer.Option(help="Show again every so many seconds.")] = 0.0,
) -> None:
    """Show where a run stands: scans done, failed, excluded and left, per stage."""
    settings = _load(config, check_paths=False)
    from rich.console import Console

    from brainmass_core.pipeline.status import show

    show(settings, Console(), watch)


@app.command()
def retry(config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Make the next `snakemake` try failed and excluded scans again; finished ones are kept."""
    settings = _load(config, check_paths=False)
    from brainmass_core.pipeline.paths import Paths
    from brainmass_core.pipeline.status import forget_exclusions, forget_failures

    tables = forget_failures(Paths(settings.results))
    for dataset, changed in forget_exclusions(settings).items():
        typer.echo(f"excluded scans of {dataset} were listed again: {len(changed)} batches change")
        tables += [table for table in changed if table not in tables]
    for table in tables:
        typer.echo(f"will be made again: {table}")


@config_app.command("check")
def config_check(config: Annotated[Path, typer.Argument()] = DEFAULT_CONFIG) -> None:
    """Validate a configuration and list every error at once; warn of missing programs."""
    settings = _load(config)
    from brainmass_core.preprocess.engines import missing

    for line in missing(settings.preprocess.engines):
        typer.echo(f"warning: {line}", err=True)
    typer.echo(f"{config}: {len(settings.datasets)} data sets, {len(settings.tasks)} tasks, valid")


@config_app.command("presets")
def config_presets() -> None:
    """List the presets that a configuration may extend."""
    from brainmass_core.config import list_presets

    typer.echo("\n".join(list_presets()))


@config_app.command("reference")
def config_reference() -> None:
    """Print the reference page of every knob."""
    from brainmass_core.config.reference import reference_markdown

    typer.echo(reference_markdown())


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema, for editors."""
    from brainmass_core.config.reference import json_schema

    typer.echo(json_schema())


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


if __name__ == "__main__":
    main()
