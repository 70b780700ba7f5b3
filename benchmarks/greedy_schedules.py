"""Schedules of Greedy's bend, and SyN, on the same heads after the same affine and N4.

Phantoms have a known truth. Other heads are registered to the three templates between which there
are bridges: with exact registrations and bridges a parcel would lie at one place by all three
(as in `template_consistency.py`). A template as the head has a truth as good as the bridge: `--as
SPACE` also compares with that. CPU-seconds are of the bend alone.

Run: ``OMP_NUM_THREADS=1 python benchmarks/greedy_schedules.py TEMPLATES SCHAEFER --seeds 0,1,2,3``
or with ``--t1w T1W``. Registrations are kept in the folder `--keep`, by head, space and schedule.
"""

from __future__ import annotations

import os

os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # before ANTs is loaded

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import anatomy as parts
import nibabel as nib
import numpy as np
import typer
from anatomy_engines import cpu_seconds, stretch
from template_consistency import FILES, distances

from brainmass_core.config.preprocess import Engines, Preprocess
from brainmass_core.preprocess.anatomical import structural
from brainmass_core.preprocess.anatomical.structural import Structure
from brainmass_core.preprocess.anatomical.t1w import read_t1w
from brainmass_core.preprocess.anatomical.template import Template, load_template
from brainmass_core.preprocess.engines import greedy
from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.steps import Steps
from brainmass_core.preprocess.transform_files import load_normalisation, save_normalisation
from brainmass_core.spaces import FSL, ICBM_2009A
from brainmass_core.spaces.bridges import bridge

BEND = ("syn", "normalisation", "segmentation")  # steps that are made for every schedule
SCHEDULES = {  # of Greedy's `syn`; None: SyN
    "SyN": None,
    "2, 1.7/0.7": "-m WNCC 2x2x2 -n 60x40x20 -s 1.732vox 0.7071vox -wp 0",
    "4, 4/2": "-m WNCC 4x4x4 -n 60x40x20 -s 4vox 2vox -wp 0",
    "4, 3/1.5": "-m WNCC 4x4x4 -n 60x40x20 -s 3vox 1.5vox -wp 0",
    "2, 4/2": "-m WNCC 2x2x2 -n 60x40x20 -s 4vox 2vox -wp 0",
}


class Shared(Steps):
    """Keeps in memory what is the same for all schedules, and counts the CPU-s of the bend."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, Any] = {}
        self.bend = 0.0

    def kept(self, name: str, kind: type, make: Callable[[], Any]) -> Any:
        start = cpu_seconds()
        if name not in self.known or name in BEND:
            self.known[name] = super().kept(name, kind, make)
        if name in BEND[:2]:
            self.bend = cpu_seconds() - start
        return self.known[name]


def structure(raw: Volume, template: Template, name: str, brain: str, steps: Shared) -> Structure:
    """What a schedule finds."""
    options = SCHEDULES[name]
    if options is not None:
        greedy.DEFORMABLE["syn"] = options
    engines = {"normalisation": "greedy" if options else "embedded", "brain_extraction": brain}
    settings = Preprocess(engines=Engines.model_validate(engines))
    return structural.estimate(raw, template, settings, steps)


def phantom(seed: int, names: list[str], brain: str, parcels: nib.Nifti1Image) -> None:
    """A row per schedule: the columns of `anatomy_engines.py`."""
    head, template = parts.heads.Head(seed), load_template(None, None, 2.0)
    image = head.t1w()
    raw = Volume(np.asarray(image.dataobj, dtype=np.float32), image.affine)
    steps = Shared()
    for name in names:
        found = structure(raw, template, name, brain, steps)
        numbers = [*parts.scored(head, found, parcels), found.template_correlation]
        least = stretch(found.normalisation)[0]
        row = "".join(f"{n:8.3f}" for n in [*numbers, least])
        print(f"phantom {seed}  {brain:10}{name:12}{steps.bend:6.1f}{row}", flush=True)


def real(
    t1w: Path, own: str | None, names: list[str], brain: str, atlas: tuple, keep: Path, folder: Path
) -> None:
    """Rows of distances (median, 95 %, worst parcel) of each two templates, per schedule.

    Parameters
    ----------
    own : str or None
        Space of the head if it is a template: the atlas's points go there by the bridge, too.
    atlas : tuple
        Points (n, 3) in FSL's space and their labels (n,).
    """
    head: Volume = read_t1w(t1w)
    places: dict[str, dict[str, np.ndarray]] = {n: {} for n in names}
    for space in (FSL, ICBM_2009A, *list(FILES)[1:]):
        if space == own:
            continue
        files = [folder / name for name in FILES[space]] if space in FILES else [None, None]
        template, steps = load_template(*files, 2.0, space), Shared()
        for name in names:
            tag = f"{t1w.name.split('.')[0]}.{space}.{brain}.{name}.npz"
            file = keep / tag.replace(", ", "-").replace("/", "-")
            if not file.exists():
                found = structure(head, template, name, brain, steps)
                save_normalisation(file, found.normalisation)
                least = stretch(found.normalisation)[0]
                numbers = f"{steps.bend:6.1f}{found.template_correlation:7.3f}{least:7.2f}"
                print(f"{t1w.name:16.16}{space:20}{brain:10}{name:12}{numbers}", flush=True)
            kept = load_normalisation(file)
            places[name][space] = kept.template_to_t1w(bridge(FSL, space)(atlas[0]))
    for name in names:
        if own is not None:
            places[name][own] = bridge(FSL, own)(atlas[0])
        for (one, other), row in distances(places[name], atlas[1]).items():
            text = "".join(f"{n:7.2f}" for n in row)
            print(f"{t1w.name:16.16}{brain:10}{name:12}{one:20}{other:20}{text}", flush=True)


def main(
    templates: Annotated[Path, typer.Argument(help="Folder of FSL's and ICBM's 2009c.")],
    atlas: Annotated[Path, typer.Argument(help=f"Label image in {FSL}.")],
    seeds: Annotated[str, typer.Option(help="Numbers of phantoms.")] = "",
    t1w: Annotated[Path | None, typer.Option(help="A head without truth.")] = None,
    as_space: Annotated[
        str | None, typer.Option("--as", help="Its space, if it is a template.")
    ] = None,
    names: Annotated[str, typer.Option(help="Which of the schedules, by |.")] = "|".join(SCHEDULES),
    brain: Annotated[str, typer.Option(help="Brain extraction.")] = "embedded",
    keep: Annotated[Path, typer.Option()] = Path("kept"),
) -> None:
    """Print a row per head and schedule."""
    image = nib.Nifti1Image.from_filename(atlas)
    chosen = names.split("|")
    print("CPU-s, error, p95, grey, parcels, mask, tissue, r, stretch; or CPU-s, r, stretch")
    for seed in [int(s) for s in seeds.split(",") if s]:
        phantom(seed, chosen, brain, image)
    if t1w is not None:
        keep.mkdir(parents=True, exist_ok=True)
        data = np.asarray(image.dataobj).astype(int)
        points = nib.affines.apply_affine(image.affine, np.argwhere(data > 0))
        real(t1w, as_space, chosen, brain, (points, data[data > 0]), keep, templates)


if __name__ == "__main__":
    typer.run(main)
