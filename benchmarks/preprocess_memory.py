"""Memory of `preprocess` and `timeseries` on long runs, and how fast a run is read.

A head is made from the packaged template and scanned for the given number of volumes; the whole
path from the raw files to the parcel series is run, and the largest resident memory of each step
is printed, with its growth per volume. Reading is compared with nibabel's `get_fdata`, both sides
in this process, one after the other.

Run: ``OMP_NUM_THREADS=1 python benchmarks/preprocess_memory.py`` (100, 200 and 400 volumes at
3 mm; 10 minutes on one core), then with ``--size 2 --volumes 1200`` (1.9 GB of voxels, 8 GiB of
memory; 20 minutes).
"""

from __future__ import annotations

import gzip
import json
import logging
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import nibabel as nib
import numpy as np
import typer
from nilearn import datasets
from scipy.ndimage import affine_transform, gaussian_filter

from brainmass_core import preprocess, scans, timeseries
from brainmass_core.config import parse_config
from brainmass_core.pipeline.manifest import read_manifest
from brainmass_core.pipeline.paths import Paths
from brainmass_core.preprocess.functional.bold import load_bold
from brainmass_core.tables import read_table

T_R = 1.0
GRIDS = {3: (72, 72, 46), 2: (104, 104, 72)}  # voxels for each edge in mm


def head(size: float, shape: tuple[int, ...]) -> np.ndarray:
    """Contrast of an echo-planar image on a grid of `size` mm."""
    grey = datasets.load_mni152_gm_template(resolution=2)
    white = datasets.load_mni152_wm_template(resolution=2).get_fdata()
    brain = np.asarray(datasets.load_mni152_brain_mask(resolution=2).dataobj) > 0
    values = grey.get_fdata() + 0.8 * white + 1.3 * np.clip(1 - grey.get_fdata() - white, 0, 1)
    matrix = np.linalg.inv(grey.affine) @ place(size, shape)
    smooth = gaussian_filter(values * brain, 0.6 * size / 2)
    return affine_transform(smooth, matrix, output_shape=shape, order=1)


def place(size: float, shape: tuple[int, ...]) -> np.ndarray:
    """Voxel to mm, the template's origin near the middle."""
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = [0, -18, 8] - size * (np.array(shape) - 1) / 2
    return affine


def write_run(path: Path, size: int, n_volumes: int) -> None:
    """A run as int16, written volume by volume."""
    rng = np.random.default_rng(n_volumes)
    shape, still = GRIDS[size], 800 * head(size, GRIDS[size])
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((*shape, n_volumes))
    header.set_sform(place(size, shape), 1)
    header.set_zooms((size, size, size, T_R))
    header.set_xyzt_units("mm", "sec")
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    steps = rng.normal(0, 0.02, (n_volumes, 3)) / size
    walk = np.cumsum(steps, axis=0) - 0.01 * np.cumsum(np.cumsum(steps, axis=0), axis=0)
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.binaryblock + bytes(4))
        for t in range(n_volumes):
            volume = affine_transform(still, np.eye(3), walk[t], order=1)
            volume += 10 * rng.standard_normal(shape, dtype=np.float32) + 20
            file.write(volume.astype(np.int16).tobytes(order="F"))


