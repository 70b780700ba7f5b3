"""What the denoising presets do to one run: FC, degrees of freedom, time; and what its files cost.

Real confounds (the fMRIPrep table of the shared data) and made-up series that hold them, or, with
``--config``, the runs of a study whose preprocessing is finished. Our time and nilearn's are
measured interleaved, in this process, on one thread, for the same model (joint Butterworth); ours
once with the filter made anew, once with it kept, as in a data set whose runs have one length.
Run: ``OMP_NUM_THREADS=1 python benchmarks/denoise.py``
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from nilearn import signal

from brainmass_core.atlas import Atlas, resolve_atlas
from brainmass_core.config import list_presets, load_config, parse_config
from brainmass_core.config.timeseries import Timeseries
from brainmass_core.connectivity import pearson, vectorise
from brainmass_core.timeseries import EXTRACT
from brainmass_core.timeseries.censor import censored_volumes
from brainmass_core.timeseries.denoise import Cleaned, NoFreedomError, clean
from brainmass_core.timeseries.design import design_matrix
from brainmass_core.timeseries.filters import filter_matrix
from brainmass_core.timeseries.inputs import list_items
from brainmass_core.timeseries.write_derivatives import (
    names_of,
    tsv,
    write_model,
    write_scan,
    write_text,
)

Run = tuple[np.ndarray, pd.DataFrame, float]
SHARED = Path(__file__).parents[2] / "shared" / "data"
PRESETS = [p for p in list_presets() if p.startswith("timeseries/")]


def made_up_run(n_rois: int, t_r: float) -> Run:
    """Series (480, n_rois) of shared factors, real confounds and noise, in equal parts."""
    (file,) = (SHARED / "oracle_fmriprep_confounds").glob("*regressors.tsv")
    confounds = pd.read_csv(file, sep="\t", na_values="n/a")
    rng = np.random.default_rng(0)
    known = confounds.filter(regex=r"^(trans|rot)_.$|^csf$|^white_matter$|^global_signal$")
    known = (known - known.mean()) / known.std()
    n = len(confounds)
    f = np.fft.rfftfreq(n, t_r)
    colour = np.where(f > 0, 1 / np.maximum(f, 1 / (n * t_r)), 0)[:, None]
    neural = np.fft.irfft(np.fft.rfft(rng.standard_normal((n, 12)), axis=0) * colour, n, axis=0)
    parts = [neural @ rng.standard_normal((12, n_rois))]
    parts.append(known.to_numpy() @ rng.normal(0.3, 1, (known.shape[1], n_rois)))
    parts.append(rng.standard_normal((n, n_rois)))
    return 10_000 + 50 * sum(p / p.std(axis=0) for p in parts), confounds, t_r


def runs_of(config_path: Path, dataset: str) -> list[tuple[str, Run, Atlas]]:
    """Parcel series before cleaning, of a study whose preprocessing is finished."""
    config = load_config(config_path)
    atlas = resolve_atlas(config)
    found = []
    for batch in range(config.datasets[dataset].batches):
        for scan_id, item in list_items(config, dataset, batch, atlas).items():
            raw = EXTRACT[item.scan["kind"]](item)
            if raw.confounds is not None:
                covered = raw.series[:, raw.coverage >= config.timeseries.min_coverage]
                found.append((scan_id, (covered, raw.confounds, raw.t_r), atlas))
    return found


def settings_of(preset: str) -> Timeseries:
    """Section `timeseries` of a preset."""
    data = {"kind": "bids", "role": "internal", "path": "x", "synthetic": {}}
    return parse_config({"presets": [preset], "datasets": {"demo": data}}).timeseries


def apply(run: Run, settings: Timeseries) -> Cleaned:
    """Clean as the stage does."""
    series, confounds, t_r = run
    design = design_matrix(confounds, settings).to_numpy()
    return clean(
        *(series, t_r, design, settings.low_hz, settings.high_hz, settings.order),
        kind=settings.filter,
        n_drift=settings.polynomial_order + 1,
        censored=censored_volumes(confounds, settings.censor),
        method=settings.censor.method,
    )


def nilearns(run: Run, settings: Timeseries) -> np.ndarray:
    """The joint Butterworth model with linear drift through nilearn."""
    design = design_matrix(run[1], settings).to_numpy()[:, : -settings.polynomial_order - 1]
    return signal.clean(
        *(run[0], None, True, False),
        confounds=design,
        low_pass=settings.high_hz,
        high_pass=settings.low_hz,
        t_r=run[2],
    )


def milliseconds(make: Callable[[], object]) -> float:
    """CPU time of a call."""
    start = time.process_time()
    make()
    return 1000 * (time.process_time() - start)


def compare(run: Run) -> None:
    """FC between presets, degrees of freedom, time."""
    fc = {}
    typer.echo(f"{'preset':28s} kept  dof    ms")
    for preset in PRESETS:
        settings, name = settings_of(preset), preset.split("/")[1]
        try:
            found = apply(run, settings)
        except NoFreedomError as error:
            typer.echo(f"{name:28s} {error}")
            continue
        spent = np.median([milliseconds(lambda s=settings: apply(run, s)) for _ in range(10)])
        fc[name] = vectorise(pearson(found.series))
        typer.echo(f"{name:28s} {len(found.series):4d} {found.residual_dof:6.1f} {spent:5.1f}")
    between = pd.DataFrame(
        np.corrcoef(list(fc.values())), list(fc), [str(i) for i in range(len(fc))]
    )
    typer.echo("\nFC r between presets, columns in the order of the rows")
    typer.echo(between.round(2).to_string())


def order_alone(run: Run) -> None:
    """The two orders with all else equal."""
    base = settings_of("timeseries/cpac-default")
    for kind in ("ideal", "butterworth"):
        fc, dof = [], []
        for order in ("regress_then_filter", "joint"):
            found = apply(run, base.model_copy(update={"filter": kind, "order": order}))
            fc.append(vectorise(pearson(found.series)))
            dof.append(found.residual_dof)
        r = np.corrcoef(fc)[0, 1]
        typer.echo(f"order alone, {kind}: FC r {r:.3f}, dof {dof[0]:.1f} and {dof[1]:.1f}")


def speed(run: Run, repeats: int) -> None:
    """Ours against nilearn, same model."""
    settings = settings_of("timeseries/36p")

    def fresh() -> None:
        filter_matrix.cache_clear()
        apply(run, settings)

    difference = np.abs(apply(run, settings).series - nilearns(run, settings)).max()
    times = np.array(
        [
            [
                milliseconds(fresh),
                milliseconds(lambda: apply(run, settings)),
                milliseconds(lambda: nilearns(run, settings)),
            ]
            for _ in range(repeats)
        ]
    )
    first, later, theirs = np.median(times, axis=0)
    typer.echo(
        f"36p: ours {first:.1f} ms (filter kept: {later:.1f} ms), nilearn {theirs:.1f} ms, ratio "
        f"{theirs / first:.1f} ({theirs / later:.1f}); largest difference {difference:.1e}"
    )


def files(run: Run, repeats: int) -> None:
    """Bytes and time of a scan's BIDS derivatives."""
    settings = settings_of("timeseries/cpac-default")
    found = apply(run, settings)
    n_rois = found.series.shape[1]
    labels = pd.DataFrame({"index": range(n_rois), "name": [f"LH_Vis_{i}" for i in range(n_rois)]})
    atlas = Atlas("Schaefer2018-100-7networks", "MNI152NLin6Asym", labels, None, False, "0")
    design = design_matrix(run[1], settings)
    censored = censored_volumes(run[1], settings.censor)
    fc = pearson(found.series)
    with tempfile.TemporaryDirectory() as folder:
        names = names_of(Path(folder), "d", "d_sub-01_task-rest", atlas.space, atlas.name)
        assert names is not None

        def write() -> None:
            write_scan(names, atlas, found.series, np.ones(n_rois), {"RepetitionTime": run[2]})
            write_model(names, design, censored, settings)
            text = tsv(labels["name"].tolist(), fc)
            write_text(names.of_atlas("stat-pearsoncorrelation_relmat.tsv"), text)

        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(repeats):
            write()
        spent = 1000 * (time.perf_counter() - wall) / repeats
        worked = 1000 * (time.process_time() - cpu) / repeats
        sizes = {p.name.split("_")[-1]: p.stat().st_size for p in names.folder.iterdir()}
    typer.echo(
        f"files: {sum(sizes.values()) / 1e3:.0f} kB per scan, {spent:.1f} ms, CPU {worked:.1f} ms, "
        f"{sizes}"
    )


