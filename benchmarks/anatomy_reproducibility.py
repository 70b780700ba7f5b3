"""How alike FC of one scan is when its head is registered again: moved a little, or elsewhere.

One run is estimated once by the product (motion, coregistration, confounds); only the normalisation
is exchanged, so that all that differs comes from it:

- *moved*: to the same template, with the T1w's header turned by 1 degree and shifted by 1 mm, and
  what is found turned back. An exact registration would find the same.
- *template*: to another template, the atlas led there over the bridge.

Printed for each two: r of FC, its mean and largest difference, median and least r of the 100
series, and the distance in mm between the places where the atlas's points are found: median, 95 %,
worst parcel. `--parcels` prints the mean distance of each parcel.

Run: ``OMP_NUM_THREADS=1 python benchmarks/anatomy_reproducibility.py BIDS TEMPLATES SCHAEFER OUT``
Registrations are kept in OUT.
"""

from __future__ import annotations

import os

os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # before ANTs is loaded

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from greedy_schedules import SCHEDULES, Shared, structure
from scipy.spatial.transform import Rotation
from template_consistency import FILES

from brainmass_core import preprocess, scans
from brainmass_core.atlas import resolve_atlas
from brainmass_core.config import Config, parse_config
from brainmass_core.preprocess.anatomical.t1w import read_t1w
from brainmass_core.preprocess.anatomical.template import load_template
from brainmass_core.preprocess.functional.bold import load_bold
from brainmass_core.preprocess.functional.orientation import scan_in_ras
from brainmass_core.preprocess.functional.temporal import temporal
from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.transform_files import (
    load_normalisation,
    load_transforms,
    save_normalisation,
)
from brainmass_core.preprocess.transforms import Normalisation
from brainmass_core.spaces import FSL, ICBM_2009A, ICBM_2009C
from brainmass_core.timeseries import Raw, _cleaned
from brainmass_core.timeseries.extract import read_confounds, read_mask
from brainmass_core.timeseries.inputs import TimeSeriesInput, list_items
from brainmass_core.timeseries.resample import Targets, atlas_targets, sample_parcels

TURNED = {"still": 0.0, "moved": 1.0, "moved back": -1.0}  # degrees about an axis, and mm


def motion(size: float) -> np.ndarray:
    """A rigid motion (4, 4): `size` degrees about, and `size` mm along, axes between all three."""
    found = np.eye(4)
    found[:3, :3] = Rotation.from_rotvec(
        np.deg2rad(size) * np.array([1, -1, 1]) / 3**0.5
    ).as_matrix()
    found[:3, 3] = size * np.array([1, 1, -1]) / 3**0.5
    return found


def study(bids: Path, templates: Path, atlas: Path, out: Path) -> Config:
    """One data set, registered to FSL's template."""
    t1w, mask = (str(templates / name) for name in FILES[FSL])
    return parse_config(
        {
            "results": str(out / "results"),
            "datasets": {"real": {"kind": "bids", "role": "internal", "path": str(bids)}},
            "atlas": {"path": str(atlas)},
            "preprocess": {"template": t1w, "template_mask": mask, "template_space": FSL},
        }
    )


def registered(
    t1w: Path, space: str, move: str, names: list[str], brain: str, folders: tuple[Path, Path]
) -> dict[tuple[str, ...], Normalisation]:
    """Normalisations by (schedule, brain, space, move), from the folder or made."""
    templates, out = folders
    found, steps, head, template = {}, Shared(), None, None
    for name in names:
        file = out / f"{name}.{brain}.{space}.{move}.npz".replace("/", "-").replace(" ", "")
        if not file.exists():
            if head is None:
                image = read_t1w(t1w)
                head = Volume(image.data, motion(TURNED[move]) @ image.affine)
                paths = [templates / n for n in FILES[space]] if space in FILES else [None, None]
                template = load_template(*paths, 2.0, space)
            made = structure(head, template, name, brain, steps)
            there = made.normalisation
            back = np.linalg.inv(motion(TURNED[move])) @ there.affine
            save_normalisation(file, replace(there, affine=back))
            print(f"# {file.name}: {steps.bend:.1f} CPU-s, r {made.template_correlation:.3f}")
        found[name, brain, space, move] = load_normalisation(file)
    return found