def write_study(folder: Path, size: int, volumes: list[int]) -> None:
    """One participant for each run length."""
    template = datasets.load_mni152_template(resolution=2)
    (folder / "dataset_description.json").write_text('{"Name": "memory", "BIDSVersion": "1.8.0"}')
    n_slices = GRIDS[size][2]
    timing = np.tile(np.arange(n_slices // 2) * T_R / (n_slices // 2), 2).tolist()
    for n in volumes:
        stem = f"sub-{n:05d}"
        for kind in ("anat", "func"):
            (folder / stem / kind).mkdir(parents=True)
        t1w = nib.Nifti1Image((1000 * template.get_fdata()).astype(np.int16), template.affine)
        nib.save(t1w, folder / stem / "anat" / f"{stem}_T1w.nii.gz")
        write_run(folder / stem / "func" / f"{stem}_task-rest_bold.nii.gz", size, n)
        sidecar = folder / stem / "func" / f"{stem}_task-rest_bold.json"
        sidecar.write_text(json.dumps({"RepetitionTime": T_R, "SliceTiming": timing}))


def compare_reading(path: Path) -> None:
    """Print seconds of nibabel's and of our reading."""

    def seconds(read: Callable[[], Any]) -> float:
        start = time.process_time()
        read()
        return time.process_time() - start

    ours = seconds(lambda: load_bold(path))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    theirs = seconds(lambda: nib.load(path).get_fdata())
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(
        f"reading {path.name}: load_bold {ours:.1f} CPU-s, peak {peak:.2f} GiB; nibabel get_fdata "
        f"{theirs:.1f} CPU-s, peak {more:.2f} GiB; ratio of seconds {theirs / ours:.2f}",
        flush=True,
    )


def main(
    size: Annotated[int, typer.Option(help="Voxel edge, 3 or 2 mm.")] = 3,
    volumes: Annotated[list[int] | None, typer.Option(help="Run lengths.")] = None,
    despike: Annotated[bool, typer.Option(help="Also despike.")] = True,
    read: Annotated[bool, typer.Option(help="Also compare the reading.")] = True,
) -> None:
    """Write the runs, process them, print memory and seconds of each step."""
    logging.disable(logging.WARNING)
    lengths = volumes or [100, 200, 400]
    with tempfile.TemporaryDirectory(prefix="brainmass-memory-") as name:
        folder = Path(name)
        (folder / "bids").mkdir()
        write_study(folder / "bids", size, lengths)
        raw: dict[str, Any] = {
            "results": str(folder / "results"),
            "datasets": {
                "memory": {
                    "kind": "bids",
                    "role": "internal",
                    "path": str(folder / "bids"),
                    "synthetic": {},
                }
            },
            "max_failed_fraction": 1.0,
            "preprocess": {"despike": despike, "max_mean_fd": None, "derivatives": "minimal"},
        }
        config = parse_config(raw, "benchmark")
        scans.run(config, "memory")
        preprocess.run(config, "memory", 0, 1)
        timeseries.run(config, "memory", 0, 1)
        report(Paths(config.results), lengths, size)
        if read:
            compare_reading(next((folder / "bids").rglob(f"sub-{lengths[-1]:05d}*_bold.nii.gz")))
    sys.stdout.flush()


def report(paths: Paths, lengths: list[int], size: int) -> None:
    """Print a table: a row per step, a column per run."""
    rows = read_table(paths.batch("preprocess", "memory", 0), "preprocess").to_pylist()
    entries = read_manifest(paths.manifest("timeseries", "memory", 0))
    for entry in [*read_manifest(paths.manifest("preprocess", "memory", 0)), *entries]:
        if entry.status != "ok":
            print(f"{entry.stage} {entry.scan_id} {entry.status}: {entry.reason}")
    columns = {}
    for row, n in zip(rows, lengths, strict=True):
        peak, spent = dict(row["peak_rss_per_step"] or []), dict(row["seconds_per_step"] or [])
        columns[n] = {k: (peak.get(k, 0.0), s) for k, s in spent.items()}
    for entry, n in zip(entries, lengths, strict=False):
        columns[n]["timeseries"] = (entry.peak_rss_mb, entry.seconds)
    print(f"{GRIDS[size]} voxels of {size} mm; largest memory in MiB and wall seconds of each step")
    print(f"{'volumes':22s}" + "".join(f"{n:>20d}" for n in lengths))
    for step in columns[lengths[-1]]:
        found = [columns[n].get(step, (np.nan, np.nan)) for n in lengths]
        print(f"{step:22s}" + "".join(f"{mb:12.0f}{s:8.1f}" for mb, s in found))
    most = np.array([max(mb for mb, _ in columns[n].values()) for n in lengths]) / 1024
    print("largest, GiB          " + "".join(f"{m:20.2f}" for m in most))
    if len(lengths) > 2:
        slope, level = np.polyfit(lengths, most, 1)
        rest = np.abs(most - np.polyval([slope, level], lengths)).max()
        print(
            f"growth {1024 * slope:.2f} MiB per volume over {level:.2f} GiB; a run takes "
            f"{np.prod(GRIDS[size]) * 4 / 2**20:.2f} MiB per volume; off the line by {rest:.3f} GiB"
        )


if __name__ == "__main__":
    typer.run(main)
