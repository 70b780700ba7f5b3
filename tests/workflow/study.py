"""Small studies on disk and the commands a user types, for the tests of the whole DAG."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from brainmass_core.pipeline.journal import whole_records

ROOT = Path(__file__).parents[2]
# timings, and paths that differ between two studies in different folders
VOLATILE = {"seconds", "peak_rss", "peak_rss_mb", "seconds_per_step", "peak_rss_per_step", "log"}
VOLATILE |= {"bold_path", "t1w_path", "reason"}
# stages of a study of ready series: each is made from those before it, or from some of them
ORDER = ("timeseries", "connectivity", "quality", "pfc", "pretrain", "finetune")
ORDER += ("interpret", "report")


def write_ready_series(folder: Path, n_participants: int = 32, n_rois: int = 20) -> Path:
    """Parcel series of two groups and two sites, written as PCP writes them; one is damaged."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    shared = rng.standard_normal((4, n_rois))
    for i in range(n_participants):
        group = i % 2
        n_timepoints = 80 + 5 * (i % 3)
        factors = rng.standard_normal((n_timepoints, 4))
        series = factors @ shared + rng.standard_normal((n_timepoints, n_rois))
        series[:, :4] += (3.0 if group else 0.0) * factors[:, :1]
        name = f"scan{i:03d}"
        header = "\t".join(f"#{k + 1}" for k in range(n_rois))
        np.savetxt(folder / f"{name}.1D", series, "%.6f", "\t", header=header, comments="")
        rows.append((name, f"p{i:03d}", "AB"[i // 2 % 2], 20 + i, "MF"[i % 2], 1 + group, 2.0))
    columns = ["file", "participant", "site", "age", "sex", "dx", "tr"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "phenotype.csv", index=False)
    (folder / "scan001.1D").write_text("#1\t#2\n1.0\t2.0\n")  # wrong column count
    return folder


def ready_series_config(folder: Path, n_rois: int = 20, **over: object) -> dict:
    """Configuration of a study of ready series; small enough for seconds."""
    return {
        "datasets": {
            "ready": {
                "kind": "timeseries",
                "role": "internal",
                "path": str(folder),
                "pattern": "*.1D",
                "batches": 2,
                "evaluation_fraction": 0.5,
                "stratify_by": "dx",
                "phenotype": {
                    "path": str(folder / "phenotype.csv"),
                    "id_column": "participant",
                    "scan_column": "file",
                    "site_column": "site",
                    "age_column": "age",
                    "sex_column": "sex",
                    "t_r_column": "tr",
                },
            }
        },
        "atlas": {"name": "parcels", "n_rois": n_rois},
        "pretrain": {
            "epochs": 6,
            "batch_size": 8,
            "checkpoint_steps": 1,
            "n_masked_classification": 4,
            "n_masked_reconstruction": 2,
        },
        "tasks": {
            "diagnosis": {
                "datasets": ["ready"],
                "label": "dx",
                "classes": {"control": ["1"], "patient": ["2"]},
                "protocol": {"n_splits": 3, "n_repeats": 2},
            }
        },
        "quality": {"pages": "flagged"},
        "finetune": {"n_bootstrap": 200},
        "resources": {"timeseries": {"cpus_per_task": 1}, "pretrain": {"cpus_per_task": 1}},
    } | over


def raw_bids_config() -> dict:
    """Configuration of four synthetic participants, registered coarsely; all may move."""
    return {
        "datasets": {
            "demo": {
                "kind": "bids",
                "role": "internal",
                "path": "demo",
                "synthetic": {"n_participants": 4, "n_volumes": 40, "voxel_size": 6.0},
                "evaluation_fraction": 0.5,
            }
        },
        "preprocess": {
            "registration": "syn_fast",
            "resolution": 4,
            "max_mean_fd": None,
            "min_coregistration_sharpness": None,  # voxels of 6 mm blur every boundary
        },
        "resources": {"preprocess": {"cpus_per_task": 1}},
    }


def write_config(folder: Path, config: dict) -> None:
    """Write ``config.yaml`` to a study's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def command(*arguments: str) -> list[str]:
    """The Snakemake command line a user types, with the Snakefile of this checkout."""
    snakefile = str(ROOT / "workflow" / "Snakefile")
    return [sys.executable, "-m", "snakemake", "--snakefile", snakefile, *arguments]


def environment() -> dict[str, str]:
    """This interpreter's commands first, one thread per process."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}


def snakemake(folder: Path, *arguments: str, timeout: float = 3000) -> subprocess.CompletedProcess:
    """Run Snakemake in a study's folder and return what it printed; the limit only ends a hang."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def succeed(folder: Path, *targets: str) -> str:
    """Run a study, or its `targets`, to the end, and return what was printed."""
    done = snakemake(folder, "--cores", "2", *targets)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return done.stdout + done.stderr


def made_from(stage: str) -> tuple[str, ...]:
    """A stage and those that come after it."""
    return ORDER[ORDER.index(stage) :]


def finished_before(stage: str, finished: Path, folder: Path) -> None:
    """Copy a finished study to `folder`, without `stage` and what comes after it."""
    shutil.copytree(finished, folder)
    for later in made_from(stage):
        for made in (later, f"manifest/{later}", f"logs/{later}", f"work/{later}"):
            shutil.rmtree(folder / "results" / made, ignore_errors=True)
        assert not list((folder / "results").rglob(f"*{later}*")), "nothing of it is left"


def kill_when(
    folder: Path, ready: Callable[[], bool], whom: str, *targets: str, timeout: float = 3000
) -> bool:
    """Start Snakemake and kill -9 as soon as `ready`.

    Parameters
    ----------
    whom : str
        ``all``: Snakemake and its jobs. ``snakemake``: it alone, its jobs live on. ``job``: the
        running jobs, after which Snakemake ends by itself.

    Returns
    -------
    bool
        Whether something was killed before the run came to its end.
    """
    process = subprocess.Popen(
        command("--cores", "2", *targets),
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    end = time.monotonic() + timeout
    while process.poll() is None and not ready() and time.monotonic() < end:
        time.sleep(0.01)
    killed = process.poll() is None
    if killed and whom == "all":
        # one by one: torchrun puts its workers into sessions, and so groups, of their own
        below = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        for each in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    elif killed and whom == "snakemake":
        process.kill()
    elif killed:
        killed = kill_jobs(process.pid)
    process.wait()
    return killed


def kill_jobs(snakemake_pid: int) -> bool:
    """kill -9 every `brainmass` process below a Snakemake; whether there was one."""
    below = psutil.Process(snakemake_pid).children(recursive=True)
    killed = False
    for process in below:
        with contextlib.suppress(psutil.Error):
            if any(Path(word).name == "brainmass" for word in process.cmdline()[:2]):
                process.kill()
                killed = True
    return killed


def kept(results: Path, stage: str) -> dict[str, float]:
    """Scans that an unfinished batch has kept, and how long they took."""
    entries = {}
    for path in results.glob(f"work/{stage}/*/scans/*/*.json"):
        entry = json.loads(path.read_text())["entry"]
        entries[entry["scan_id"]] = entry["seconds"]
    for path in results.glob(f"work/{stage}/*/*/*.journal"):
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:  # just published
            for record in whole_records(file):
                entries[record.entry.scan_id] = record.entry.seconds
    return entries


def contents(results: Path) -> dict[str, pa.Table | bytes]:
    """Every table and model file of a results folder, without timings and log paths."""
    found: dict[str, pa.Table | bytes] = {}
    for file in _published(results):
        name = str(file.relative_to(results))
        if file.suffix == ".parquet":
            table = pq.ParquetFile(file).read()
            found[name] = table.drop_columns([c for c in table.column_names if c in VOLATILE])
        else:
            found[name] = file.read_bytes()
    return found


def tables(results: Path) -> list[Path]:
    """Published tables."""
    return [file for file in _published(results) if file.suffix == ".parquet"]


def _published(results: Path) -> Iterable[Path]:
    for pattern in ("*.parquet", "*.safetensors"):
        for file in sorted(results.rglob(pattern)):
            if "work" not in file.relative_to(results).parts:
                yield file
