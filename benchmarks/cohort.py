"""What a cohort of up to 70,781 scans costs, and what a change of it costs again.

For each size a cohort is generated (`cohort_data`), and `snakemake` makes it stage by stage: CPU
and wall time per scan, peak memory, work files, files and bytes that stay, and from one size to the
next the exponent of the CPU time, the CPU time of one more scan, and that of a job without scans.

*science* is the CPU time of the computation alone: the same functions on the same series, in this
process. *bound* is that and the time to read the stage's input and to write its table as plain
bytes. Memory is the sum over the processes; pages that they share count in each. CPU time depends
little on what else runs on a machine, wall time does.

``changes`` then changes single things in one of these cohorts, and prints for each the jobs that
ran and their CPU time.

Run: ``python benchmarks/cohort.py stages FOLDER --scans 1000,10000,70781``, then ``python
benchmarks/cohort.py changes FOLDER/1000``. The full size needs 12 GB. ``--few`` is for small sizes.
Linux only, because of `snakemake_cost`.
"""

from __future__ import annotations

import itertools
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import yaml
from cohort_data import (
    T_R,
    datasets,
    filtered_fraction,
    read_phenotypes,
    series,
    write_cohort,
    write_phenotypes,
)
from snakemake_cost import Cost, adopt_orphans, cpu_of_children, n_bytes, n_files, snakemake

from brainmass_core import clean_series, functional_connectivity, pseudo_fc

STAGES = ("scans", "timeseries", "connectivity", "pfc")
# stage to where it reads its scans; it writes to the folder of its name
READS = {"timeseries": "data", "connectivity": "results/timeseries", "pfc": "results/timeseries"}


def cpu_ms_per_mb(folder: Path, n: int = 64) -> tuple[float, float]:
    """CPU-ms to read and to write a million plain bytes, of a file in the cache."""
    file, content = folder / "bytes", os.urandom(10**6)
    began = time.process_time()
    with file.open("wb") as stream:
        for _ in range(n):
            stream.write(content)
    wrote = time.process_time()
    with file.open("rb") as stream:
        while stream.read(10**6):
            pass
    read = time.process_time()
    file.unlink()
    return 1000 * (read - wrote) / n, 1000 * (wrote - began) / n


