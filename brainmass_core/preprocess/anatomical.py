"""The anatomical part, once per T1w: later runs of the same participant find it in the derivatives.

It is kept under a key made of the configuration and the T1w file; another T1w or another setting
makes it anew. What a run uses is always read from the files, so it does not matter who made them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from filelock import FileLock

from brainmass_core.config.hashing import fingerprint
from brainmass_core.config.preprocess import Preprocess
from brainmass_core.manifest import ScanFailed
from brainmass_core.preprocess.functional import DAMAGED, check_affine
from brainmass_core.preprocess.grids import (
    Volume,
    crop_to,
    cropped,
    load_image,
    save_image,
    to_isotropic,
    to_uint8,
)
from brainmass_core.preprocess.registration import normalise
from brainmass_core.preprocess.segmentation import labels_of, segment
from brainmass_core.preprocess.template import load_template
from brainmass_core.preprocess.transforms import (
    Normalisation,
    load_normalisation,
    save_normalisation,
)
from brainmass_core.tables import atomic_path

log = logging.getLogger(__name__)
MARGIN = 10.0  # mm of head kept around the brain in the derivative, for coregistration and QC
NAMES = {
    "normalisation": "from-template_to-T1w_mode-points_xfm.npz",
    "t1w_preproc": "desc-preproc_T1w.nii.gz",
    "tissue": "desc-tissue_dseg.nii.gz",
}


@dataclass(frozen=True)
class Anatomy:
    """What is known about one T1w.

    Attributes
    ----------
    t1w : Volume (x, y, z) of uint8
        Bias-corrected, cropped around the brain, with skull.
    tissue : Volume (x, y, z) of uint8
        0 outside the brain, 1 grey, 2 white matter, 3 CSF; on the same grid.
    normalisation : Normalisation
        Template to T1w.
    template_correlation : float
    files : dict
        Output name to path.
    """

    t1w: Volume
    tissue: Volume
    normalisation: Normalisation
    template_correlation: float
    files: dict[str, Path]

    @property
    def mask(self) -> np.ndarray:
        """Brain (x, y, z) of bool."""
        return self.tissue.data > 0


def anatomy_of(t1w_path: str | None, folder: Path, settings: Preprocess, key: str) -> Anatomy:
    """The anatomical derivatives of a T1w, made if they are not there.

    Parameters
    ----------
    t1w_path : str or None
        The image; None if the participant has none.
    folder : Path
        Derivatives of the data set.
    key : str
        Hash of the configuration.

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
    path = Path(t1w_path)
    stem = re.sub(r"(_T1w)?\.nii(\.gz)?$", "", path.name)
    place = folder.joinpath(*_place(stem), "anat")
    place.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(f"{key} {fingerprint(str(path.absolute()))}".encode()).hexdigest()[:16]
    with FileLock(place / f".{stem}.lock"):
        if _kept(place / f"{stem}_desc-anatomical.json", key) is None:
            _make(path, place, stem, settings, key)
        else:
            log.info("%s: anatomical derivatives of an earlier run are used", path.name)
        return _load(place, stem)


def _place(stem: str) -> list[str]:
    """Folders of a BIDS name: participant, and session if there is one."""
    found = [re.search(rf"(?:^|_)({entity}-[^_]+)", stem) for entity in ("sub", "ses")]
    return [match[1] for match in found if match]


def _kept(file: Path, key: str) -> dict[str, Any] | None:
    """The record of an earlier run, if it was made from the same."""
    try:
        record = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    names = [file.parent / name for name in record.get("files", {}).values()]
    same = record.get("key") == key and names and all(n.exists() for n in names)
    return record if same else None


def _load(place: Path, stem: str) -> Anatomy:
    record = json.loads((place / f"{stem}_desc-anatomical.json").read_text())
    files = {k: place / v for k, v in record["files"].items()}
    return Anatomy(
        t1w=load_image(files["t1w_preproc"]),
        tissue=load_image(files["tissue"]),
        normalisation=load_normalisation(files["normalisation"]),
        template_correlation=record["template_correlation"],
        files=files,
    )


def _make(path: Path, place: Path, stem: str, settings: Preprocess, key: str) -> None:
    """Estimate and write; the record comes last and says that the rest is whole."""
    start = time.perf_counter()
    record_file = place / f"{stem}_desc-anatomical.json"
    record_file.unlink(missing_ok=True)
    head = to_isotropic(read_t1w(path), settings.resolution)
    template = load_template(settings.template, settings.template_mask, settings.resolution)
    found = normalise(head, template, settings.registration)
    try:
        tissue = labels_of(segment(found.t1w.data, found.mask, found.priors), found.mask)
    except ValueError as error:
        raise ScanFailed(f"{path}: {error}", "segment", "look at the T1w with a viewer") from None
    box = crop_to(found.t1w, found.mask, MARGIN)
    files = {k: place / f"{stem}_{name}" for k, name in NAMES.items()}
    save_normalisation(files["normalisation"], found.normalisation)
    grey_levels = to_uint8(found.t1w.data, found.mask)
    save_image(files["t1w_preproc"], cropped(found.t1w.with_data(grey_levels), box))
    save_image(files["tissue"], cropped(found.t1w.with_data(tissue), box))
    record = {
        "key": key,
        "t1w": path.name,
        "files": {k: f.name for k, f in files.items()},
        "template_correlation": found.template_correlation,
        "seconds": time.perf_counter() - start,
    }
    with atomic_path(record_file) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n")


def read_t1w(path: Path) -> Volume:
    """Read a T1w; voxels that are not finite become 0.

    Raises
    ------
    ScanFailed
        If it cannot be read, is not 3-D, or holds one value only.
    """
    try:
        image: Any = nib.load(path)
        data = np.asarray(image.dataobj, dtype=np.float32)
    except DAMAGED as error:
        raise ScanFailed(
            f"{path}: missing, truncated or damaged T1w ({type(error).__name__}: {error})",
            "read_t1w",
            "copy or download the file again and compare its checksum",
        ) from None
    data = np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0)
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim != 3 or min(data.shape) < 8 or np.ptp(data) == 0:
        what = "one constant value" if data.ndim == 3 and np.ptp(data) == 0 else "no 3-D head"
        raise ScanFailed(
            f"{path}: found shape {image.shape}, {what}; expected a 3-D T1w of the head",
            "read_t1w",
            "convert the T1w anew, or leave the participant out",
        )
    return Volume(data, check_affine(path, image.affine))
