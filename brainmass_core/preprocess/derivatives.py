"""Which files a scan leaves behind, what they are called and how they are written."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.preprocess.anatomical import Anatomy
from brainmass_core.preprocess.confounds import save_confounds
from brainmass_core.preprocess.coregistration import Coregistered
from brainmass_core.preprocess.functional import Bold
from brainmass_core.preprocess.grids import Volume, save_image
from brainmass_core.preprocess.head import Moved
from brainmass_core.preprocess.motion import resample_volume
from brainmass_core.preprocess.transforms import save_affine, save_motion
from brainmass_core.tables import atomic_path


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
    steps : Path
        Where results of finished steps are kept while the scan is worked on.
    """

    scan: dict[str, Any]
    settings: Preprocess
    derivatives: Path
    results: Path
    key: str
    steps: Path


def name_of(item: Item, suffix: str) -> Path:
    """Path of a derivative of the run."""
    path = Path(item.scan["bold_path"])
    stem = re.sub(r"(_bold)?\.nii(\.gz)?$", "", path.name)
    places = [item.scan["participant_id"], item.scan["session"]]
    prefixes = ["sub-", "ses-"]
    parts = [p if p.startswith(x) else x + p for p, x in zip(places, prefixes, strict=True) if p]
    return item.derivatives.joinpath(*parts, "func", f"{stem}_{suffix}")


def write_derivatives(
    item: Item,
    moved: Moved,
    found: Coregistered,
    anatomy: Anatomy,
    confounds: pd.DataFrame,
    mask: np.ndarray,
) -> dict[str, Path]:
    """Write what was estimated; every output's name and path, those of the anatomy included."""
    files = {
        "coregistration": name_of(item, "from-T1w_to-boldref_mode-points_xfm.txt"),
        "motion": name_of(item, "from-boldref_to-orig_mode-points_xfm.npy"),
        "confounds": name_of(item, "desc-confounds_timeseries.tsv"),
        "boldref": name_of(item, "desc-hmc_boldref.nii.gz"),
        "bold_mask": name_of(item, "desc-brain_mask.nii.gz"),
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


def write_bold(item: Item, bold: Bold, moved: Moved) -> Path:
    """The realigned run on its own grid."""
    path = name_of(item, "desc-preproc_bold.nii.gz")
    data = np.empty_like(bold.data)
    for t, motion in enumerate(moved.motion):
        data[..., t] = resample_volume(bold.data[..., t], bold.affine, motion)
    save_image(path, Volume(data, bold.affine), item.scan["t_r"])
    return path
