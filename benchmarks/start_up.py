"""What the command line costs before it works: CPU seconds beside those of a bare interpreter.

Each row is the least of several runs of a fresh process, and its ratio to ``python -c pass``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated

import typer

from brainmass_core.cli import app

CLI = [sys.executable, "-m", "brainmass_core.cli"]


def commands() -> dict[str, list[str]]:
    """What is timed, by its name."""
    root = typer.main.get_command(app)
    found = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import brainmass_core": [sys.executable, "-c", "import brainmass_core"],
        "brainmass --help": [*CLI, "--help"],
    }
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        for words in [[name], *([name, part] for part in getattr(command, "commands", ()))]:
            found[f"brainmass {' '.join(words)} --help"] = [*CLI, *words, "--help"]
    return found | {"brainmass config check": [*CLI, "config", "check"]}


def cpu_seconds(command: list[str]) -> float:
    """User and system time of a process."""
    before = os.times()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return (
        after.children_user
        + after.children_system
        - (before.children_user + before.children_system)
    )


def main(
    runs: Annotated[int, typer.Option(help="Of each command, after one that fills the cache.")] = 3,
) -> None:
    """Time every command in a folder with a `config.yaml`."""
    bare = 0.0
    for name, command in commands().items():
        cpu_seconds(command)
        least = min(cpu_seconds(command) for _ in range(runs))
        bare = bare or least
        print(f"{name:45} {least:6.2f} s {least / bare:6.1f} times", flush=True)


if __name__ == "__main__":
    typer.run(main)
