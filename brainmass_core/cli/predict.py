"""The command `predict`: score new scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainmass_core.cli.application import app
from brainmass_core.cli.logs import start_log
from brainmass_core.cli.options import LogPath, Threads, usable_cores


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
        Path | None, typer.Option(help="Also write the embeddings to this .parquet file.")
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
    t_r: Annotated[
        float | None, typer.Option("--t-r", help="Repetition time of ready series, s.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="Glob of the series in a folder, such as *.1D.")
    ] = None,
    header: Annotated[
        bool | None,
        typer.Option("--header/--no-header", help="Whether series as text have a header row."),
    ] = None,
    array: Annotated[
        str | None, typer.Option(help="Name of the series array in .npz files.")
    ] = None,
    orientation: Annotated[
        str | None, typer.Option(help="Axes of the series: time_by_roi or roi_by_time.")
    ] = None,
    atlas: Annotated[Path | None, typer.Option(help="Label image of the model's atlas.")] = None,
    as_trained: Annotated[
        bool,
        typer.Option(
            "--as-trained",
            help="State that input without provenance was processed like the training data.",
        ),
    ] = False,
    work: Annotated[
        Path | None, typer.Option(help="Folder of intermediate results. Default: temporary.")
    ] = None,
    threads: Threads = 1,
    log: LogPath = None,
) -> None:
    """Score new scans with a task's model; input processed differently from its training data is
    refused."""
    start_log(log)
    from brainmass_core.predict import Options
    from brainmass_core.predict import predict as score

    threads = usable_cores(threads)
    chosen, codes = tuple(dataset or ()), tuple(missing_value or ())
    options = Options(
        *(phenotype, t_r, atlas, as_trained, pattern, threads, chosen, codes),
        *(tuple(valid_value or ()), header, array, orientation),
    )
    score(model, given, out, embeddings, config, options, work)
