"""What a cohort of up to 70,781 scans costs, and what a change of it costs again.

For each size a cohort is generated (`cohort_data`), and `snakemake` makes it stage by stage: CPU
and wall time per scan, peak memory, work files, files and bytes that stay, and the exponent with
which the CPU time grows from one size to the next. *Science* is the CPU time of the computation
alone: the same functions on the same series, in this process.

With ``--changes``, single things are then changed in the smallest cohort, and the jobs that ran and
their CPU time are printed for each.

Run: ``python benchmarks/cohort.py FOLDER --scans 1000,10000,70781``. The full size needs 12 GB.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer
import yaml
from cohort_data import T_R, datasets, read_phenotypes, series, write_cohort, write_phenotypes

from brainmass_core import clean_series, functional_connectivity, pseudo_fc

ROOT = Path(__file__).parents[1]
STAGES = ("scans", "timeseries", "connectivity", "pfc")
JOB = re.compile(r"^(\w+) +(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Cost:
    """What one run of Snakemake cost; memory in MB of its process tree, `jobs` by rule."""

    cpu: float
    wall: float
    mb: float
    work_files: int
    jobs: dict[str, int]


def cpu_of_children() -> float:
    """CPU-seconds of all children that this process has waited for, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def snakemake(config: Path, *targets: str, cores: int = 2) -> Cost:
    """Run the workflow up to the targets."""
    command = ["snakemake", *targets, "--snakefile", str(ROOT / "workflow" / "Snakefile")]
    command += ["--cores", str(cores), "--configfile", str(config)]
    log = config.parent / "snakemake.log"
    before, began = cpu_of_children(), time.monotonic()
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, cwd=config.parent, stdout=stream, stderr=subprocess.STDOUT
        )
        watched = Watch(process.pid, config.parent / "results" / "work")
        status = process.wait()
        peak = watched.stop()
    text = log.read_text()
    if status:
        raise SystemExit(f"{' '.join(command)}\n{text[-3000:]}")
    stats = text.partition("Job stats:")[2].partition("\n\n")[0]
    jobs = {rule: int(n) for rule, n in JOB.findall(stats) if rule not in ("total", *targets)}
    return Cost(cpu_of_children() - before, time.monotonic() - began, *peak, jobs)


class Watch:
    """Sample the memory of a process tree and the number of files below a folder."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._process, self._folder = psutil.Process(pid), folder
        self._mb, self._files, self._done = 0.0, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(1.0):
            try:
                tree = [self._process, *self._process.children(recursive=True)]
                mb = sum(p.memory_info().rss for p in tree) / 2**20
            except psutil.Error:
                continue
            self._mb = max(self._mb, mb)
            self._files = max(self._files, n_files(self._folder))

    def stop(self) -> tuple[float, int]:
        """Peak memory (MB) and number of files."""
        self._done.set()
        self._thread.join()
        return self._mb, self._files


def n_files(folder: Path) -> int:
    """Number of files below a folder."""
    return sum(len(files) for _, _, files in os.walk(folder))


def n_bytes(folder: Path) -> int:
    """Bytes below a folder; a file with several names counts once."""
    found = {}
    for where, _, files in os.walk(folder):
        for name in files:
            stat = os.stat(os.path.join(where, name))
            found[stat.st_ino] = stat.st_size
    return sum(found.values())


def science(n: int = 200) -> dict[str, float]:
    """CPU-ms per scan of the stages' computations alone, in this process."""
    given = [series(0, k, 180) for k in range(n)]
    does: dict[str, Callable[[np.ndarray], object]] = {
        # every second data set is filtered
        "timeseries": lambda x: clean_series(x, T_R),
        "connectivity": functional_connectivity,
        "pfc": lambda x: pseudo_fc(x, 8),
    }
    found = {}
    for stage, do in does.items():
        do(given[0])  # what is compiled or imported once
        began = time.process_time()
        for x in given:
            do(x)
        found[stage] = 1000 * (time.process_time() - began) / n
    found["timeseries"] /= 2
    return found


def whole(folder: Path, n_scans: int, per_batch: int, cores: int) -> dict[str, Cost]:
    """Make a cohort stage by stage, print a row each, then take the first steps of pre-training."""
    config = write_cohort(folder, n_scans, per_batch)
    shutil.rmtree(folder / "results", ignore_errors=True)
    costs, alone = {}, science()
    header = f"{'stage':14}{'jobs':>6}{'CPU-ms':>8}{'science':>9}{'wall-ms':>9}{'MB':>7}"
    typer.echo(f"\n{n_scans} scans\n{header}{'work files':>12}")
    for stage in STAGES:
        cost = costs[stage] = snakemake(config, stage, cores=cores)
        per_scan = f"{1000 * cost.cpu / n_scans:8.2f}{alone.get(stage, 0):9.2f}"
        wall = f"{1000 * cost.wall / n_scans:9.2f}"
        jobs = sum(cost.jobs.values())
        typer.echo(f"{stage:14}{jobs:6}{per_scan}{wall}{cost.mb:7.0f}{cost.work_files:12}")
    beyond = sum(1000 * costs[s].cpu / n_scans - alone[s] for s in alone)
    typer.echo(f"CPU-ms per scan of {', '.join(alone)} beyond the science: {beyond:.2f}")
    results = folder / "results"
    typer.echo(f"files that stay: {n_files(results)}, {n_bytes(results) / 2**30:.2f} GiB")
    none = snakemake(config, "pfc", cores=cores)
    typer.echo(f"nothing to do: {none.cpu:.1f} CPU-s, {none.mb:.0f} MB, jobs {none.jobs}")
    typer.echo(f"first steps of pre-training: {first_steps(config):.1f} s")
    return costs


