"""Greedy (picsl-greedy) in process: T1w to template, brain to brain.

Measured with 1.4.0.3: without a seed two runs differ, because it jitters its samples and adds noise
to the images; with a seed and one thread they are bit-identical. It prints from C, hence `_silent`.
It does not accept matrices from NumPy, so they are passed in a file.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.anatomical.registration import (
    GOOD,
    NEAR,
    TURNS,
    similarity,
    turned_starts,
)
from brainmass_core.preprocess.engines.matrices import LPS, simpleitk_image
from brainmass_core.preprocess.grids import Volume

if TYPE_CHECKING:
    from brainmass_core.preprocess.anatomical.registration import Kind
    from brainmass_core.preprocess.anatomical.template import Template

log = logging.getLogger(__name__)
ALWAYS = "-threads 1 -seed 1"
# mutual information is robust to contrast and bias field
AFFINE = "-a -dof 12 -m NMI -n 100x50x0"
# cross-correlation of radius 2 that ignores voxels outside the mask; smoothing of each update and
# of the sum of all, in voxels; -wp 0: no rounding. `syn` is smoother than Greedy's defaults, with
# which registrations of one head to different templates agree less (`docs/explanation/anatomy.md`)
DEFORMABLE: dict[str, str] = {
    "syn_fast": "-m WNCC 2x2x2 -n 60x40x6 -s 1.732vox 0.7071vox -wp 0",
    "syn": "-m WNCC 2x2x2 -n 60x40x20 -s 4vox 2vox -wp 0",
}


def normalisation(
    t1w: Volume,
    mask: np.ndarray,
    template: Template,
    kind: Kind,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """T1w to template by Greedy.

    Parameters
    ----------
    t1w : Volume (x, y, z)
    mask : ndarray (x, y, z) of bool
        Its brain, the region that is registered.
    kind : {"affine", "syn_fast", "syn"}
        `syn_fast` has fewer iterations on the finest level.
    start : ndarray (4, 4), optional
        Template to T1w points, mm, if the affine is known. Default: estimated from aligned centres
        of mass; if the fit is poor, also from brains rotated by 30 degrees about each axis.

    Returns
    -------
    affine : ndarray (4, 4)
        Template to T1w points, mm: ``affine @ (p + field(p))``.
    field : ndarray (x, y, z, 3) or None
        mm, on the grid of the template.

    Raises
    ------
    ScanFailed
        If Greedy fails.
    """
    brain = t1w.with_data(np.where(mask, t1w.data, 0).astype(np.float32))
    near = template.near_brain(NEAR).astype(np.float32)
    images = {
        "fixed": simpleitk_image(template.brain.data, template.brain.affine),
        "moving": simpleitk_image(brain.data, brain.affine),
        "near": simpleitk_image(near, template.brain.affine),
    }
    affine = _affine(brain, template, images) if start is None else start
    if kind == "affine":
        return affine, None
    warp = _run(f"-it {{start}} -gm near {DEFORMABLE[kind]}", images, affine)
    return affine, _field(warp)


def _affine(brain: Volume, template: Template, images: dict[str, Any]) -> np.ndarray:
    """The affine (4, 4) from the first start with a good fit, otherwise the best of all."""
    fits: list[tuple[float, np.ndarray]] = []
    for begin in turned_starts(template.brain, brain, [(0, 0, 0), *TURNS]):
        affine = np.asarray(_run(f"{AFFINE} -ia {{start}}", images, begin), dtype=np.float64)
        fits.append((similarity(brain, template, affine), affine))
        if fits[-1][0] > GOOD:
            break
    return max(fits, key=lambda fit: fit[0])[1]


def _run(options: str, images: dict[str, Any], start: np.ndarray) -> Any:
    """Run Greedy; returns a matrix, or a warp as SimpleITK image.

    Parameters
    ----------
    options : str
        ``{start}`` is replaced by the file with the matrix `start`.

    Raises
    ------
    ScanFailed
        If Greedy fails.
    """
    from picsl_greedy import GreedyFloat3D

    greedy, said = GreedyFloat3D(), io.StringIO()
    with tempfile.TemporaryDirectory(prefix="brainmass-greedy-") as folder:
        file = Path(folder) / "start.mat"
        np.savetxt(file, start, fmt="%.17g")
        given = options.format(start=f'"{file}"')
        command = f"{ALWAYS} -i fixed moving {given} -o found"
        try:
            with _silent():
                greedy.execute(command, said, said, found=None, **images)
        except RuntimeError as error:
            raise ScanFailed(
                f"Greedy could not register ({error}), expected two images of a brain",
                "normalisation",
                "check the T1w in a viewer: does it match its name?",
            ) from None
    log.debug("greedy %s\n%s", command, said.getvalue())
    return greedy["found"]


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress output of C code to standard output."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _field(warp: Any) -> np.ndarray:
    """Convert a SimpleITK warp, LPS, to displacements (x, y, z, 3) in mm, RAS."""
    from SimpleITK import GetArrayFromImage

    field = GetArrayFromImage(warp).transpose(2, 1, 0, 3)
    return (field * np.diag(LPS)[:3]).astype(np.float32)
