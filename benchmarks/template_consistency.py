"""How far apart a real head's parcels are placed when it is registered to other templates.

The same anatomy is looked for over three templates: the atlas's points go over the bridges to each
template's space and from there to the head. No truth is needed: if registrations and bridges were
exact, the three places would be one. For every pair of engines it prints, for each two templates,
the median and 95 % distance (mm) over the points of the atlas, the mean distance of the parcel
that is worst, and CPU-seconds per template.

Run: ``OMP_NUM_THREADS=1 python benchmarks/template_consistency.py T1W TEMPLATES SCHAEFER`` with
FSL's and the ICBM 2009c template (see `FILES`) in the folder TEMPLATES.
"""

from __future__ import annotations

import resource
from itertools import combinations
from pathlib import Path
from typing import Annotated

import nibabel as nib
import numpy as np
import typer

from brainmass_core.config.preprocess import Engines, Preprocess
from brainmass_core.preprocess.anatomical import structural
from brainmass_core.preprocess.anatomical.t1w import read_t1w
from brainmass_core.preprocess.anatomical.template import load_template
from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.steps import Steps
from brainmass_core.spaces import FSL, ICBM_2009A, ICBM_2009C
from brainmass_core.spaces.bridges import bridge

PAIRS = (("embedded", "embedded"), ("greedy", "embedded"), ("greedy", "deepbet"))
FILES = {
    FSL: ("MNI152_T1_2mm.nii.gz", "MNI152_T1_2mm_brain_mask.nii.gz"),
    ICBM_2009C: (
        "mni_icbm152_nlin_asym_09c_2mm_T1.nii.gz",
        "mni_icbm152_nlin_asym_09c_2mm_brainmask.nii.gz",
    ),
}


def cpu_seconds() -> float:
    """Of this process and the children it has waited for."""
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def places(
    head: Volume, folder: Path, points: np.ndarray, pair: tuple[str, str]
) -> tuple[dict[str, np.ndarray], float]:
    """Where the atlas's points (n, 3) lie in the head by each template, and CPU-s per template."""
    engines = Engines.model_validate({"normalisation": pair[0], "brain_extraction": pair[1]})
    start, found = cpu_seconds(), {}
    for space in (ICBM_2009A, *FILES):
        files = [folder / name for name in FILES[space]] if space in FILES else [None, None]
        template = load_template(*files, 2.0, space)
        made = structural.estimate(head, template, Preprocess(engines=engines), Steps())
        found[space] = made.normalisation.template_to_t1w(bridge(FSL, space)(points))
    return found, (cpu_seconds() - start) / len(found)


def distances(
    found: dict[str, np.ndarray], labels: np.ndarray
) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Median, 95 % and worst parcel's mean distance (mm) of each two templates."""
    rows = {}
    for one, other in combinations(found, 2):
        apart = np.linalg.norm(found[one] - found[other], axis=1)
        by_parcel = np.bincount(labels, apart)[1:] / np.bincount(labels)[1:]
        rows[one, other] = (np.median(apart), np.percentile(apart, 95), np.nanmax(by_parcel))
    return rows


def main(
    t1w: Annotated[Path, typer.Argument(help="T1w of a real head.")],
    templates: Annotated[Path, typer.Argument(help="Folder of the two templates.")],
    atlas: Annotated[Path, typer.Argument(help=f"Label image in {FSL}.")],
) -> None:
    """Print a row per pair of engines and templates."""
    image = nib.Nifti1Image.from_filename(atlas)
    data = np.asarray(image.dataobj).astype(int)
    points = nib.affines.apply_affine(image.affine, np.argwhere(data > 0))
    head = read_t1w(t1w)
    typer.echo(
        f"{'normalisation':14}{'brain':11}{'one':20}{'other':20}"
        f"{'median':>7}{'95 %':>6}{'worst':>6}{'CPU-s':>7}"
    )
    for pair in PAIRS:
        found, seconds = places(head, templates, points, pair)
        for (one, other), numbers in distances(found, data[data > 0]).items():
            figures = zip(numbers, (7, 6, 6), strict=True)
            typer.echo(
                f"{pair[0]:14}{pair[1]:11}{one:20}{other:20}"
                + "".join(f"{n:{width}.2f}" for n, width in figures)
                + f"{seconds:7.1f}"
            )


if __name__ == "__main__":
    typer.run(main)
