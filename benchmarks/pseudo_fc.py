"""Pairs of pseudo-FC views per CPU-second: ours, nilearn's per view, and the authors' code by path.

All sides get the same series and run interleaved in this process on one thread, several calls at a
time, for so a batch of scans is worked on; rates are those of the medians. Ours makes as many views
of a scan as the `pfc` stage does by default; `torch` makes two of each of 64 scans, as pre-training
on time series does, here on the CPU. The first bound is the matrix products that ours needs, one
triangle of them (``n² d T`` operations a view and ``n² T`` a scan), at the rate of a large
single-precision product; the second is what must at least be read and written (series, and views of
4 bytes an edge) at the rate of a copy. Both are measured in the same run.

Run on an idle machine: ``OMP_NUM_THREADS=1 python benchmarks/pseudo_fc.py [--official FOLDER]``,
where FOLDER holds the ``network_dataset.py`` of the authors' release.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from nilearn.connectome import ConnectivityMeasure
from sklearn.covariance import EmpiricalCovariance, LedoitWolf

from brainmass_core.connectivity import vectorise
from brainmass_core.pfc import Dropping, kept_timepoints, pseudo_fc, scan_seed
from brainmass_core.pfc.draw import kept_masks, seeds_of
from brainmass_core.pfc.torch import by_length, pseudo_fc_of

RATE = 0.2


def series(n_timepoints: int, n_rois: int) -> np.ndarray:
    """Structured series (n_timepoints, n_rois): eight shared factors and noise."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((n_timepoints, 8)) @ rng.standard_normal((8, n_rois))
    return (shared + 2 * rng.standard_normal((n_timepoints, n_rois))).astype(np.float32)


def nilearns(bold: np.ndarray, estimator: str, n_views: int) -> np.ndarray:
    """The views of `pseudo_fc` through nilearn, one by one."""
    covariance = LedoitWolf() if estimator == "ledoit_wolf" else EmpiricalCovariance()
    measure = ConnectivityMeasure(cov_estimator=covariance, kind="correlation")
    seed = scan_seed(0, "scan")
    kept = kept_timepoints(Dropping(RATE).dropped(len(bold), n_views, seed), len(bold))
    return vectorise(np.concatenate([measure.fit_transform([bold[rows]]) for rows in kept]))


def authors(folder: Path, bold: np.ndarray, where: Path) -> Callable[[], object]:
    """One pair of the authors' data set, which reads its file each time."""
    sys.path.insert(0, str(folder))
    np.save(where / "scan.npy", bold.T)
    pd.DataFrame({"file": ["scan.npy"]}).to_csv(where / "scans.csv")
    data = import_module("network_dataset").Task1Data(
        root=str(where), csv=str(where / "scans.csv"), mask_way="mask_per", mask_len=20
    )
    return lambda: data[0]


def matmul_rate(n: int = 2048) -> float:
    """Operations per second of a large product in single precision."""
    a = np.random.default_rng(0).standard_normal((n, n)).astype(np.float32)
    times = [cpu_seconds(lambda: a @ a) for _ in range(5)]
    return 2 * n**3 / min(times)


def cpu_seconds(make: Callable[[], object], calls: int = 1) -> float:
    """CPU time of one call, over several in a row."""
    start = time.process_time()
    for _ in range(calls):
        make()
    return (time.process_time() - start) / calls


def copy_rate(n: int = 2**25) -> float:
    """Bytes per second, read and written, of copying a large array."""
    a, b = np.ones(n, np.uint8), np.empty(n, np.uint8)
    return 2 * n / min(cpu_seconds(lambda: np.copyto(b, a)) for _ in range(5))


def batched(bold: np.ndarray, estimator: str, n_scans: int = 64) -> Callable[[], object]:
    """Draw and compute two views of each of many scans by torch."""
    scans, lengths = [bold] * n_scans, np.full(n_scans, len(bold))
    seeds, cpu = seeds_of([0], np.arange(n_scans)), torch.device("cpu")

    def make() -> object:
        kept = kept_masks(Dropping(RATE), lengths, seeds, 2)
        return pseudo_fc_of(by_length(scans, kept), estimator, cpu)

    return make


def main(
    n_timepoints: Annotated[int, typer.Option()] = 200,
    n_rois: Annotated[int, typer.Option()] = 100,
    n_views: Annotated[int, typer.Option()] = 8,
    repeats: Annotated[int, typer.Option()] = 50,
    official: Annotated[Path | None, typer.Option(help="Folder of the authors' code.")] = None,
) -> None:
    """Print pairs per CPU-second and ratios, for both estimators."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    bold = series(n_timepoints, n_rois)
    print(f"{n_timepoints} timepoints, {n_rois} ROIs, {n_views} views; {repeats} repeats")
    flops = n_rois**2 * n_timepoints * (RATE * n_views + 1) / n_views * 2  # of a pair
    peak = matmul_rate()
    bytes_ = 4 * (n_rois * (n_rois - 1) + n_timepoints * n_rois / n_views * 2)
    bound, memory = peak / flops, copy_rate() / bytes_
    print(f"bounds: {flops / 1e6:.2f} MFLOP a pair at {peak / 1e9:.0f} GFLOP/s are {bound:.0f}")
    print(f"  pairs/s; {bytes_ / 1e3:.1f} kB a pair at the rate of a copy are {memory:.0f} pairs/s")
    with tempfile.TemporaryDirectory() as folder:
        for estimator in ("pearson", "ledoit_wolf"):
            _compare(bold, estimator, n_views, repeats, official, Path(folder), bound)


def _compare(
    bold: np.ndarray,
    estimator: str,
    n_views: int,
    repeats: int,
    official: Path | None,
    folder: Path,
    bound: float,
) -> None:
    # what is timed, pairs that it makes, calls in a row
    sides: dict[str, tuple[Callable[[], object], float, int]] = {
        "ours": (
            lambda: pseudo_fc(bold, n_views, RATE, scan_seed(0, "scan"), estimator),
            n_views / 2,
            20,
        ),
        "torch": (batched(bold, estimator), 64, 1),
        "nilearn": (lambda: nilearns(bold, estimator, 2), 1, 3),
    }
    if official is not None and estimator == "ledoit_wolf":  # the only one that they have
        sides["authors"] = (authors(official, bold, folder), 1, 3)
    ours = pseudo_fc(bold, 2, RATE, scan_seed(0, "scan"), estimator)
    difference = np.abs(ours - nilearns(bold, estimator, 2)).max()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, (make, _n, calls) in sides.items():
            seconds[name].append(cpu_seconds(make, calls))
    rate = {name: side[1] / np.median(seconds[name]) for name, side in sides.items()}
    print(f"{estimator}: " + ", ".join(f"{k} {v:.0f}" for k, v in rate.items()) + " pairs/CPU-s")
    ratios = ", ".join(f"{rate['ours'] / v:.1f} x {k}" for k, v in rate.items() if k != "ours")
    print(f"  {ratios}; ours reaches {rate['ours'] / bound:.0%} of the bound by")
    print(f"  its matrix products; largest difference from nilearn {difference:.1e}")


if __name__ == "__main__":
    typer.run(main)
