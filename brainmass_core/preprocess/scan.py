"""One BOLD run from file to derivatives: the order of the steps, and what is refused."""

from __future__ import annotations

import hashlib
import json
import re
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
from nibabel.affines import apply_affine

from brainmass_core.config.stages import Preprocess
from brainmass_core.manifest import ScanExcluded, ScanFailed
from brainmass_core.preprocess.anatomical import Anatomy, anatomy_of
from brainmass_core.preprocess.confounds import (
    compcor,
    confounds_table,
    detrended,
    dvars,
    save_confounds,
)
from brainmass_core.preprocess.coregistration import Coregistered, coregister
from brainmass_core.preprocess.functional import Bold, load_bold, slice_timed
from brainmass_core.preprocess.grids import Volume, save_image
from brainmass_core.preprocess.motion import (
    estimate_motion,
    framewise_displacement,
    motion_parameters,
    realigned_series,
    resample_volume,
    rms_displacement,
)
from brainmass_core.preprocess.qc import Pictured, qc_figure
from brainmass_core.preprocess.template import load_template
from brainmass_core.preprocess.tissues import (
    bold_brain,
    epi_brain,
    noise_regions,
    overlap_with_template,
)
from brainmass_core.preprocess.transforms import ScanTransforms, save_affine, save_motion
from brainmass_core.tables import PREPROCESS, atomic_path, from_rows

SPACE = "MNI152"


@dataclass(frozen=True)
class Item:
    """One scan on its way to a worker.

    Attributes
    ----------
    scan : dict
        Its row of the scans table.
    settings : Preprocess
    derivatives : Path
        Folder of the data set's derivatives.
    results : Path
        Folder to which the paths in the table are relative.
    key : str
        Hash of the configuration.
    """

    scan: dict[str, Any]
    settings: Preprocess
    derivatives: Path
    results: Path
    key: str


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


@dataclass(frozen=True)
class Moved:
    """Head motion of a run.

    Attributes
    ----------
    motion : ndarray (n_volumes, 4, 4)
        Reference to volume t, mm.
    boldref : Volume (x, y, z)
    epi_mask : ndarray (x, y, z) of bool
        Brain of `boldref`.
    parameters : ndarray (n_volumes, 6)
    displacement : dict
        ``framewise_displacement`` and ``rmsd`` (n_volumes,), mm.
    """

    motion: np.ndarray
    boldref: Volume
    epi_mask: np.ndarray
    parameters: np.ndarray
    displacement: dict[str, np.ndarray]

    @property
    def mean_fd(self) -> float:
        """Mean framewise displacement in mm."""
        return float(np.nanmean(self.displacement["framewise_displacement"]))

    def n_censored(self, threshold: float) -> int:
        """Volumes with more framewise displacement than `threshold` mm."""
        return int(np.sum(self.displacement["framewise_displacement"] > threshold))


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
    with clock.step("load"):
        path = scan["bold_path"]
        raw = load_bold(path, settings.n_dummy_volumes, settings.min_volumes)
    with clock.step("motion"):
        moved = head_motion(raw, path)
        refuse_motion(moved, settings, path)
    with clock.step("anatomical"):
        anatomy = anatomy_of(scan["t1w_path"], item.derivatives, settings, item.key)
        refuse_normalisation(anatomy, settings, scan["t1w_path"])
    with clock.step("coregistration"):
        found = coregister(moved.boldref, moved.epi_mask, anatomy.t1w, anatomy.tissue.data)
        transforms = ScanTransforms(anatomy.normalisation, found.t1w_to_boldref, moved.motion)
        template = load_template(settings.template, settings.template_mask, settings.resolution)
        epi = moved.boldref.with_data(moved.epi_mask)
        dice = overlap_with_template(epi, template, transforms)
        refuse_registration(dice, settings, path)
    with clock.step("slice_timing"):
        timed = _timed(raw, scan, settings)
        del raw
    with clock.step("confounds"):
        confounds, quality, mask = nuisance(timed, moved, anatomy, found, scan, settings)
    with clock.step("write"):
        files = _write(item, moved, found, anatomy, confounds, mask)
        if settings.write_bold:
            files["bold_preproc"] = _write_bold(item, timed, moved)
    with clock.step("qc"):
        files["qc_figure"] = _name(item, "desc-qc_bold.png")
        title = (
            f"{scan['scan_id']}   mean FD {moved.mean_fd:.3f} mm   Dice with template {dice:.3f}   "
            f"T1w-template r {anatomy.template_correlation:.3f}   boundary cost {found.cost:.3f}"
        )
        shown = Pictured(
            *(title, anatomy.t1w, anatomy.tissue, moved.boldref, template, transforms),
            confounds,
            settings.fd_threshold,
        )
        qc_figure(files["qc_figure"], shown)
    row = {
        "n_volumes": len(moved.motion),
        "n_volumes_censored": moved.n_censored(settings.fd_threshold),
        "mean_fd": moved.mean_fd,
        **quality,
        "mask_dice": dice,
        "template_correlation": anatomy.template_correlation,
        "coregistration_cost": found.cost,
    }
    return _row(item, files, clock, row)