def published(folder: Path) -> None:
    """What filter and global signal do to FC of runs that C-PAC itself cleaned (ABIDE, CC200)."""
    subjects = pd.read_csv(folder / "subjects.csv").set_index("FILE_ID")
    found = []
    for file in sorted((folder / "cc200_filt_global").iterdir()):
        file_id = file.name.split("_rois_")[0]
        (before,) = (folder / "cc200_nofilt_noglobal").glob(f"{file_id}_rois_*")
        x, t_r = np.loadtxt(before), float(subjects.loc[file_id, "TR_s"])
        series = [x, np.loadtxt(file)]
        series += [clean(x, t_r, None, 0.01, 0.1, kind=k).series for k in ("ideal", "butterworth")]
        fc = np.corrcoef([vectorise(pearson(s)) for s in series])
        found.append([fc[0, 2], fc[2, 3], fc[1, 2]])
    mean = np.mean(found, axis=0)
    typer.echo(
        f"\nABIDE, {len(found)} runs, mean FC r: unfiltered and ideal {mean[0]:.3f}, ideal and "
        f"Butterworth {mean[1]:.3f}, without and with global signal (both filtered) {mean[2]:.3f}"
    )


def main(
    config: Annotated[Path | None, typer.Option(help="Configuration of a study.")] = None,
    dataset: Annotated[str, typer.Option(help="Its data set.")] = "",
    n_rois: Annotated[int, typer.Option()] = 100,
    repeats: Annotated[int, typer.Option()] = 20,
) -> None:
    """Print the tables."""
    warnings.filterwarnings("ignore")
    runs = [(s, r) for s, r, _ in runs_of(config, dataset)] if config else []
    for name, run in runs or [("made-up series, real confounds", made_up_run(n_rois, 0.75))]:
        typer.echo(
            f"\n{name}: {run[0].shape[0]} volumes of {run[2]:g} s, {run[0].shape[1]} parcels"
        )
        compare(run)
        order_alone(run)
        speed(run, repeats)
        files(run, repeats)
    if not config:
        published(SHARED / "oracle_abide_cpac_dev")


if __name__ == "__main__":
    typer.run(main)
