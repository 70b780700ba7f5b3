"""Pairs of pseudo-FC views per CPU-second: ours against nilearn's ConnectivityMeasure per view.

Both sides get the same scans and run interleaved in this process on one thread; the ratio is of
their medians. Run: ``OMP_NUM_THREADS=1 python benchmarks/pseudo_fc.py``
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Annotated

import numpy as np
import typer
from nilearn.connectome import ConnectivityMeasure
from sklearn.covariance import EmpiricalCovariance, LedoitWolf

from brainmass_core.connectivity import vectorise
from brainmass_core.pfc import draw_kept, pseudo_fc, view_generators


def series(n_timepoints: int, n_rois: int) -> np.ndarray:
    """Structured series (n_timepoints, n_rois): eight shared factors and noise."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((n_timepoints, 8)) @ rng.standard_normal((8, n_rois))
    return shared + 2 * rng.standard_normal((n_timepoints, n_rois))


def ours(bold: np.ndarray, estimator: str) -> np.ndarray:
    """Two views as the `pfc` stage makes them."""
    return pseudo_fc(bold, view_generators(0, "scan", 2), 0.2, estimator)


def nilearns(bold: np.ndarray, estimator: str) -> np.ndarray:
    """Two views of the same timepoints through nilearn, one by one."""
    covariance = LedoitWolf() if estimator == "ledoit_wolf" else EmpiricalCovariance()
    measure = ConnectivityMeasure(cov_estimator=covariance, kind="correlation")
    kept = [draw_kept(len(bold), 0.2, rng) for rng in view_generators(0, "scan", 2)]
    return vectorise(np.concatenate([measure.fit_transform([bold[rows]]) for rows in kept]))


def seconds(make: Callable[[np.ndarray, str], np.ndarray], bold: np.ndarray, kind: str) -> float:
    """CPU time of one pair."""
    start = time.process_time()
    make(bold, kind)
    return time.process_time() - start


def main(
    n_timepoints: Annotated[int, typer.Option()] = 200,
    n_rois: Annotated[int, typer.Option()] = 100,
    repeats: Annotated[int, typer.Option()] = 100,
) -> None:
    """Print pairs per CPU-second and the ratio, for both estimators."""
    warnings.filterwarnings("ignore")
    bold = series(n_timepoints, n_rois)
    typer.echo(f"{n_timepoints} timepoints, {n_rois} ROIs, {repeats} interleaved repeats")
    for estimator in ("pearson", "ledoit_wolf"):
        theirs = nilearns(bold, estimator)
        difference = np.abs(ours(bold, estimator) - theirs).max()
        times = np.array(
            [
                (seconds(ours, bold, estimator), seconds(nilearns, bold, estimator))
                for _ in range(repeats)
            ]
        )
        mine, other = np.median(times, axis=0)
        typer.echo(
            f"{estimator}: ours {1 / mine:.0f}, nilearn {1 / other:.0f} pairs per CPU-second, "
            f"ratio {other / mine:.1f}; largest difference {difference:.1e}"
        )


if __name__ == "__main__":
    typer.run(main)
