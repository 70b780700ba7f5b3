"""One BOLD run from file to derivatives: the order of the steps, and what is refused."""

from __future__ import annotations

import hashlib
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.manifest import ScanExcluded, ScanFailed
from brainmass_core.preprocess.anatomical import Anatomy, anatomy_of
from brainmass_core.preprocess.confounds import compcor, confounds_table, detrended, dvars
from brainmass_core.preprocess.coregistration import Coregistered, coregister
from brainmass_core.preprocess.derivatives import Item, name_of, write_bold, write_derivatives
from brainmass_core.preprocess.functional import Bold, load_bold, slice_timed
from brainmass_core.preprocess.head import Moved, head_motion
from brainmass_core.preprocess.motion import realigned_series
from brainmass_core.preprocess.qc import Pictured, qc_figure
from brainmass_core.preprocess.template import Template, load_template
from brainmass_core.preprocess.tissues import bold_brain, noise_regions, overlap_with_template
from brainmass_core.preprocess.transforms import ScanTransforms
from brainmass_core.tables import PREPROCESS, from_rows

SPACE = "MNI152"


@dataclass
class Clock:
    """Wall seconds of each step, in order."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


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
        If the run is too short or moves too much.
    """
    clock, scan, settings = Clock(), item.scan, item.settings
    path = scan["bold_path"]
    with clock.step("load"):
        n_dummy = 0 if settings.n_dummy_volumes == "auto" else settings.n_dummy_volumes
        raw = load_bold(path, n_dummy, settings.min_volumes)
    with clock.step("motion"):
        moved = head_motion(raw, path)
        refuse_motion(moved, settings, path)
    with clock.step("anatomical"):
        anatomy = anatomy_of(scan["t1w_path"], item.derivatives, settings, item.key)
        refuse_normalisation(anatomy, settings, scan["t1w_path"])
    with clock.step("coregistration"):
        found = coregister(moved.boldref, moved.epi_mask, anatomy.t1w, anatomy.tissue.data)
        dice = mask_dice(moved, anatomy, found, settings)
        refuse_registration(dice, settings, path)
    with clock.step("slice_timing"):
        timed = _timed(raw, scan, settings)
        del raw
    with clock.step("confounds"):
        confounds, quality, mask = nuisance(timed, moved, anatomy, found, scan, settings)
    quality |= {
        "n_volumes": len(moved.motion),
        "n_volumes_censored": moved.n_censored(settings.fd_threshold),
        "mean_fd": moved.mean_fd,
        "mask_dice": dice,
        "template_correlation": anatomy.template_correlation,
        "coregistration_cost": found.cost,
    }
    with clock.step("write"):
        files = write_derivatives(item, moved, found, anatomy, confounds, mask)
        if settings.write_bold:
            files["bold_preproc"] = write_bold(item, timed, moved)
    with clock.step("qc"):
        files["qc_figure"] = _picture(item, moved, anatomy, found, confounds, quality)
    return _row(item, files, clock, quality)


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


def refuse_motion(moved: Moved, settings: Preprocess, path: str) -> None:
    """Raise `ScanExcluded` for a run with too much motion."""
    limit = settings.max_mean_fd
    if limit is not None and moved.mean_fd > limit:
        fd = moved.displacement["framewise_displacement"]
        raise ScanExcluded(
            f"{path}: mean framewise displacement {moved.mean_fd:.3f} mm is above "
            f"preprocess.max_mean_fd {limit:g} mm (largest {np.nanmax(fd):.2f} mm; "
            f"{moved.n_censored(settings.fd_threshold)} of {len(fd)} volumes above "
            f"{settings.fd_threshold:g} mm)",
            "motion",
        )


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


def refuse_registration(dice: float, settings: Preprocess, path: str) -> None:
    """Raise `ScanFailed` where template and BOLD do not overlap."""
    if dice < settings.min_mask_dice:
        raise ScanFailed(
            f"{path}: the BOLD's brain and the template's overlap with a Dice of {dice:.3f}, "
            f"expected at least preprocess.min_mask_dice {settings.min_mask_dice:g}: "
            "registration went wrong",
            "coregistration",
            "look at T1w and BOLD: the same person, the whole head, the right orientation?",
        )


def _timed(raw: Bold, scan: dict[str, Any], settings: Preprocess) -> Bold:
    if not settings.slice_timing or scan["slice_timing"] is None:
        return raw
    return slice_timed(scan["bold_path"], raw, scan["slice_timing"], scan["t_r"])


def nuisance(
    bold: Bold,
    moved: Moved,
    anatomy: Anatomy,
    found: Coregistered,
    scan: dict[str, Any],
    settings: Preprocess,
) -> tuple[pd.DataFrame, dict[str, float], np.ndarray]:
    """Confounds, quality and brain mask of a run.

    Returns
    -------
    confounds : DataFrame (n_volumes rows)
    quality : dict
        ``std_dvars`` (mean) and ``tsnr`` (median over the brain).
    mask : ndarray (x, y, z) of bool
    """
    place = (anatomy.t1w, anatomy.tissue.data, moved.boldref, found.t1w_to_boldref)
    mask = bold_brain(moved.epi_mask, *place)
    regions = noise_regions(*place, mask, scan["bold_path"])
    series = realigned_series(bold.data, bold.affine, moved.motion, mask)
    inside = {name: region[mask] for name, region in regions.items()}
    signals = {name: series[:, chosen].mean(axis=1) for name, chosen in inside.items()}
    signals["global_signal"] = series.mean(axis=1)
    change = dvars(series)
    noisy = series[:, inside["csf"] | inside["white_matter"]]
    confounds = confounds_table(
        *(moved.parameters, moved.displacement, change, signals, compcor(noisy)),
        scan["t_r"],
        settings.fd_threshold,
    )
    noise = detrended(series).std(axis=0)
    tsnr = np.median(series.mean(axis=0)[noise > 0] / noise[noise > 0])
    quality = {"std_dvars": float(np.nanmean(change[1])), "tsnr": float(tsnr)}
    return confounds, quality, mask


def _row(item: Item, files: dict[str, Path], clock: Clock, row: dict[str, Any]) -> pa.Table:
    outputs = {k: str(f.relative_to(item.results)) for k, f in sorted(files.items())}
    sha256 = {k: hashlib.sha256(f.read_bytes()).hexdigest() for k, f in sorted(files.items())}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    row |= {
        "scan_id": item.scan["scan_id"],
        "status": "ok",
        "step": "qc",
        "seconds": sum(clock.seconds.values()),
        "peak_rss": peak / (1024 if sys.platform != "darwin" else 1024**2),
        "outputs": list(outputs.items()),
        "sha256": list(sha256.items()),
        "seconds_per_step": list(clock.seconds.items()),
        "space": SPACE,
        "t_r": item.scan["t_r"],
    }
    return from_rows([row], PREPROCESS)
