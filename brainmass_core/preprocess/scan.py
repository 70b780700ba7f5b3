"""One BOLD run from file to derivatives: the order of the steps."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from brainmass_core.config import fingerprint
from brainmass_core.config.preprocess import Preprocess
from brainmass_core.manifest import ScanFailed
from brainmass_core.preprocess.anatomical import Anatomy, anatomy_of
from brainmass_core.preprocess.coregistration import Coregistered, coregister
from brainmass_core.preprocess.criteria import refuse_motion, refuse_noise, refuse_registration
from brainmass_core.preprocess.derivatives import Item, name_of, write_bold, write_derivatives
from brainmass_core.preprocess.functional import load_bold
from brainmass_core.preprocess.head import Moved, head_motion
from brainmass_core.preprocess.nuisance import nuisance
from brainmass_core.preprocess.qc import Pictured, qc_figure
from brainmass_core.preprocess.steps import Steps
from brainmass_core.preprocess.template import Template, load_template
from brainmass_core.preprocess.temporal import temporal
from brainmass_core.preprocess.tissues import overlap_with_template
from brainmass_core.preprocess.transforms import ScanTransforms
from brainmass_core.tables import PREPROCESS, from_rows

SPACE = "MNI152"


def preprocess_scan(item: Item) -> pa.Table:
    """Estimate everything about one run and write its derivatives.

    Returns
    -------
    Table
        One row of `tables.PREPROCESS`.

    Raises
    ------
    ScanFailed
        If an image is damaged or a registration went wrong.
    ScanExcluded
        If the run is too short, moves too much or is too noisy.
    """
    scan, settings = item.scan, item.settings
    steps = Steps(item.steps / fingerprint(scan))
    path = scan["bold_path"]
    with steps.timed("load"):
        raw = load_bold(path, settings.n_dummy_volumes, settings.min_volumes, scan["t_r"])
    moved = steps.kept("motion", Moved, lambda: head_motion(raw, path))
    refuse_motion(moved, settings, path)
    with steps.timed("anatomical"):
        anatomy = anatomy_of(scan["t1w_path"], item.derivatives, settings, item.key)
        refuse_normalisation(anatomy, settings, scan["t1w_path"])
    found = steps.kept(
        "coregistration",
        Coregistered,
        lambda: coregister(moved.boldref, moved.epi_mask, anatomy.t1w, anatomy.tissue.data),
    )
    dice = mask_dice(moved, anatomy, found, settings)
    refuse_registration(dice, settings, path)
    with steps.timed("slice_timing"):
        timed = temporal(raw, path, settings, scan["t_r"], scan["slice_timing"], scan["slice_axis"])
    with steps.timed("confounds"):
        noise = nuisance(timed.bold, moved, anatomy, found, scan, settings.fd_threshold)
    refuse_noise(noise.quality, settings, path)
    quality = noise.quality | {
        "n_dummy_volumes": raw.n_dummy_volumes,
        "slice_timing": timed.slice_timing,
        "despiked_fraction": timed.despiked_fraction,
        "n_volumes": len(moved.motion),
        "n_volumes_censored": moved.n_censored(settings.fd_threshold),
        "mean_fd": moved.mean_fd,
        "mask_dice": dice,
        "template_correlation": anatomy.template_correlation,
        "coregistration_cost": found.cost,
    }
    with steps.timed("write"):
        files = write_derivatives(item, moved, found, anatomy, noise.confounds, noise.mask)
        if settings.write_bold:
            files["bold_preproc"] = write_bold(item, timed.bold, moved)
    with steps.timed("qc"):
        files["qc_figure"] = _picture(item, moved, anatomy, found, noise.confounds, quality)
    row = _row(item, files, steps, quality)
    steps.forget()
    return row


def mask_dice(moved: Moved, anatomy: Anatomy, found: Coregistered, settings: Preprocess) -> float:
    """Overlap of the BOLD's brain with the template's, see `overlap_with_template`."""
    epi = moved.boldref.with_data(moved.epi_mask)
    transforms = ScanTransforms(anatomy.normalisation, found.t1w_to_boldref, moved.motion)
    return overlap_with_template(epi, _template(settings), transforms)


def _template(settings: Preprocess) -> Template:
    return load_template(settings.template, settings.template_mask, settings.resolution)


def _picture(
    item: Item,
    moved: Moved,
    anatomy: Anatomy,
    found: Coregistered,
    confounds: pd.DataFrame,
    quality: dict[str, Any],
) -> Path:
    path = name_of(item, "desc-qc_bold.png")
    shown = Pictured(
        title=(
            f"{item.scan['scan_id']}   mean FD {quality['mean_fd']:.3f} mm   "
            f"Dice with template {quality['mask_dice']:.3f}   "
            f"T1w-template r {quality['template_correlation']:.3f}   "
            f"boundary cost {quality['coregistration_cost']:.3f}"
        ),
        t1w=anatomy.t1w,
        tissue=anatomy.tissue,
        boldref=moved.boldref,
        template=_template(item.settings),
        transforms=ScanTransforms(anatomy.normalisation, found.t1w_to_boldref, moved.motion),
        confounds=confounds,
        fd_threshold=item.settings.fd_threshold,
    )
    qc_figure(path, shown)
    return path


def refuse_normalisation(anatomy: Anatomy, settings: Preprocess, path: str | None) -> None:
    """Raise `ScanFailed` where the T1w does not look like the template."""
    if not anatomy.template_correlation >= settings.min_template_correlation:
        raise ScanFailed(
            f"{path}: the T1w correlates with the template by {anatomy.template_correlation:.3f}, "
            f"expected at least preprocess.min_template_correlation "
            f"{settings.min_template_correlation:g}: registration went wrong",
            "anatomical",
            "look at the T1w: is it T1-weighted, a whole head, in the right orientation?",
        )


def _row(item: Item, files: dict[str, Path], steps: Steps, row: dict[str, Any]) -> pa.Table:
    outputs = {k: str(f.relative_to(item.results)) for k, f in sorted(files.items())}
    sha256 = {k: hashlib.sha256(f.read_bytes()).hexdigest() for k, f in sorted(files.items())}
    row |= {
        "scan_id": item.scan["scan_id"],
        "status": "ok",
        "step": "qc",
        "seconds": sum(steps.seconds.values()),
        "peak_rss": max(steps.peak_rss.values()),
        "outputs": list(outputs.items()),
        "sha256": list(sha256.items()),
        "seconds_per_step": list(steps.seconds.items()),
        "peak_rss_per_step": list(steps.peak_rss.items()),
        "engines": list(item.settings.engines.model_dump().items()),
        "space": SPACE,
        "t_r": item.scan["t_r"],
    }
    return from_rows([row], PREPROCESS)
