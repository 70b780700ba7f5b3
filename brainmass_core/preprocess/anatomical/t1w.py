"""Anatomical derivatives, computed once per T1w and reused by later runs of the participant.

They are stored under a hash of the T1w file and of the settings that affect them; another T1w or
another such setting computes them again. Runs always read them from the files.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from brainmass_core.checksums import check_file, check_seal, sealed, sha256_of
from brainmass_core.config.preprocess import Preprocess
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.pipeline.scan_fingerprint import fingerprint
from brainmass_core.preprocess.anatomical.segmentation import labels_of
from brainmass_core.preprocess.anatomical.structural import Structure, estimate
from brainmass_core.preprocess.anatomical.template import (
    PACKAGED_SPACE,
    chosen_template,
    template_of,
)
from brainmass_core.preprocess.engines.greedy import DEFORMABLE
from brainmass_core.preprocess.grids import (
    Volume,
    crop_to,
    cropped,
    load_image,
    save_image,
    to_uint8,
)
from brainmass_core.preprocess.steps import Steps
from brainmass_core.preprocess.transform_files import load_normalisation, save_normalisation
from brainmass_core.preprocess.transforms import Normalisation
from brainmass_core.readers.files import FileError
from brainmass_core.readers.image import read_image
from brainmass_core.spaces import SpaceError
from brainmass_core.spaces.bridges import bridge
from brainmass_core.spaces.shipped import shipped_digest
from brainmass_core.tables import atomic_path

log = logging.getLogger(__name__)
METHOD = 2  # increased when the same settings give different derivatives
MARGIN = 10.0  # mm around the brain in the derivative, for coregistration and QC
# so that 255 levels do not exceed 1
LEVEL = float(np.nextafter(np.float32(1 / 255), np.float32(0)))
NAMES = {
    "normalisation": "from-template_to-T1w_mode-points_xfm.npz",
    "t1w_preproc": "desc-preproc_T1w.nii.gz",
    "tissue": "desc-tissue_dseg.nii.gz",
}
FULL = {
    "t1w_mask": "desc-brain_mask.nii.gz",
    "csf_probseg": "label-CSF_probseg.nii.gz",
    "grey_probseg": "label-GM_probseg.nii.gz",
    "white_probseg": "label-WM_probseg.nii.gz",
}
MEASURES = ("template_correlation", "t1w_coverage", "brain_volume")
ENGINES = ("bias_correction", "brain_extraction", "segmentation", "normalisation")


@dataclass(frozen=True)
class Anatomy:
    """Anatomical derivatives of one T1w.

    Attributes
    ----------
    t1w : Volume (x, y, z) of uint8
        Bias-corrected, cropped around the brain, with skull.
    tissue : Volume (x, y, z) of uint8
        0 outside the brain, 1 grey, 2 white matter, 3 CSF; on the same grid.
    normalisation : Normalisation
        Template to T1w.
    template_correlation : float
        Correlation of the intensities of T1w and template inside the brain.
    t1w_coverage : float
        Fraction of the template's brain well inside the T1w's field of view.
    brain_volume : float
        ml.
    files : dict
        Output name to path; with `derivatives: full` including the brain mask and the probabilities
        of the three tissues.
    """

    t1w: Volume
    tissue: Volume
    normalisation: Normalisation
    template_correlation: float
    t1w_coverage: float
    brain_volume: float
    files: dict[str, Path]

    @property
    def mask(self) -> np.ndarray:
        """Brain (x, y, z) of bool."""
        return self.tissue.data > 0


def anatomy_of(
    t1w_path: str | None, folder: Path, settings: Preprocess, steps: Steps | None = None
) -> Anatomy:
    """The anatomical derivatives of a T1w, computed if they do not exist.

    Parameters
    ----------
    t1w_path : str or None
        The image; None if the participant has none.
    folder : Path
        Derivatives of the data set.
    steps : Steps, optional
        Steps of the scan that needs them. Time and memory of ``anatomical`` (reading, waiting for
        another worker, writing) and of computed steps are added, see `structural.estimate`.
        Finished parts are stored next to its folder, for all scans of the T1w.

    Raises
    ------
    ScanFailed
        If there is no T1w, or it cannot be read or registered.
    """
    if not t1w_path:
        raise ScanFailed(
            "found no T1w of this participant, expected one to register",
            "anatomical",
            "add a T1w to the data set",
        )
    path, steps = Path(t1w_path), steps or Steps()
    stem = re.sub(r"(_T1w)?\.nii(\.gz)?$", "", path.name)
    place = folder.joinpath(*_place(stem), "anat")
    place.mkdir(parents=True, exist_ok=True)
    key = anatomical_key(path, settings)
    lock = FileLock(place / f".{stem}.lock")
    with steps.timed("anatomical"):
        lock.acquire()
    try:
        if _kept(place / f"{stem}_desc-anatomical.json", key) is None:
            _make(path, place / stem, settings, key, steps)
        else:
            log.info("%s: using anatomical derivatives of an earlier run", path.name)
        with steps.timed("anatomical"):
            return _load(place, stem)
    finally:
        lock.release()


def anatomical_key(path: Path, settings: Preprocess) -> str:
    """Hash of everything on which the anatomical derivatives of a T1w depend."""
    chosen = chosen_template(settings)
    matter = {
        "method": METHOD,
        "t1w": path.absolute(),
        "template": chosen.path and chosen.path.absolute(),
        "mask": chosen.mask and chosen.mask.absolute(),
        "space": chosen.space,  # the priors are transformed to it
        "resolution": settings.resolution,
        "registration": settings.registration,
        "derivatives": settings.derivatives,
        "engines": [getattr(settings.engines, step) for step in ENGINES],
    }
    return fingerprint(matter | _priors_from(chosen.space) | _schedule(settings))


def _schedule(settings: Preprocess) -> dict[str, Any]:
    """Greedy's options, because results with other options must not be reused."""
    if settings.engines.normalisation != "greedy" or settings.registration == "affine":
        return {}
    return {"greedy": DEFORMABLE[settings.registration]}


