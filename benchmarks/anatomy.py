"""What each part of the anatomical stage with SyN buys: CPU-seconds, error, overlap with the truth.

Every variant gets the same phantoms (`tests/preprocess/preprocess_head.py`, 1 mm) in this process,
with one thread. Run: ``OMP_NUM_THREADS=1 python benchmarks/anatomy.py``
"""

from __future__ import annotations

import os

os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # before ANTs is loaded

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import nibabel as nib
import numpy as np
import typer
from nilearn import datasets

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "preprocess"))

import preprocess_head as heads

from brainmass_core.config.preprocess import Engines, Preprocess
from brainmass_core.preprocess.anatomical import registration, structural
from brainmass_core.preprocess.anatomical.segmentation import GREY, labels_of
from brainmass_core.preprocess.anatomical.structural import Structure
from brainmass_core.preprocess.anatomical.template import Template, load_template
from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.steps import Steps
from brainmass_core.preprocess.transforms import Normalisation

FINEST = {"syn_metric": "CC", "syn_sampling": 2, "reg_iterations": (100, 70, 20, 0)}
HEADER = (
    f"{'':34}{'CPU-s':>7}{'ratio':>7}{'error':>8}{'p95':>7}{'grey':>7}{'parcels':>9}"
    f"{'mask':>7}{'tissue':>8}"
)


def uncorrected(image: Volume, mask: np.ndarray) -> np.ndarray:
    """Bias correction that does nothing."""
    return image.data


def mask_of_the_affine(head: heads.Head, found: Structure, placed: np.ndarray) -> float:
    """Dice of the brain as the affine alone gives it."""
    template = load_template(None, None, 2.0)
    straight = registration.coarse(placed, None, template.brain)
    where = registration.in_template(found.t1w, straight, template.brain)
    return heads.dice(registration.brain_of(found.t1w, template, where), brain(head, found))


def brain(head: heads.Head, found: Structure) -> np.ndarray:
    """The true brain on the grid of the found one."""
    values = head.sample(heads.maps().brain, found.t1w.points())
    return values.reshape(found.mask.shape) > 0.5


def carried(found: Normalisation, head: heads.Head, labels: nib.Nifti1Image) -> float:
    """Mean Dice of labels carried from the template to the T1w and truly back."""
    points = heads.template_points(2)
    back = head.t1w_to_template(found.template_to_t1w(points))
    here, there = (Volume(labels.get_fdata(), labels.affine).at(p, order=0) for p in (points, back))
    return float(np.mean([heads.dice(here == k, there == k) for k in np.unique(here[here > 0])]))


def scored(head: heads.Head, found: Structure, parcels: nib.Nifti1Image | None) -> list[float]:
    """Error (mean, 95th percentile; mm) and Dice: grey map, parcels, brain mask, grey tissue."""
    points = heads.template_points(2)
    back = head.t1w_to_template(found.normalisation.template_to_t1w(points))
    error = np.linalg.norm(back - points, axis=1)
    map_ = datasets.load_mni152_gm_template(resolution=1)
    grey = nib.Nifti1Image((map_.get_fdata() > 0.5).astype(np.uint8), map_.affine)
    truth = brain(head, found)
    cortex = head.sample(heads.maps().grey, found.t1w.points()).reshape(truth.shape) > 0.5
    return [
        float(error.mean()),
        float(np.percentile(error, 95)),
        carried(found.normalisation, head, grey),
        np.nan if parcels is None else carried(found.normalisation, head, parcels),
        heads.dice(found.mask, truth),
        heads.dice(labels_of(found.posteriors, found.mask) == GREY, cortex & truth),
    ]


def variants() -> list[tuple[str, Preprocess, dict]]:
    """Name, settings, and what is put in the place of our own functions."""
    engines = Engines(normalisation="embedded")
    syn, fast, affine = (
        Preprocess(registration=kind, engines=engines) for kind in ("syn", "syn_fast", "affine")
    )
    shorter = registration.SYN | {"syn": FINEST}
    return [
        ("syn", syn, {}),
        ("syn, no iterations at 2 mm", syn, {"SYN": shorter}),
        ("syn, without N4", syn, {"correct_bias": uncorrected}),
        ("syn_fast", fast, {}),
        ("affine", affine, {}),
        ("affine, without N4", affine, {"correct_bias": uncorrected}),
    ]


def measured(
    raw: Volume, template: Template, settings: Preprocess, changed: dict
) -> tuple[float, Structure, Steps]:
    """CPU-seconds of a variant and what it found."""
    kept: list[tuple[object, str, Callable]] = []
    for name, function in changed.items():
        module = structural if hasattr(structural, name) else registration
        kept.append((module, name, getattr(module, name)))
        setattr(module, name, function)
    steps, start = Steps(), time.process_time()
    try:
        found = structural.estimate(raw, template, settings, steps)
        return time.process_time() - start, found, steps
    finally:
        for module, name, function in kept:
            setattr(module, name, function)


def main(
    seeds: Annotated[int, typer.Option()] = 2,
    atlas: Annotated[
        Path | None, typer.Option(help="NIfTI of parcels in MNI152NLin2009aSym.")
    ] = None,
) -> None:
    """Print a row per variant and phantom."""
    template = load_template(None, None, 2.0)
    parcels = None if atlas is None else nib.Nifti1Image.from_filename(atlas)
    for seed in range(seeds):
        head = heads.Head(seed)
        image = head.t1w()
        raw = Volume(np.asarray(image.dataobj, dtype=np.float32), image.affine)
        typer.echo(f"phantom {seed}\n{HEADER}")
        first = None
        for name, settings, changed in variants():
            seconds, found, steps = measured(raw, template, settings, changed)
            first = first or seconds
            numbers = scored(head, found, parcels)
            formats = ("8.2f", "7.2f", "7.3f", "9.3f", "7.4f", "8.3f")
            row = "".join(format(x, f) for x, f in zip(numbers, formats, strict=True))
            typer.echo(f"{name:34}{seconds:7.1f}{seconds / first:7.2f}{row}")
            if not changed and settings.registration == "syn":
                placed = registration.place(structural.to_isotropic(raw, 2.0), template)
                dice = mask_of_the_affine(head, found, placed.affine)
                parts = "  ".join(f"{k} {v:.1f}" for k, v in steps.seconds.items())
                typer.echo(f"    wall seconds: {parts}\n    mask of the affine alone: {dice:.4f}")


if __name__ == "__main__":
    typer.run(main)
