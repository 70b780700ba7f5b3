"""Heads that are not as they should be: what the checks of the anatomical stage see of them.

The head is a phantom of `tests/preprocess/preprocess_head.py` at 3 mm, registered at 4 mm with
`syn_fast` and the default engines unless other options are given.

Run: ``OMP_NUM_THREADS=1 python benchmarks/anatomy_failures.py --registration syn --resolution 2``
"""

from __future__ import annotations

import os

os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # before ANTs is loaded

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from nibabel.affines import apply_affine
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "preprocess"))

import preprocess_head as heads

from brainmass_core.config.preprocess import Engines, Preprocess
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.anatomical.structural import Structure, estimate
from brainmass_core.preprocess.anatomical.t1w import Anatomy, check_anatomy
from brainmass_core.preprocess.anatomical.template import load_template
from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.steps import Steps
from brainmass_core.preprocess.transforms import Normalisation

SIZE = 3.0  # mm


def changed(head: heads.Head) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, data (x, y, z) and affine of each head in its pose of old."""
    image = head.t1w(SIZE)
    data, affine = np.asarray(image.dataobj, dtype=np.float32), image.affine
    points = Volume(data, affine).points()
    brain = head.sample(heads.maps().brain, points).reshape(data.shape) > 0.5
    at = head.t1w_to_template(points)
    face = ((at[:, 1] > 20) & (at[:, 2] < -25)) | ((at[:, 1] > 75) & (at[:, 2] < 0))
    low, high = np.argwhere(brain)[:, 2].min(), np.argwhere(brain)[:, 2].max()
    slices = np.arange(data.shape[2])
    yield "whole head", data, affine
    yield "defaced", np.where(face.reshape(data.shape) & ~brain, 0, data), affine
    yield "skull-stripped", data * brain, affine
    for mm in (15, 25, 40):
        yield f"upper {mm} mm missing", data[..., : high - round(mm / SIZE)], affine
    yield "upper 25 mm blank", np.where(slices < high - round(25 / SIZE), data, 0), affine
    for mm in (25, 40):
        first = low + round(mm / SIZE)
        shorter = affine.copy()
        shorter[:3, 3] += affine[:3, 2] * first
        yield f"lower {mm} mm missing", data[..., first:], shorter
    yield "inverted contrast", (data.max() - data) * (data > 60), affine
    yield "noise", np.random.default_rng(0).normal(100, 10, data.shape), affine
    yield "left and right swapped", data[::-1], affine


def moved() -> Iterator[tuple[str, np.ndarray]]:
    """Name of each pose, and where it takes points (4, 4), mm."""
    for axis, degrees in (("x", 25), ("y", 25), ("z", 25), ("x", 50)):
        world = np.eye(4)
        world[:3, :3] = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
        yield f"tilted by {degrees} about {axis}", world
    shifted, sheared = np.eye(4), np.eye(4)
    shifted[:3, 3] = 60
    sheared[0, 2] = 0.15
    yield "shifted by 60 mm", shifted
    yield "sheared axes", sheared
    yield "voxels called 1.6 times as large", np.diag([1.6, 1.6, 1.6, 1.0])


def all_heads(head: heads.Head) -> Iterator[tuple[str, Volume, np.ndarray]]:
    """Name, scan and pose of each head."""
    image = head.t1w(SIZE)
    whole = Volume(np.asarray(image.dataobj, dtype=np.float32), image.affine)
    for name, data, affine in changed(head):
        yield name, Volume(np.ascontiguousarray(data, dtype=np.float32), affine), np.eye(4)
    for name, pose in moved():
        yield name, Volume(whole.data, pose @ whole.affine), pose


def error(head: heads.Head, found: Normalisation, pose: np.ndarray) -> float:
    """Mean distance (mm) within the brain."""
    points = heads.template_points(3)
    there = apply_affine(np.linalg.inv(pose), found.template_to_t1w(points))
    back = head.t1w_to_template(there)
    return float(np.linalg.norm(back - points, axis=1).mean())


def outcome(found: Structure, settings: Preprocess) -> str:
    """What `check_anatomy` says."""
    numbers = (found.template_correlation, found.t1w_coverage, found.brain_volume)
    anatomy = Anatomy(found.t1w, found.t1w, found.normalisation, *numbers, files={})
    try:
        check_anatomy(anatomy, settings, "")
    except ScanFailed as refused:
        return "refused: " + refused.reason.split(":")[1].strip()
    return "passes"


def main(
    phantom: Annotated[int, typer.Option(help="Its number.")] = 0,
    normalisation: Annotated[str, typer.Option()] = Engines().normalisation,
    brain_extraction: Annotated[str, typer.Option()] = Engines().brain_extraction,
    registration: Annotated[str, typer.Option()] = "syn_fast",
    resolution: Annotated[float, typer.Option(help="mm")] = 4.0,
    only: Annotated[str, typer.Option(help="Parts of names, with commas.")] = "",
) -> None:
    """Print a row per head."""
    engines = {"normalisation": normalisation, "brain_extraction": brain_extraction}
    settings = Preprocess.model_validate(
        {"resolution": resolution, "registration": registration, "engines": engines}
    )
    template = load_template(None, None, settings.resolution)
    head = heads.Head(phantom)
    for name, raw, pose in all_heads(head):
        if not any(part in name for part in only.split(",")):
            continue
        try:
            found = estimate(raw, template, settings, Steps())
        except ScanFailed as refused:
            typer.echo(f"{name:34} refused in {refused.step}: {refused.reason}")
            continue
        typer.echo(
            f"{name:34}{found.template_correlation:6.2f}{found.t1w_coverage:7.3f}"
            f"{found.brain_volume:6.0f} ml{error(head, found.normalisation, pose):7.2f} mm  "
            f"{outcome(found, settings)}"
        )


if __name__ == "__main__":
    typer.run(main)
