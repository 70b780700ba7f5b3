"""Samples per second of the pre-training stream, against what the machine and a step allow.

Shards and time-series tables of random numbers are written to a temporary folder and streamed by
one thread: stored views with the files dropped from the page cache, with them in it, and with all
data held in memory; then new views from series, with their computation here on the CPU. Bounds,
measured in the same run: reading the bytes of the shards as they are (an epoch reads all views of a
scan to use two), and copying the two views of each sample. A sample is one scan: two views and the
masks.

Run on an idle machine: ``OMP_NUM_THREADS=1 python benchmarks/stream.py [--official FOLDER]
[--other MODULE:FUNCTION]``. FOLDER holds the ``network_dataset.py`` of the authors' release, which
makes its views from one file per scan. FUNCTION is another implementation: it takes (index, seed,
batch_size, n_masked) as `Stream` does and returns something with ``batch(step)``. All sides run
interleaved, round by round.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
import typer

from brainmass_core.pfc import SCANS_PER_ROW_GROUP, Dropping
from brainmass_core.pretrain.data.views import Fresh, Group, Index, Stream
from brainmass_core.tables import from_rows, n_edges, pfc_schema, timeseries_schema, write_table

STEPS = (98_505, 28_104, 7_535)  # small, base, large at 600 TFLOP/s: docs/explanation/pfc.md
MASKED = (10, 5)
IN_SHARD = 256


def shards(folder: Path, n_scans: int, n_views: int, n_rois: int) -> Index:
    """Write pFC shards as the stage does, and index them."""
    rng, groups, width = np.random.default_rng(0), [], 2 * n_edges(n_rois)
    for start in range(0, n_scans, IN_SHARD):
        ids = [f"s{k:06}" for k in range(start, min(start + IN_SHARD, n_scans))]
        rows = len(ids) * n_views
        data = rng.uniform(-1, 1, rows * width // 2).astype("<f2")
        columns = {
            "scan_id": np.repeat(ids, n_views).tolist(),
            "view": list(range(n_views)) * len(ids),
            "n_kept": [160] * rows,
            "seed": [0] * rows,
        }
        schema = pfc_schema(n_rois)
        arrays = [pa.array(v, schema.field(k).type) for k, v in columns.items()]
        fc = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(width), rows, [None, pa.py_buffer(data)]
        )
        file = folder / f"{start}.parquet"
        table = pa.Table.from_arrays([*arrays, fc], schema=schema)
        options: dict[str, Any] = {"compression": "none", "use_dictionary": ["scan_id"]}
        options["row_group_size"] = SCANS_PER_ROW_GROUP * n_views
        write_table(file, table, "pfc", write_statistics=False, **options)
        groups += [
            Group(file, i, tuple(ids[a : a + SCANS_PER_ROW_GROUP]))
            for i, a in enumerate(range(0, len(ids), SCANS_PER_ROW_GROUP))
        ]
    return Index(groups, n_rois, n_views, [], "")


def series(folder: Path, n_scans: int, n_timepoints: int, n_rois: int) -> Index:
    """Write time-series tables as the stage does, and index them."""
    rng, groups = np.random.default_rng(0), []
    for start in range(0, n_scans, IN_SHARD):
        ids = [f"s{k:06}" for k in range(start, min(start + IN_SHARD, n_scans))]
        rows = [
            {
                "scan_id": s,
                "status": "ok",
                "n_timepoints": n_timepoints,
                "bold": list(rng.standard_normal((n_timepoints, n_rois)).astype(np.float32)),
            }
            for s in ids
        ]
        file = folder / f"series-{start}.parquet"
        write_table(file, from_rows(rows, timeseries_schema(n_rois)), "timeseries")
        groups.append(Group(file, 0, tuple(ids), (n_timepoints,) * len(ids)))
    return Index(groups, n_rois, 0, [], "")


def authors(folder: Path, where: Path, n_timepoints: int, n_rois: int) -> Callable[[int], object]:
    """One sample at a time of the authors' data set."""
    sys.path.insert(0, str(folder))
    rng, names = np.random.default_rng(0), [f"{k}.npy" for k in range(64)]
    for name in names:
        np.save(where / name, rng.standard_normal((n_rois, n_timepoints)))
    pd.DataFrame({"file": names}).to_csv(where / "scans.csv")
    data = import_module("network_dataset").Task1Data(
        root=str(where), csv=str(where / "scans.csv"), mask_way="mask_per", mask_len=20
    )
    return lambda k: data[k % len(names)]


