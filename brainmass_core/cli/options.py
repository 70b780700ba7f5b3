"""Shared options of commands, and checks against the configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from brainmass_core.config import Config

ConfigPath = Annotated[Path, typer.Option("--config", help="Configuration file.")]
DatasetName = Annotated[str, typer.Option("--dataset", help="Name of the data set.")]
BatchNumber = Annotated[int, typer.Option("--batch", help="Number of the batch.", min=0)]
Threads = Annotated[
    int, typer.Option("--threads", help="Number of scans processed in parallel.", min=1)
]
LogPath = Annotated[Path | None, typer.Option("--log", help="Also write the log to this file.")]
DEFAULT_CONFIG = Path("config.yaml")


def load(path: Path, **options: Any) -> Config:
    """Read the configuration from a file; pydantic is imported only here.

    Settings whose default depends on the number of scans are those of the last run, if there is
    one.
    """
    from brainmass_core.config import load_config
    from brainmass_core.config.study_size import is_settled

    config = load_config(path, **options)
    if is_settled(config):
        return config
    from brainmass_core.pipeline.data_changes import DataChanges, settled_as_planned

    config = settled_as_planned(config)
    if is_settled(config) or not options.get("check_paths", True):
        return config
    study = DataChanges(config)
    study.settle()
    return study.config


def refuse(message: str) -> NoReturn:
    """Raise a `ConfigError`."""
    from brainmass_core.config import ConfigError

    raise ConfigError(message)


def check_dataset(config: Config, name: str, batch: int = 0) -> None:
    """Refuse a data set or a batch that is not in the configuration."""
    if name not in config.datasets:
        refuse(f"--dataset {name}: expected one of {sorted(config.datasets)}")
    batches = config.datasets[name].batches
    if batch >= batches:
        refuse(f"--batch {batch}: {name} has the batches 0 to {batches - 1}")


def usable_cores(wanted: int) -> int:
    """Number of threads, limited to the cores that this process may use."""
    return min(wanted, len(os.sched_getaffinity(0)))
