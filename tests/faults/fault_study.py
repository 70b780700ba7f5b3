"""The small study of the fault drill: how it is run, and what of its results is compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import study

N_PARTICIPANTS = 24
TARGET = "pretrain"
SCAN_TIMEOUT = 20  # s
REPLACED = "scan005.1D"
SERIES_STAGES = ("timeseries", "connectivity", "pfc")
# of Snakemake and of logs: made by every run, and not part of the results
NOT_RESULTS = ("logs", ".snakemake")
RETRIED = ".retried"  # of `brainmass retry`
CHECKPOINT = re.compile(r"^(work/pretrain/[^/]+/)[^/]+/[^/]+/(tensorboard|step-)(\d+\.pt)?$")

REMEDY = re.compile(
    r"(\S+): damaged Parquet file .*; remove it and run: snakemake --cores all (\w+)"
)


def write_data(folder: Path) -> None:
    """Write the series, and ``other.txt``, with which the series of a scan may be replaced."""
    study.write_ready_series(folder, N_PARTICIPANTS)
    header, *rows = (folder / REPLACED).read_text().splitlines()
    (folder / "other.txt").write_text("\n".join([header, *reversed(rows)]) + "\n")


def write(folder: Path, data: Path) -> None:
    """Write a study: a copy of the data, and the configuration.

    Hashes contain the paths of the data: only studies in the same place have the same tables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(data, folder / "data")
    config = study.ready_series_config(folder / "data", scan_timeout=SCAN_TIMEOUT)
    config["pretrain"] |= {"epochs": 4}
    study.write_config(folder, config)


def start(folder: Path, *options: str, **environment: str) -> subprocess.Popen:
    """Start the workflow; its output is added to ``run.log``."""
    with (folder / "run.log").open("a") as log:
        return subprocess.Popen(
            study.command("--cores", "2", *options, TARGET),
            cwd=folder,
            env=study.environment() | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def finish(folder: Path, attempts: int = 3, timeout: float = 1800) -> int:
    """Give the same command until it ends well; return how often, or fail with what it printed."""
    for attempt in range(1, attempts + 1):
        if start(folder).wait(timeout) == 0:
            return attempt
    raise AssertionError(f"{attempts} runs failed:\n{(folder / 'run.log').read_text()[-3000:]}")


def finish_with_remedies(folder: Path, attempts: int = 4, timeout: float = 1800) -> int:
    """Like `finish`, but do what messages about damaged tables say: remove them, make them again.

    Nobody reads some tables again; those are found here, and must not be readable.
    """
    for attempt in range(1, attempts + 1):
        if start(folder).wait(timeout) == 0:
            unread = [file for file in study.tables(folder / "results") if _damaged(file)]
            if not unread:
                return attempt
            for file in unread:
                _make_again(folder, file, file.relative_to(folder / "results").parts)
        else:
            said = REMEDY.findall((folder / "run.log").read_text())
            there = [(folder / file, stage) for file, stage in said if (folder / file).exists()]
            assert there, f"no remedy:\n{(folder / 'run.log').read_text()[-3000:]}"
            _make_again(folder, there[-1][0], (there[-1][1],))
    raise AssertionError(f"{attempts} runs failed:\n{(folder / 'run.log').read_text()[-3000:]}")


def _damaged(file: Path) -> bool:
    try:
        pq.ParquetFile(file, page_checksum_verification=True).read()
    except (OSError, ValueError):
        return True
    return False


def _make_again(folder: Path, file: Path, parts: tuple[str, ...]) -> None:
    """Remove a damaged table and run its stage; with a manifest also the table of its batch."""
    file.unlink()
    if parts[0] == "manifest":
        folder.joinpath("results", *parts[1:]).unlink(missing_ok=True)
        parts = parts[1:]
    study.succeed(folder, parts[0])


def processes(folder: Path) -> list[psutil.Process]:
    """Processes that belong to the study in this folder, by command line or working directory."""
    found = []
    for process in psutil.process_iter():
        try:
            inside = process.cwd() == str(folder)
            if inside or any(str(folder) in word for word in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return [p for p in found if p.pid != os.getpid()]


def results(folder: Path) -> dict[str, object]:
    """Tables and weights of a study, without timings and paths."""
    return study.contents(folder / "results")


def names(folder: Path) -> set[str]:
    """All files below the results, but for logs and marks of `brainmass retry`."""
    return set(_names(folder / "results"))


def _names(where: Path) -> Iterator[str]:
    for file in where.rglob("*"):
        parts = file.relative_to(where).parts
        if file.is_file() and not set(parts) & set(NOT_RESULTS) and file.suffix != RETRIED:
            # TensorBoard puts time and process into the names of its files
            name = "/".join(p for p in parts if not p.startswith("events.out.tfevents"))
            # checkpoints of a training with other scans, such as those that failed, are kept
            yield CHECKPOINT.sub(r"\1\2", name)


def failed(folder: Path) -> list[str]:
    """Scans recorded as failed; on a machine that is too busy the time limit may end them."""
    found = []
    for file in sorted((folder / "results" / "manifest").glob("*/*/*.parquet")):
        table = pq.ParquetFile(file).read(columns=["scan_id", "status", "reason"]).to_pylist()
        found += [f"{r['scan_id']}: {r['reason']}" for r in table if r["status"] == "failed"]
    return found


def recorded(folder: Path) -> dict[tuple[str, str], float]:
    """Seconds of every published scan, by stage and scan: another number means done again."""
    found = {}
    for stage in SERIES_STAGES:
        for file in (folder / "results" / "manifest" / stage).glob("*/*.parquet"):
            try:
                table = pq.ParquetFile(file).read(columns=["scan_id", "seconds"]).to_pydict()
            except (OSError, ValueError):  # it has just been replaced
                continue
            pairs = zip(table["scan_id"], table["seconds"], strict=True)
            found |= {(stage, scan): seconds for scan, seconds in pairs}
    return found
