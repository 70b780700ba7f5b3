"""Engines of the anatomical stage: ANTs or Greedy, the template's mask or deepbet.

All get the same heads in this process, with one thread; CPU-seconds are of this process and its
children. The phantoms (`tests/preprocess/preprocess_head.py`, 1 mm) have a known truth; a real head
(``--t1w``) has none.

Run: ``OMP_NUM_THREADS=1 python benchmarks/anatomy_engines.py --atlas SCHAEFER.nii.gz``
"""

from __future__ import annotations

import os

os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # before ANTs is loaded

import resource
from pathlib import Path
from typing import Annotated

import anatomy as parts
import nibabel as nib
import numpy as np
import typer

from brainmass_core.config.preprocess import Engines, Preprocess
from brainmass_core.preprocess.anatomical import structural
from brainmass_core.preprocess.anatomical.registration import t1w_to_template
from brainmass_core.preprocess.anatomical.structural import Structure
from brainmass_core.preprocess.anatomical.t1w import read_t1w
from brainmass_core.preprocess.anatomical.template import Template, load_template
from brainmass_core.preprocess.engines.antspy import correct_bias
from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.steps import Steps
from brainmass_core.preprocess.transforms import Normalisation

PAIRS = [(n, b) for n in ("embedded", "greedy") for b in ("embedded", "deepbet")]
NAMES = {"embedded": ("SyN", "template"), "greedy": ("Greedy", ""), "deepbet": ("", "deepbet")}
HEADER = (
    f"{'normalisation':14}{'mask':10}{'CPU-s':>7}{'error':>7}{'p95':>6}{'grey':>7}{'parcels':>9}"
    f"{'mask':>7}{'tissue':>8}{'r':>7}{'ml':>7}{'stretch':>14}{'back':>7}{'MB':>6}"
)


def stretch(found: Normalisation) -> tuple[float, float]:
    """Least and largest Jacobian determinant of the bend at its nodes; a fold has less than 0."""
    size = np.diag(found.field_affine)[:3]
    slopes = [np.stack(np.gradient(found.field[..., k], *size), axis=-1) for k in range(3)]
    determinant = np.linalg.det(np.stack(slopes, axis=-2) + np.eye(3))
    return float(determinant.min()), float(determinant.max())


def there_and_back(found: Normalisation, template: Template) -> float:
    """Largest distance (mm) by which points of the template's brain miss themselves."""
    points = template.brain.points()[template.mask.ravel()][::7]
    back = t1w_to_template(found.template_to_t1w(points), found)
    return float(np.linalg.norm(back - points, axis=1).max())


def cpu_seconds() -> float:
    """Of this process and the children it has waited for."""
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def row(pair: tuple[str, str], raw: Volume, template: Template) -> tuple[Structure, list[str]]:
    """What a pair of engines finds, and the columns that need no truth."""
    engines = Engines.model_validate({"normalisation": pair[0], "brain_extraction": pair[1]})
    steps, start = Steps(), cpu_seconds()
    found = structural.estimate(raw, template, Preprocess(engines=engines), steps)
    seconds = cpu_seconds() - start
    low, high = stretch(found.normalisation)
    return found, [
        f"{NAMES[pair[0]][0]:14}{NAMES[pair[1]][1]:10}{seconds:7.1f}",
        f"{found.template_correlation:7.3f}{found.brain_volume:7.0f}{low:7.2f}{high:7.2f}"
        f"{there_and_back(found.normalisation, template):7.3f}{max(steps.peak_rss.values()):6.0f}",
    ]


def main(
    seeds: Annotated[str, typer.Option(help="Numbers of the phantoms.")] = "0,1,2,3",
    atlas: Annotated[Path | None, typer.Option(help="NIfTI of parcels.")] = None,
    t1w: Annotated[Path | None, typer.Option(help="A real head.")] = None,
    template: Annotated[Path | None, typer.Option(help="Template for it.")] = None,
    template_mask: Annotated[Path | None, typer.Option()] = None,
    template_space: Annotated[str | None, typer.Option(help="Such as MNI152NLin6Asym.")] = None,
) -> None:
    """Print a row per pair of engines and head."""
    warm = Volume(np.random.default_rng(0).random((32, 32, 32), np.float32), np.eye(4))
    correct_bias(warm, warm.data > 0)  # what is loaded and compiled once is nobody's
    packaged = load_template(None, None, 2.0)
    parcels = None if atlas is None else nib.Nifti1Image.from_filename(atlas)
    for seed in [int(s) for s in seeds.split(",") if s]:
        head = parts.heads.Head(seed)
        image = head.t1w()
        raw = Volume(np.asarray(image.dataobj, dtype=np.float32), image.affine)
        typer.echo(f"phantom {seed}\n{HEADER}")
        for pair in PAIRS:
            found, (first, last) = row(pair, raw, packaged)
            formats = ("7.2f", "6.2f", "7.3f", "9.3f", "7.3f", "8.3f")
            scores = zip(parts.scored(head, found, parcels), formats, strict=True)
            typer.echo(first + "".join(format(x, f) for x, f in scores) + last)
    if t1w is not None:
        own = load_template(template, template_mask, 2.0, template_space)
        typer.echo(f"{t1w.name}\n{HEADER}")
        for pair in PAIRS:
            _, (first, last) = row(pair, read_t1w(t1w), own)
            typer.echo(first + " " * 44 + last)


if __name__ == "__main__":
    typer.run(main)
