"""Snakemake's profile, as far as it concerns Slurm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class ProfileError(ValueError):
    """A profile that cannot be read."""


@dataclass(frozen=True)
class Profile:
    """Settings of a profile; None where it has none.

    Attributes
    ----------
    mem_mb, minutes : int
        Resources of rules that request none.
    jobs : int
        Number of jobs that are submitted at the same time.
    retries : int
        Further attempts of a failed job, each with twice the memory of the one before.
    latency_wait : float
        Seconds that Snakemake waits for a file after its job has ended.
    """

    file: Path
    partition: str | None = None
    account: str | None = None
    status_command: str | None = None
    requeue: bool = False
    mem_mb: int = 1000
    minutes: int = 60
    jobs: int = 100
    retries: int = 0
    latency_wait: float = 5


def read_profile(folder: Path) -> Profile:
    """Read ``config.yaml`` in the folder of a profile, or its newer ``config.v8+.yaml``.

    Raises
    ------
    ProfileError
        If there is none, or it is not a mapping with values of the right kind.
    """
    names = ("config.v8+.yaml", "config.yaml")
    file = next((folder / n for n in names if (folder / n).is_file()), None)
    if file is None:
        raise ProfileError(
            f"{folder}: contains no {names[1]}; expected the folder of a Snakemake profile, such "
            "as slurm/ of this repository"
        )
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        resources = given.get("default-resources") or {}
        if isinstance(resources, list):  # of the form name=value
            resources = dict(str(item).split("=", 1) for item in resources)
        return Profile(file, **_set(_settings(given, resources)))
    except (OSError, yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
        raise ProfileError(f"{file}: cannot be read as a Snakemake profile: {error}") from None


def _settings(given: dict[str, Any], resources: dict[str, Any]) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "mem_mb": resources.get("mem_mb"),
        "minutes": resources.get("runtime"),
        "jobs": given.get("jobs"),
        "retries": given.get("retries"),
        "latency_wait": given.get("latency-wait"),
    }
    return {name: None if v is None else int(v) for name, v in numbers.items()} | {
        "partition": _word(resources.get("slurm_partition")),
        "account": _word(resources.get("slurm_account")),
        "status_command": given.get("slurm-status-command"),
        "requeue": given.get("slurm-requeue"),
    }


def _set(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _word(value: Any) -> str | None:
    """A name, without the quotes that Snakemake's expressions need."""
    return None if value is None else str(value).strip("'\"")