def first_steps(config: Path) -> float:
    """Seconds until the first checkpoint, after 20 steps; training is then stopped."""
    began = time.monotonic()
    log = config.parent / "pretrain.log"
    command = ["brainmass", "pretrain", "--config", str(config)]
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        work = config.parent / "results" / "work" / "pretrain"
        while process.poll() is None and not any(work.rglob("*.pt")):
            time.sleep(0.5)
        seconds = time.monotonic() - began
        process.send_signal(signal.SIGTERM)
        process.wait()
    if not any(work.rglob("*.pt")):
        raise SystemExit(log.read_text()[-3000:])
    return seconds


Change = Callable[[Path], None]


def edited(config: Path, edit: Callable[[dict], None]) -> None:
    """Change the configuration."""
    raw = yaml.safe_load(config.read_text())
    edit(raw)
    config.write_text(yaml.safe_dump(raw, sort_keys=False))


def one_participant_more(config: Path) -> None:
    data = config.parent / "data"
    header, rows = read_phenotypes(data / "set01.csv")
    new = ["sub-SET0199999", *rows[0][1:]]
    write_phenotypes(data / "set01.csv", header, [*rows, new])
    np.save(data / "set01" / f"{new[0]}_task-rest_run-1.npy", series(1, 99_999, 160))


def one_phenotype(config: Path) -> None:
    file = config.parent / "data" / "set21.csv"
    header, rows = read_phenotypes(file)
    rows[3][2] = "33.3"
    write_phenotypes(file, header, rows)


def batches_doubled(config: Path) -> None:
    def edit(raw: dict) -> None:
        for dataset in raw["datasets"].values():
            dataset["batches"] *= 2

    edited(config, edit)


def age_renamed(config: Path) -> None:
    file = config.parent / "data" / "set22.csv"
    header, rows = read_phenotypes(file)
    write_phenotypes(file, ["years" if c == "age" else c for c in header], rows)
    edited(config, lambda raw: raw["datasets"]["set22"]["phenotype"].update(age_column="years"))


def another_seed(config: Path) -> None:
    edited(config, lambda raw: raw.update(seed=7))


def one_file_replaced(config: Path) -> None:
    file = sorted((config.parent / "data" / "set02").glob("*.npy"))[0]
    np.save(file, series(2, 123_456, 170))


def one_in_a_hundred_damaged(config: Path) -> None:
    for file in damaged(config):
        shutil.copy(file, file.with_suffix(".good"))
        file.write_bytes(file.read_bytes()[:5000])


def mended(config: Path) -> None:
    for file in damaged(config):
        os.replace(file.with_suffix(".good"), file)
    subprocess.run(["brainmass", "retry", "--config", str(config)], check=True)


def damaged(config: Path) -> list[Path]:
    """Every hundredth file of the data sets that have one file per scan."""
    plain = [d.name for d in datasets() if d.form == "files"]
    files = [f for n in plain for f in sorted((config.parent / "data" / n).glob("*.npy"))]
    return files[50::100]


CHANGES: dict[str, Change] = {
    "one participant more": one_participant_more,
    "one age corrected": one_phenotype,
    "batches doubled": batches_doubled,
    "age column renamed": age_renamed,
    "another seed": another_seed,
    "one file replaced": one_file_replaced,
    "1 % damaged": one_in_a_hundred_damaged,
    "mended, and retry": mended,
}


def changes(config: Path, cores: int) -> None:
    """Change one thing after the other; print the jobs that ran and their CPU time."""
    typer.echo(f"\n{'change':22}{'CPU-s':>8}  jobs")
    for name, change in CHANGES.items():
        change(config)
        cost = snakemake(config, "pfc", cores=cores)
        jobs = ", ".join(f"{rule} {n}" for rule, n in sorted(cost.jobs.items()))
        typer.echo(f"{name:22}{cost.cpu:8.1f}  {jobs or 'none'}")


def main(
    folder: Annotated[Path, typer.Argument(help="Where cohorts are written.")],
    scans: Annotated[str, typer.Option(help="Sizes, separated by commas.")] = "1000,10000,70781",
    per_batch: Annotated[int, typer.Option(help="Scans per batch.")] = 150,
    cores: Annotated[int, typer.Option()] = 2,
    with_changes: Annotated[bool, typer.Option("--changes/--no-changes")] = True,
) -> None:
    """Print the tables."""
    sizes = sorted(int(n) for n in scans.split(","))
    costs = {n: whole(folder.absolute() / str(n), n, per_batch, cores) for n in sizes}
    for small, large in itertools.pairwise(sizes):
        grows = math.log(large / small)
        found = {s: math.log(costs[large][s].cpu / costs[small][s].cpu) / grows for s in STAGES}
        shown = ", ".join(f"{stage} {value:.2f}" for stage, value in found.items())
        typer.echo(f"exponents from {small} to {large} scans: {shown}")
    if with_changes:
        changes(folder.absolute() / str(sizes[0]) / "config.yaml", cores)


if __name__ == "__main__":
    typer.run(main)