def head_motion(bold: Bold, path: str) -> Moved:
    """Motion of a run, about the centre of its brain.

    It is estimated before slice timing is corrected, as fMRIPrep does: interpolation in time
    blurs jerks and makes the framewise displacement of restless runs a tenth too small.
    """
    motion, reference = estimate_motion(bold.data, bold.affine)
    boldref = Volume(reference, bold.affine)
    mask = epi_brain(boldref, path)
    centre = apply_affine(bold.affine, np.argwhere(mask).mean(axis=0))
    parameters = motion_parameters(motion, centre)
    displacement = {
        "framewise_displacement": framewise_displacement(parameters),
        "rmsd": rms_displacement(motion, centre),
    }
    return Moved(motion, boldref, mask, parameters, displacement)


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


def _name(item: Item, suffix: str) -> Path:
    """Path of a derivative of the run."""
    path = Path(item.scan["bold_path"])
    stem = re.sub(r"(_bold)?\.nii(\.gz)?$", "", path.name)
    places = [item.scan["participant_id"], item.scan["session"]]
    prefixes = ["sub-", "ses-"]
    parts = [p if p.startswith(x) else x + p for p, x in zip(places, prefixes, strict=True) if p]
    return item.derivatives.joinpath(*parts, "func", f"{stem}_{suffix}")


def _write(
    item: Item,
    moved: Moved,
    found: Coregistered,
    anatomy: Anatomy,
    confounds: pd.DataFrame,
    mask: np.ndarray,
) -> dict[str, Path]:
    files = {
        "coregistration": _name(item, "from-T1w_to-boldref_mode-points_xfm.txt"),
        "motion": _name(item, "from-boldref_to-orig_mode-points_xfm.npy"),
        "confounds": _name(item, "desc-confounds_timeseries.tsv"),
        "boldref": _name(item, "desc-hmc_boldref.nii.gz"),
        "bold_mask": _name(item, "desc-brain_mask.nii.gz"),
    }
    save_affine(files["coregistration"], found.t1w_to_boldref)
    save_motion(files["motion"], moved.motion)
    save_confounds(files["confounds"], confounds)
    _write_sidecar(files["confounds"].with_suffix(".json"), confounds)
    levels = np.clip(np.rint(moved.boldref.data), -32768, 32767)
    exact = np.abs(moved.boldref.data).max() > 100  # int16 would lose small intensities
    reference = levels.astype(np.int16) if exact else moved.boldref.data.astype(np.float32)
    save_image(files["boldref"], moved.boldref.with_data(reference))
    save_image(files["bold_mask"], moved.boldref.with_data(mask.astype(np.uint8)))
    return {**anatomy.files, **files}


def _write_sidecar(path: Path, confounds: pd.DataFrame) -> None:
    """Say of each component where it comes from, as `nilearn.interfaces.fmriprep` wants it."""
    about = {
        name: {"Method": "aCompCor", "Mask": "combined", "Retained": True}
        for name in map(str, confounds)
        if name.startswith("a_comp_cor_")
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(about, indent=1) + "\n")


def _write_bold(item: Item, bold: Bold, moved: Moved) -> Path:
    """The realigned run on its own grid."""
    path = _name(item, "desc-preproc_bold.nii.gz")
    data = np.empty_like(bold.data)
    for t, motion in enumerate(moved.motion):
        data[..., t] = resample_volume(bold.data[..., t], bold.affine, motion)
    save_image(path, Volume(data, bold.affine), item.scan["t_r"])
    return path


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
