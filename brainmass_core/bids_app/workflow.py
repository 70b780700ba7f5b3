"""Run the workflow on a configuration, from any folder and without writing to the installation."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from brainmass_core.workflow_files import SNAKEFILE, profile_path, workflow_root

Level = Literal["participant", "group"]
TARGETS: dict[Level, tuple[str, ...]] = {
    "participant": ("timeseries", "connectivity", "quality"),
    "group": ("all",),
}


def command(
    level: Level,
    config: Path,
    work: Path,
    cores: int | None = None,
    mem_mb: int | None = None,
    profile: str | None = None,
    dry_run: bool = False,
) -> list[str]:
    """The Snakemake command line.

    Parameters
    ----------
    config : Path
        Absolute path of the configuration.
    work : Path
        Folder in which Snakemake runs and keeps its own state (``.snakemake``).
    cores : int, optional
        Default: all.
    mem_mb : int, optional
        Memory of all jobs on this machine, if no profile submits them.
    """
    words = [sys.executable, "-m", "snakemake", *TARGETS[level]]
    words += ["--snakefile", str(workflow_root() / SNAKEFILE), "--directory", str(work)]
    words += ["--configfile", str(config), "--cores", "all" if cores is None else str(cores)]
    if profile:
        words += ["--profile", profile_path(profile)]
    elif mem_mb:
        words += ["--resources", f"mem_mb={mem_mb}"]
    return [*words, "--dry-run"] if dry_run else words


def environment(
    work: Path, given: Mapping[str, str], temporary: Path | None = None
) -> dict[str, str]:
    """Environment of Snakemake and its jobs.

    The program `brainmass` of this installation is found first, and caches are in the working
    folder if the home folder cannot be written.

    Parameters
    ----------
    temporary : Path, optional
        Folder for temporary files.
    """
    own = [str(Path(sys.executable).parent)]
    if Path(sys.argv[0]).name == "brainmass":
        own.insert(0, str(Path(sys.argv[0]).absolute().parent))
    path = os.pathsep.join([*dict.fromkeys(own), given.get("PATH", os.defpath)])
    found = {**given, "PATH": path}
    if not _writable(_cache(given)):
        found["XDG_CACHE_HOME"] = str(work / "cache")
        found.setdefault("MPLCONFIGDIR", str(work / "cache" / "matplotlib"))
    if temporary is not None:
        found["TMPDIR"] = str(temporary)
    return found


def run(words: Sequence[str], env: Mapping[str, str]) -> int:
    """Run Snakemake; signals are passed on, so that it can stop its jobs.

    Returns
    -------
    int
        Its exit status; 128 and the number of the signal if one ended it.
    """
    process = subprocess.Popen(words, env=dict(env))
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both
        signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGTERM))
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status


def _cache(given: Mapping[str, str]) -> Path | None:
    if given.get("XDG_CACHE_HOME"):
        return Path(given["XDG_CACHE_HOME"])
    try:
        return Path.home() / ".cache"
    except RuntimeError:  # no home folder
        return None


def _writable(folder: Path | None) -> bool:
    if folder is None:
        return False
    there = next((p for p in (folder, *folder.parents) if p.exists()), None)
    return there is not None and os.access(there, os.W_OK)