def _priors_from(space: str) -> dict[str, Any]:
    """Identifies the bridge from the tissue priors to the template, if their spaces differ."""
    if space == PACKAGED_SPACE:
        return {}
    try:
        file = bridge(space, PACKAGED_SPACE).file
    except SpaceError:  # reported when the template is loaded
        return {}
    return {"bridge": file or shipped_digest(space, PACKAGED_SPACE)}


def _place(stem: str) -> list[str]:
    """Folders of a BIDS name: participant, and session if there is one."""
    found = [re.search(rf"(?:^|_)({entity}-[^_]+)", stem) for entity in ("sub", "ses")]
    return [match[1] for match in found if match]


def _kept(file: Path, key: str) -> dict[str, Any] | None:
    """The record of an earlier run, if it has the same key and its files are undamaged."""
    try:
        record = json.loads(file.read_text())
        check_seal(record, file)
        if record["key"] != key or not record["files"]:
            return None
        for kind, name in record["files"].items():
            check_file(file.parent / name, record["sha256"][kind])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        log.warning("anatomical derivatives of an earlier run are computed again: %s", error)
        return None
    return record


def _load(place: Path, stem: str) -> Anatomy:
    record = json.loads((place / f"{stem}_desc-anatomical.json").read_text())
    files = {k: place / v for k, v in record["files"].items()}
    return Anatomy(
        t1w=load_image(files["t1w_preproc"]),
        tissue=load_image(files["tissue"]),
        normalisation=load_normalisation(files["normalisation"]),
        files=files,
        **{name: record[name] for name in MEASURES},
    )


def _make(path: Path, start: Path, settings: Preprocess, key: str, steps: Steps) -> None:
    """Estimate and write; the record is written last and shows that the rest is complete.

    Parts are stored under the key of the T1w, not of the scan: after a kill, another scan of the
    same participant may be processed first.
    """
    record_file = start.with_name(f"{start.name}_desc-anatomical.json")
    record_file.unlink(missing_ok=True)
    with steps.timed("anatomical"):
        raw = read_t1w(path)
        template = template_of(settings)
    parts = Steps(steps.folder and steps.folder.parent / f"t1w-{key}")
    try:
        found = estimate(raw, template, settings, parts)
    except ScanFailed as error:
        raise ScanFailed(f"{path}: {error.reason}", error.step, error.remedy) from None
    steps.seconds |= parts.seconds
    steps.peak_rss |= parts.peak_rss
    with steps.timed("anatomical"):
        files = _write(start, found, settings.derivatives == "full")
        record = {
            "key": key,
            "t1w": path.name,
            "files": {k: f.name for k, f in files.items()},
            "sha256": {k: sha256_of(f) for k, f in files.items()},
            **{name: getattr(found, name) for name in MEASURES},
        }
        with atomic_path(record_file) as temporary:
            temporary.write_text(json.dumps(sealed(record), indent=2) + "\n")
    parts.forget()