def forget(index: Index) -> None:
    """Ask the kernel to drop the files from its page cache."""
    for file in {g.file for g in index.groups}:
        with open(file, "rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed(work: Callable[[], int]) -> tuple[float, float]:
    """Samples per wall second and per CPU second of `work`, which returns how many it made."""
    wall, cpu = time.perf_counter(), time.process_time()
    n = work()
    return n / (time.perf_counter() - wall), n / (time.process_time() - cpu)


def bounds(index: Index, batch: int) -> dict[str, Callable[[], int]]:
    """What must be moved: the bytes of the shards, and the two views of each sample."""
    files = sorted({g.file for g in index.groups})
    room = bytearray(max(f.stat().st_size for f in files))
    width = n_edges(index.n_rois)
    stored, out = np.ones((4096, width), np.float16), np.empty((2 * batch, width), np.float16)

    def read() -> int:
        for file in files:
            with open(file, "rb", buffering=0) as stream:
                stream.readinto(room)
        return index.n_scans

    def read_cold() -> int:
        forget(index)
        return read()

    def copy() -> int:
        for step in range(index.n_scans // batch):
            start = 2 * step * batch % (len(stored) - 2 * batch)
            np.copyto(out, stored[start : start + 2 * batch])
        return index.n_scans // batch * batch

    return {"bound: read, cold": read_cold, "bound: read": read, "bound: copy": copy}


def walker(stream: Any, n_scans: int, batch: int, device: str | None = None) -> Callable[[], int]:
    """Stream epoch after epoch, each call one; on a device, if views are computed there."""
    steps = n_scans // batch
    done = [0]

    def walk() -> int:
        for step in range(done[0], done[0] + steps):
            made = stream.batch(step)
            if device:
                made.tensors(torch.device(device))
        done[0] += steps
        return steps * batch

    return walk


def main(
    n_scans: Annotated[int, typer.Option(help="Of the stored views.")] = 4096,
    n_series: Annotated[int, typer.Option(help="Of the time series.")] = 1024,
    n_views: Annotated[int, typer.Option()] = 8,
    n_rois: Annotated[int, typer.Option()] = 100,
    n_timepoints: Annotated[int, typer.Option()] = 200,
    batch: Annotated[int, typer.Option()] = 256,
    rounds: Annotated[int, typer.Option()] = 5,
    official: Annotated[Path | None, typer.Option(help="Folder of the authors' code.")] = None,
    other: Annotated[str, typer.Option(help="Another stream, as MODULE:FUNCTION.")] = "",
    folder: Annotated[Path | None, typer.Option(help="Where the shards lie meanwhile.")] = None,
) -> None:
    """Print rates, shares of the bounds, and how many steps of each size are fed."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        where = Path(name)
        stored, fresh = shards(where, n_scans, n_views, n_rois), Fresh(Dropping(0.2), "pearson")
        index = series(where, n_series, n_timepoints, n_rois)

        def stream(memory: int = 0) -> Stream:
            return Stream(stored, 0, batch, MASKED, memory=memory)

        def fresh_stream(memory: int = 0) -> Stream:
            return Stream(index, 0, batch, MASKED, fresh=fresh, memory=memory)

        warm = walker(stream(), n_scans, batch)

        cold_walk = walker(stream(), n_scans, batch)

        def cold() -> int:
            forget(stored)
            return cold_walk()

        held = walker(stream(10**12), n_scans, batch)
        kept = fresh_stream(10**12)
        sides = {
            **bounds(stored, batch),
            "stored, cold": cold,
            "stored, warm": warm,
            "stored, held": held,
            "series, warm": walker(fresh_stream(), n_series, batch),
            "series, held": walker(kept, n_series, batch),
            "series, held, with views": walker(kept, n_series, batch, "cpu"),
        }
        if other:
            module, function = other.split(":")
            made = getattr(import_module(module), function)(stored, 0, batch, MASKED)
            sides[f"other: {other}"] = walker(made, n_scans, batch)
        if official is not None:
            sample = authors(official, where, n_timepoints, n_rois)
            sides["authors, with views"] = lambda: len([sample(k) for k in range(64)])
        rates: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for number in range(rounds + 1):
            for name, work in sides.items():
                rate = timed(work)
                if number:  # the first round fills what is held
                    rates[name].append(rate)
    _show({k: tuple(np.median(v, axis=0)) for k, v in rates.items()}, n_views, n_rois, batch)


def _show(rates: dict[str, tuple[float, ...]], n_views: int, n_rois: int, batch: int) -> None:
    width = 2 * n_edges(n_rois)
    print(f"{n_rois} ROIs, {n_views} stored views, batches of {batch}; one pair of views is")
    print(f"{2 * width / 1e3:.1f} kB, all views of a scan are {n_views * width / 1e3:.1f} kB")
    bound_of = {
        "stored, cold": "bound: read, cold",
        "stored, warm": "bound: read",
        "stored, held": "bound: copy",
    }
    needs = "".join(f"{f'x {n}':>10s}" for n in STEPS)
    print(f"{'side':26s}{'samples/s':>11s}{'per CPU-s':>11s}{'of bound':>9s}{needs}")
    for name, (wall, cpu) in rates.items():
        share = f"{wall / rates[bound_of[name]][0]:9.0%}" if name in bound_of else " " * 9
        times = "".join(f"{wall / n:10.2f}" for n in STEPS)
        print(f"{name:26s}{wall:11.0f}{cpu:11.0f}{share}{times}")


if __name__ == "__main__":
    typer.run(main)
