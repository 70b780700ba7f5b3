"""T1w to BOLD: ours against ANTs' rigid registration on a phantom, and costs of wrong pairs.

Both sides get the same images in this process, one thread. The second table is what the limit
``preprocess.max_coregistration_cost`` stands on. Run:
``OMP_NUM_THREADS=1 ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1 python benchmarks/coregistration.py``
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "preprocess"))

import preprocess_epi as phantom

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.preprocess.anatomical.segmentation import labels_of
from brainmass_core.preprocess.anatomical.structural import estimate
from brainmass_core.preprocess.anatomical.template import load_template
from brainmass_core.preprocess.engines.antspy import register
from brainmass_core.preprocess.functional.boundary import boundary_cost, refine, white_boundary
from brainmass_core.preprocess.functional.coregistration import coregister
from brainmass_core.preprocess.functional.tissues import epi_brain
from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.steps import Steps

POSE = phantom.rigid((5, -12, 25), (4, -3, 5))
AWAY = phantom.rigid((30, -40, 34), (15, -10, 12))  # another session: 60 mm, 15 degrees


def anatomy(seed: int) -> tuple[Volume, np.ndarray]:
    """T1w of a head and its tissues, as the pipeline estimates them."""
    settings = Preprocess()
    template = load_template(None, None, settings.resolution)
    found = estimate(phantom.Head(seed).t1w(1.0), template, settings, Steps())
    return found.t1w, labels_of(found.posteriors, found.mask)


def ants_rigid(bold: Volume, mask: np.ndarray, t1w: Volume, tissue: np.ndarray) -> np.ndarray:
    """Brain to brain by mutual information from the centres of mass."""
    brain = t1w.with_data(np.where(tissue > 0, t1w.data, 0).astype(np.float32))
    epi = bold.with_data(np.where(mask, bold.data, 0).astype(np.float32))
    return np.linalg.inv(register(epi, brain, "Rigid", aff_random_sampling_rate=0.5).affine)


def timed(make: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """Result and CPU seconds."""
    start = time.process_time()
    return make(), time.process_time() - start


def main(seeds: Annotated[int, typer.Option()] = 2) -> None:
    """Print error (RMS, mm) and CPU seconds per side, then costs of right and wrong pairs."""
    heads = {seed: anatomy(seed) for seed in range(1, seeds + 1)}
    sessions = {seed: phantom.Session(phantom.Head(seed), POSE) for seed in heads}
    whole = {seed: session.epi(noise=0.02) for seed, session in sessions.items()}
    for seed, place in heads.items():
        for name, bold, truth in views(whole[seed]):
            mask = epi_brain(bold, "phantom")
            mine, mine_s = timed(
                lambda b=bold, m=mask, p=place: coregister(b, m, *p).t1w_to_boldref
            )
            ants, ants_s = timed(lambda b=bold, m=mask, p=place: ants_rigid(b, m, *p))
            errors = [phantom.rms(x, truth) for x in (mine, ants)]
            typer.echo(
                f"head {seed}, {name}: ours {errors[0]:.2f} mm in {mine_s:.1f} s, ANTs "
                f"{errors[1]:.2f} mm in {ants_s:.1f} s; ratio of times {ants_s / mine_s:.1f}"
            )
    for seed, bold in whole.items():
        for other, place in heads.items():
            cost = coregister(bold, epi_brain(bold, "phantom"), *place).cost
            typer.echo(f"boundary cost of BOLD {seed} with T1w {other}: {cost:.3f}")
        print_planted(seed, bold, heads[seed])


def views(bold: Volume) -> list[tuple[str, Volume, np.ndarray]]:
    """The whole head near and far, and its upper 60 %."""
    first = round(0.3 * bold.data.shape[2])
    affine = bold.affine.copy()
    affine[:3, 3] += bold.affine[:3, 2] * first
    return [
        ("whole head", bold, POSE),
        ("60 mm and 15 degrees away", Volume(bold.data, AWAY @ bold.affine), AWAY @ POSE),
        ("upper 60 %", Volume(bold.data[:, :, first:], affine), POSE),
    ]


def print_planted(seed: int, bold: Volume, place: tuple[Volume, np.ndarray]) -> None:
    """Costs of registrations 15 mm and 10 degrees off, before and after refinement."""
    boundary, rng = white_boundary(*place), np.random.default_rng(0)
    costs = []
    for _ in range(8):
        mm, degrees = (x / np.linalg.norm(x) for x in rng.normal(size=(2, 3)))
        wrong = phantom.rigid(tuple(15 * mm), tuple(10 * degrees)) @ POSE
        after = refine(bold, boundary, wrong)
        costs.append([boundary_cost(bold, boundary, x) for x in (wrong, after)])
    low = np.min(costs, axis=0)
    typer.echo(f"BOLD {seed}, 15 mm and 10 degrees off: least {low[0]:.3f}, refined {low[1]:.3f}")


if __name__ == "__main__":
    typer.run(main)
