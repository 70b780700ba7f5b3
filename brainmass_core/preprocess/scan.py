"""Process one BOLD run from file to derivatives: the sequence of steps."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.pipeline.manifest import ScanFailed, measured_so_far
from brainmass_core.pipeline.scan_fingerprint import fingerprint
from brainmass_core.preprocess.anatomical.t1w import MEASURES, Anatomy, anatomy_of, check_anatomy
from brainmass_core.preprocess.anatomical.template import chosen_template
from brainmass_core.preprocess.engines import engine
from brainmass_core.preprocess.files.derivatives import (
    PreprocessInput,
    write_bold,
    write_derivatives,
    write_template_bold,
)
from brainmass_core.preprocess.functional.bold import Bold, load_bold
from brainmass_core.preprocess.functional.coregistration import Coregistered, refuse_coregistration
from brainmass_core.preprocess.functional.head import Moved, head_motion
from brainmass_core.preprocess.functional.nuisance import Nuisance, nuisance
from brainmass_core.preprocess.functional.orientation import scan_in_ras
from brainmass_core.preprocess.functional.placement import (
    Placement,
    mask_dice,
    place,
    transforms_of,
    undistort,
)
from brainmass_core.preprocess.functional.temporal import Timed, temporal
from brainmass_core.preprocess.quality_control.criteria import (
    Refusals,
    refuse_motion,
    refuse_noise,
    refuse_registration,
    refuse_stranger,
)
from brainmass_core.preprocess.steps import Steps
from brainmass_core.tables import PREPROCESS, from_rows


def preprocess_scan(item: PreprocessInput) -> pa.Table:
    """Process one run and write its derivatives.

    Returns
    -------
    Table
        One row of `tables.PREPROCESS`.

    Raises
    ------
    ScanFailed
        If an image is damaged or a registration failed.
    ScanExcluded
        If the run is too short, moves too much or is too noisy.
    """
    steps = Steps(item.steps / fingerprint((item.scan, item.fieldmaps)))
    known: dict[str, Any] = {
        "space": chosen_template(item.settings).space,
        "t_r": item.scan["t_r"],
        "engines": list(_engines(item.settings).items()),
    }
    try:
        with measured_so_far(known):
            _estimate(item, steps, known)
    except ScanFailed:
        steps.forget()  # the outcome is known; only killed scans resume from finished steps
        raise
    row = _row(item, steps, known)
    steps.forget()
    return row


def _estimate(item: PreprocessInput, steps: Steps, known: dict[str, Any]) -> None:
    """Run the steps; measures are added to `known` immediately, also for refused runs."""
    refusals = Refusals()
    with refusals.explains():
        made = _steps(item, steps, known, refusals)
    with steps.timed("write"):
        files = write_derivatives(item, *made[:-1])
        if item.settings.write_bold and refusals.refusal is None:
            files |= _write_series(item, *made)
    known |= _published(item, files)
    refusals.raise_first()


def _steps(
    item: PreprocessInput, steps: Steps, known: dict[str, Any], refusals: Refusals
) -> tuple[Moved, Placement, Anatomy, Nuisance, Timed]:
    """All steps except writing."""
    scan, settings, path = item.scan, item.settings, item.scan["bold_path"]
    with steps.timed("load"):
        raw = load_bold(path, settings.n_dummy_volumes, settings.min_volumes, scan["t_r"])
    scan = scan_in_ras(scan, raw.orientation)
    known |= {"n_dummy_volumes": raw.n_dummy_volumes, "n_volumes": raw.data.shape[3]}
    moved = steps.kept("motion", Moved, lambda: _moved(raw, item))
    known |= _motion_measures(moved, settings.fd_threshold)
    refusals.check(refuse_motion, moved, settings, path)

    anatomy = anatomy_of(scan["t1w_path"], item.derivatives, settings, steps)
    known |= {name: getattr(anatomy, name) for name in MEASURES}
    refusals.check(check_anatomy, anatomy, settings, scan["t1w_path"])

    found = steps.kept("coregistration", Coregistered, lambda: place(moved, anatomy, settings))
    placed = steps.kept(
        "distortion", Placement, lambda: undistort(moved, anatomy, found, settings, scan)
    )
    transforms = transforms_of(moved, anatomy, placed)
    known |= {
        "distortion": placed.done,
        "coregistration_cost": placed.found.cost,
        "coregistration_sharpness": placed.sharpness,
        "mask_dice": mask_dice(moved, transforms, settings),
    }
    refusals.check(refuse_coregistration, placed.found, settings, path)
    refusals.check(refuse_stranger, placed.sharpness, settings, path)
    refusals.check(refuse_registration, known["mask_dice"], settings, path)

    with steps.timed("slice_timing"):
        slices = (scan["slice_timing"], scan["slice_axis"])
        timed = temporal(raw, path, settings, scan["t_r"], *slices)
    known |= {"slice_timing": timed.slice_timing, "despiked_fraction": timed.despiked_fraction}
    with steps.timed("confounds"):
        noise = nuisance(timed.bold, moved, anatomy, placed, scan, settings.fd_threshold)
    known |= noise.quality
    refusals.check(refuse_noise, known, settings, path)
    return moved, placed, anatomy, noise, timed


def _engines(settings: Preprocess) -> dict[str, str]:
    """The engine that does each step."""
    chosen = settings.engines.model_dump()
    if settings.registration == "affine":
        chosen["normalisation"] = settings.affine_engine
    return chosen


def _moved(raw: Bold, item: PreprocessInput) -> Moved:
    name = item.settings.engines.motion
    other = {} if name == "embedded" else {"estimate": engine("motion", name)}
    return head_motion(raw, item.scan["bold_path"], **other)


def _motion_measures(moved: Moved, fd_threshold: float) -> dict[str, Any]:
    fd, rmsd = (moved.displacement[k] for k in ("framewise_displacement", "rmsd"))
    return {
        "n_volumes_censored": moved.n_censored(fd_threshold),
        "mean_fd": moved.mean_fd,
        "max_fd": float(np.nanmax(fd)),
        "mean_rmsd": float(np.nanmean(rmsd)),
    }


def _write_series(
    item: PreprocessInput,
    moved: Moved,
    placed: Placement,
    anatomy: Anatomy,
    noise: Nuisance,
    timed: Timed,
) -> dict[str, Path]:
    transforms = transforms_of(moved, anatomy, placed)
    native = {"bold_preproc": write_bold(item, timed.bold, moved)}
    return native | write_template_bold(item, timed.bold, transforms, moved.boldref, noise.mask)


def _published(item: PreprocessInput, files: dict[str, Path]) -> dict[str, list[tuple[str, str]]]:
    """Columns with the output files of the run and their checksums."""
    outputs = [(k, str(f.relative_to(item.results))) for k, f in sorted(files.items())]
    sha256 = [(k, hashlib.sha256(f.read_bytes()).hexdigest()) for k, f in sorted(files.items())]
    return {"outputs": outputs, "sha256": sha256}


def _row(item: PreprocessInput, steps: Steps, known: dict[str, Any]) -> pa.Table:
    row = known | {
        "scan_id": item.scan["scan_id"],
        "status": "ok",
        "step": "write",
        "seconds": sum(steps.seconds.values()),
        "peak_rss": max(steps.peak_rss.values()),
        "seconds_per_step": list(steps.seconds.items()),
        "peak_rss_per_step": list(steps.peak_rss.items()),
    }
    return from_rows([row], PREPROCESS)