def _write(start: Path, found: Structure, full: bool) -> dict[str, Path]:
    """Write the derivatives of a T1w; returns name and path of each."""
    names = NAMES | (FULL if full else {})
    files = {k: start.with_name(f"{start.name}_{name}") for k, name in names.items()}
    box = crop_to(found.t1w, found.mask, MARGIN)

    def save(name: str, data: np.ndarray, slope: float | None = None) -> None:
        save_image(files[name], cropped(found.t1w.with_data(data), box), slope=slope)

    save_normalisation(files["normalisation"], found.normalisation)
    save("t1w_preproc", to_uint8(found.t1w.data, found.mask))
    save("tissue", labels_of(found.posteriors, found.mask))
    if full:
        save("t1w_mask", found.mask.astype(np.uint8))
        for k, name in enumerate(("csf_probseg", "grey_probseg", "white_probseg")):
            levels = np.rint(255 * np.clip(found.posteriors[..., k], 0, 1))
            save(name, levels.astype(np.uint8), LEVEL)
    return files


def check_anatomy(anatomy: Anatomy, settings: Preprocess, path: str | None) -> None:
    """Raise `ScanFailed` if a T1w is not a complete head, or registration to the template
    failed."""
    numbers = (
        f"it correlates with the template by {anatomy.template_correlation:.3f}, shows "
        f"{anatomy.t1w_coverage:.1%} of the template's brain, and its brain has "
        f"{anatomy.brain_volume:.0f} ml"
    )
    if not anatomy.t1w_coverage >= settings.min_t1w_coverage:
        raise ScanFailed(
            f"{path}: the brain is cut off at the edge of the T1w: {numbers}; expected a fraction "
            f"of at least preprocess.min_t1w_coverage {settings.min_t1w_coverage:g}",
            "anatomical",
            "check the T1w: does it contain the complete brain? If only parts that you do not "
            "need are missing, lower preprocess.min_t1w_coverage",
        )
    if not anatomy.template_correlation >= settings.min_template_correlation:
        raise ScanFailed(
            f"{path}: the T1w does not look like the template: {numbers}; expected a correlation "
            f"of at least preprocess.min_template_correlation "
            f"{settings.min_template_correlation:g}",
            "anatomical",
            "check the T1w: is it T1-weighted, a whole head, in the correct orientation?",
        )
    low, high = settings.min_brain_volume, settings.max_brain_volume
    if not low <= anatomy.brain_volume <= high:
        raise ScanFailed(
            f"{path}: the brain has an implausible size: {numbers}; expected "
            f"preprocess.min_brain_volume {low:g} to max_brain_volume {high:g} ml",
            "anatomical",
            "check the T1w: are its voxel sizes correct? For infants or animals set these, and "
            "use a suitable template",
        )


def read_t1w(path: Path) -> Volume:
    """Read a T1w; non-finite voxels become 0.

    Raises
    ------
    ScanFailed
        If it cannot be read, is not 3-D, or is constant.
    """
    try:
        stored, affine = read_image(path)
    except FileError as error:
        raise ScanFailed(
            f"T1w {error}", "read_t1w", "compare the checksum of the file with that of its source"
        ) from None
    data = np.nan_to_num(np.asarray(stored, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim != 3 or min(data.shape) < 8 or np.ptp(data) == 0:
        what = "one constant value" if data.ndim == 3 and np.ptp(data) == 0 else "not a 3-D head"
        raise ScanFailed(
            f"{path}: found shape {stored.shape}, {what}; expected a 3-D T1w of the head",
            "read_t1w",
            "convert the T1w again, or exclude the participant",
        )
    return Volume(data, affine)