def sampled(item: TimeSeriesInput, found: dict[tuple, Normalisation]) -> dict[tuple, tuple]:
    """Series (n_timepoints, n_rois) and places (n, 3) in the T1w of each, in one pass."""
    outputs, about = item.preprocessed["outputs"], item.preprocessed
    raw = load_bold(item.scan["bold_path"], about["n_dummy_volumes"] or 0)
    turned = scan_in_ras(item.scan, raw.orientation)
    timing = (turned["slice_timing"], turned["slice_axis"])
    bold = temporal(raw, item.scan["bold_path"], item.preprocess, item.scan["t_r"], *timing).bold
    own, mask = load_transforms(item.root, outputs), item.root / outputs["bold_mask"]
    inside = read_mask(mask, bold.data.shape[:3], bold.affine)
    spaces = {s: atlas_targets(item.atlas, item.settings.resolution, s) for *_, s, _ in found}
    drawn, n = next(iter(spaces.values())), item.atlas.n_rois
    lies, seen = {}, []
    for key, normalisation in found.items():
        points = spaces[key[2]].points
        lies[key] = normalisation.template_to_t1w(points)
        seen.append(replace(own, normalisation=normalisation).template_to_boldref(points))
    parcels = np.concatenate([drawn.parcels + n * k for k in range(len(found))])
    targets = Targets(np.concatenate(seen), parcels, n * len(found))
    series, share = sample_parcels(
        bold.data, bold.affine, inside, targets, targets.points, own.motion
    )
    confounds = read_confounds(item.root / outputs["confounds"], len(series))
    rows = {}
    for k, key in enumerate(found):
        part = slice(n * k, n * (k + 1))
        one = Raw(series[:, part], share[part], confounds, item.scan["t_r"], about["mean_fd"])
        rows[key] = (_cleaned(item, one, np.zeros(n, bool))[1].series, lies[key])
    return rows | {"parcels": drawn.parcels}


def compared(one: tuple, other: tuple, parcels: np.ndarray) -> tuple[list[float], np.ndarray]:
    """The columns, and the mean distance (n_rois,) of each parcel."""
    upper = np.triu_indices(one[0].shape[1], 1)
    a, b = (np.corrcoef(x[0].T)[upper] for x in (one, other))
    z = [(x[0] - x[0].mean(0)) / x[0].std(0) for x in (one, other)]
    same = (z[0] * z[1]).mean(0)
    apart = np.linalg.norm(one[1] - other[1], axis=1)
    each = np.bincount(parcels, apart) / np.bincount(parcels)
    fc = [np.corrcoef(a, b)[0, 1], np.abs(a - b).mean(), np.abs(a - b).max()]
    away = [np.median(apart), np.percentile(apart, 95), each.max()]
    return [*fc, np.median(same), same.min(), *away], each


def report(rows: dict[Any, Any], show: bool, names: list[str]) -> None:
    """A row for each two that differ in the move, or in the template, and for engines."""
    parcels = rows.pop("parcels")
    for one in rows:
        for other in list(rows)[list(rows).index(one) + 1 :]:
            differ = [i for i in range(4) if one[i] != other[i]]
            if len(differ) > 1 and not (differ == [0, 1] and one[3] == "still"):
                continue
            numbers, each = compared(rows[one], rows[other], parcels)
            what = f"{'/'.join(one):52} {'/'.join(other):52}"
            print(what + "".join(f"{x:8.3f}" for x in numbers), flush=True)
            if show and differ in ([2], [3]):
                worst = np.argsort(-each)[:8]
                print("#   " + ", ".join(f"{names[i]} {each[i]:.1f}" for i in worst))


def main(
    bids: Annotated[Path, typer.Argument(help="Raw data set of one participant.")],
    templates: Annotated[Path, typer.Argument(help="Folder of FSL's and ICBM's 2009c.")],
    atlas: Annotated[Path, typer.Argument(help=f"Label image in {FSL}.")],
    out: Annotated[Path, typer.Argument(help="Where everything is kept.")],
    names: Annotated[str, typer.Option(help="Which of the schedules, by |.")] = "|".join(SCHEDULES),
    brain: Annotated[str, typer.Option(help="Brain extractions, by |.")] = "embedded",
    moves: Annotated[str, typer.Option(help="Moves of the head on FSL's, by |.")] = "moved",
    elsewhere: Annotated[
        str | None, typer.Option(help="Schedules for the other templates, if others.")
    ] = None,
    parcels: Annotated[bool, typer.Option(help="Print the worst parcels.")] = False,
) -> None:
    """Print a row for each two."""
    config = study(bids, templates, atlas, out)
    if not list((out / "results").glob("preprocess/real/*.parquet")):
        scans.run(config, "real")
        preprocess.run(config, "real", 0, 1)
    where = resolve_atlas(config)
    item = next(iter(list_items(config, "real", 0, where).values()))
    t1w, found = Path(item.scan["t1w_path"]), {}
    runs = [(FSL, "still"), *((FSL, m) for m in moves.split("|") if m)]
    for space, move in [*runs, (ICBM_2009A, "still"), (ICBM_2009C, "still")]:
        for how in brain.split("|"):
            chosen = (names if space == FSL or elsewhere is None else elsewhere).split("|")
            found |= registered(t1w, space, move, chosen, how, (templates, out))
    rows = sampled(item, found)
    columns = (
        "FC r, mean and largest difference; series r, median and least; mm: median, 95 %, worst"
    )
    print(columns)
    report(rows, parcels, where.labels["name"].tolist())


if __name__ == "__main__":
    typer.run(main)