def science(filtered: float, n: int = 200) -> dict[str, float]:
    """CPU-ms per scan of the computations alone, in this process; a fraction is filtered."""
    given = [series(0, k, 180) for k in range(n)]
    does: dict[str, Callable[[np.ndarray], object]] = {
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
    found["timeseries"] *= filtered
    return found


def whole(
    folder: Path, n_scans: int, per_batch: int | None, few: bool, cores: int
) -> dict[str, Cost]:
    """Make a cohort stage by stage, print a row each, then take the first steps of pre-training."""
    config = write_cohort(folder, n_scans, per_batch, few)
    results = folder / "results"
    shutil.rmtree(results, ignore_errors=True)
    costs, alone, rates = {}, science(filtered_fraction(n_scans, few)), cpu_ms_per_mb(folder)
    titles = f"{'stage':14}{'jobs':>5}{'CPU-ms':>8}{'science':>9}{'bound':>7}{'of CPU':>8}"
    titles += f"{'kB read':>9}{'written':>9}{'wall-ms':>9}{'MB':>6}{'work files':>12}"
    typer.echo(f"\n{n_scans} scans; CPU-ms, kB and wall-ms per scan\n{titles}")
    for stage in STAGES:
        cost = costs[stage] = snakemake(config, stage, cores=cores)
        cpu, wall = 1000 * cost.cpu / n_scans, 1000 * cost.wall / n_scans
        row = f"{stage:14}{sum(cost.jobs.values()):5}{cpu:8.2f}"
        if stage in alone:
            moved = [n_bytes(folder / READS[stage]), n_bytes(results / stage)]
            kb = [n / 1000 / n_scans for n in moved]
            bound = alone[stage] + sum(k / 1000 * ms for k, ms in zip(kb, rates, strict=True))
            row += f"{alone[stage]:9.2f}{bound:7.2f}{bound / cpu:8.0%}{kb[0]:9.1f}{kb[1]:9.1f}"
        else:
            row += " " * 42
        typer.echo(f"{row}{wall:9.2f}{cost.mb:6.0f}{cost.work_files:12}")
    beyond = sum(1000 * costs[s].cpu / n_scans - alone[s] for s in alone)
    typer.echo(f"CPU-ms per scan of {', '.join(alone)} beyond the science: {beyond:.2f}")
    typer.echo(f"files that stay: {n_files(results)}, {n_bytes(results) / 1e9:.3f} GB")
    none = snakemake(config, "pfc", cores=cores)
    typer.echo(f"nothing to do: {none.cpu:.1f} CPU-s, {none.mb:.0f} MB, jobs {none.jobs}")
    seconds, cpu = first_steps(config)
    typer.echo(f"first checkpoint of pre-training: {cpu:.1f} CPU-s, {seconds:.1f} s")
    return costs


def compared(small: int, large: int, costs: dict[int, dict[str, Cost]]) -> None:
    """Print how the CPU time of each stage grows from one size to the next."""
    typer.echo(f"\nfrom {small} to {large} scans")
    typer.echo(f"{'stage':14}{'exponent':>9}{'CPU-ms of a scan':>18}{'CPU-s of a job':>16}")
    for stage in STAGES:
        one, two = costs[small][stage], costs[large][stage]
        exponent = math.log(two.cpu / one.cpu) / math.log(large / small)
        jobs = [sum(c.jobs.values()) for c in (one, two)]
        both = np.array([[small, jobs[0]], [large, jobs[1]]], float)
        per_scan, per_job = np.linalg.solve(both, [one.cpu, two.cpu])
        typer.echo(f"{stage:14}{exponent:9.2f}{1000 * per_scan:18.2f}{per_job:16.2f}")


def first_steps(config: Path) -> tuple[float, float]:
    """Seconds and CPU-seconds until the first checkpoint, after 20 steps; then it is stopped."""
    log, results = config.parent / "pretrain.log", config.parent / "results"
    command = ["brainmass", "pretrain", "--config", str(results / "config.yaml")]
    before, began = cpu_of_children(), time.monotonic()
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        work = results / "work" / "pretrain"
        while process.poll() is None and not any(work.rglob("step-*.pt")):
            time.sleep(0.5)
        seconds = time.monotonic() - began
        process.send_signal(signal.SIGTERM)
        process.wait()
    if not any(work.rglob("step-*.pt")):
        raise SystemExit(log.read_text()[-3000:])
    return seconds, cpu_of_children() - before


Change = Callable[[Path], None]


def edited(config: Path, edit: Callable[[dict], None]) -> None:
    """Change the configuration."""
    raw = yaml.safe_load(config.read_text())
    edit(raw)
    config.write_text(yaml.safe_dump(raw, sort_keys=False))


def one_participant_more(config: Path) -> None:
    data = config.parent / "data"
    header, rows = read_phenotypes(data / "set01.csv")
    new = [f"sub-SET01{99_999 - len(rows)}", *rows[0][1:]]
    write_phenotypes(data / "set01.csv", header, [*rows, new])
    np.save(data / "set01" / f"{new[0]}_task-rest_run-1.npy", series(1, 99_999, 160))


def one_phenotype(config: Path) -> None:
    file = config.parent / "data" / "set21.csv"
    header, rows = read_phenotypes(file)
    rows[3][2] = str(float(rows[3][2]) + 1)
    write_phenotypes(file, header, rows)


def batches_doubled(config: Path) -> None:
    settled = yaml.safe_load((config.parent / "results" / "config.yaml").read_text())["datasets"]

    def edit(raw: dict) -> None:
        raw["datasets"]["set00"]["batches"] = 2 * settled["set00"]["batches"]

    edited(config, edit)


def age_renamed(config: Path) -> None:
    file = config.parent / "data" / "set22.csv"
    header, rows = read_phenotypes(file)
    header[2] += "_in_years"
    write_phenotypes(file, header, rows)
    edited(config, lambda raw: raw["datasets"]["set22"]["phenotype"].update(age_column=header[2]))


def another_seed(config: Path) -> None:
    edited(config, lambda raw: raw.update(seed=raw.get("seed", 0) + 7))


def one_file_replaced(config: Path) -> None:
    file = sorted((config.parent / "data" / "set02").glob("*.npy"))[0]
    np.save(file, np.load(file)[::-1])


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
    files = [f for name in plain for f in sorted((config.parent / "data" / name).glob("*.npy"))]
    return files[50::100]


CHANGES: dict[str, Change] = {
    "one participant more": one_participant_more,
    "one age corrected": one_phenotype,
    "batches of set00 doubled": batches_doubled,
    "age column renamed": age_renamed,
    "another seed": another_seed,
    "one file replaced": one_file_replaced,
    "1 % damaged": one_in_a_hundred_damaged,
    "mended, and retry": mended,
}


app = typer.Typer(add_completion=False, help=__doc__.split("\n\n")[0])
Cores = Annotated[int, typer.Option(help="Of Snakemake.")]


@app.command()
def stages(
    folder: Annotated[Path, typer.Argument(help="Where cohorts are written.")],
    scans: Annotated[str, typer.Option(help="Sizes, separated by commas.")] = "1000,10000,70781",
    per_batch: Annotated[
        int | None,
        typer.Option(help="Scans per batch; default: the batches that brainmass chooses."),
    ] = None,
    few: Annotated[bool, typer.Option("--few", help="Eight data sets instead of thirty.")] = False,
    cores: Cores = 2,
) -> None:
    """Make cohorts stage by stage and print what each costs."""
    adopt_orphans()
    sizes = sorted(int(n) for n in scans.split(","))
    costs = {n: whole(folder.absolute() / str(n), n, per_batch, few, cores) for n in sizes}
    for small, large in itertools.pairwise(sizes):
        compared(small, large, costs)


@app.command()
def changes(
    folder: Annotated[Path, typer.Argument(help="A finished cohort; it is changed.")],
    cores: Cores = 2,
) -> None:
    """Change one thing after the other; print the jobs that ran and their CPU time."""
    adopt_orphans()
    config = folder.absolute() / "config.yaml"
    targets = ("connectivity", "pfc")
    snakemake(config, *targets, cores=cores)
    typer.echo(f"{'change':26}{'CPU-s':>8}  jobs")
    for name, change in CHANGES.items():
        change(config)
        cost = snakemake(config, *targets, cores=cores)
        jobs = ", ".join(f"{rule} {n}" for rule, n in sorted(cost.jobs.items()))
        typer.echo(f"{name:26}{cost.cpu:8.1f}  {jobs or 'none'}")


if __name__ == "__main__":
    app()
