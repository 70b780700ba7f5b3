"""The embedded demo: a small synthetic BIDS data set with a known truth.

Nobody was scanned. Heads are nilearn's packaged template, deformed and moved; activity is simulated
on the parcels of `brainmass_core.atlas.VORONOI`. The ground truth is in ``derivatives/truth``.
"""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from brainmass_core.atlas import published_labels
from brainmass_core.config.inputs import Synthetic
from brainmass_core.demo.dynamics import at_times, parcel_signals
from brainmass_core.demo.head import random_head, random_pose, scan_t1w
from brainmass_core.demo.scanner import (
    bold_shape,
    framewise_displacement,
    head_at_rest,
    interleaved_slice_timing,
    random_motion,
    scan_bold,
)

__all__ = ["write_demo"]

WARNING = (
    "SYNTHETIC: simulated images, no person was scanned. Made to try software; it supports no "
    "conclusion about brains."
)
TASK = "task-rest"
# site: noise of the EPI run, noise of the T1w, order of slices and of voxels
SITES = {
    "north": {"bold_noise": 0.010, "t1w_noise": 0.02, "odd_first": False, "flip": False},
    "south": {"bold_noise": 0.013, "t1w_noise": 0.03, "odd_first": True, "flip": True},
}
MEAN_FD = (0.10, 0.22)  # mm, of participants with little motion
EXCESSIVE_FD = 0.9  # mm, of the participant with much motion


@dataclass(frozen=True)
class Participant:
    """One row of participants.tsv; `defect` is the defect of the scan, if any."""

    participant_id: str
    diagnosis: str
    site: str
    age: int
    sex: str
    defect: str


def write_demo(folder: Path, synthetic: Synthetic) -> None:
    """Write the synthetic data set atomically.

    Parameters
    ----------
    folder : Path
        A new folder, or one that this function wrote, which is then replaced.
    synthetic : Synthetic
        Size and seed; the same values give the same bytes.

    Raises
    ------
    ValueError
        If `folder` exists and contains anything other than a synthetic data set.
    """
    folder = Path(folder)
    _refuse_foreign(folder)
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.absolute().parent))
    try:
        participants = draw_participants(synthetic)
        _write_descriptions(work, synthetic, participants)
        for number, participant in enumerate(participants):
            _write_participant(work, synthetic, participant, number)
        work.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def draw_participants(synthetic: Synthetic) -> list[Participant]:
    """Participants, with balanced groups and sites; the last two have a defect each."""
    rng = np.random.default_rng([synthetic.seed, 0])
    n = synthetic.n_participants
    defects = {n - 2: "excessive motion", n - 1: "truncated file"}
    return [
        Participant(
            participant_id=f"sub-{i + 1:02d}",
            diagnosis=("control", "patient")[i % 2],
            site=list(SITES)[(i // 2) % 2],
            age=int(rng.integers(20, 60)),
            sex=str(rng.choice(["F", "M"])),
            defect=defects.get(i, ""),
        )
        for i in range(n)
    ]


def _refuse_foreign(folder: Path) -> None:
    """Refuse to overwrite a folder with other content."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    description = folder / "dataset_description.json"
    if not (description.is_file() and WARNING in description.read_text(errors="replace")):
        raise ValueError(
            f"{folder} exists and is no synthetic data set of brainmass, so it is left alone; "
            "choose another folder"
        )


def _write_descriptions(folder: Path, synthetic: Synthetic, participants: list) -> None:
    generated_by = [{"Name": "brainmass demo", "Description": WARNING}]
    about = {
        "Name": "Synthetic resting-state fMRI of the brainmass demo (SYNTHETIC)",
        "BIDSVersion": "1.9.0",
        "DatasetType": "raw",
        "License": "CC0",
        "GeneratedBy": generated_by,
    }
    _write_json(folder / "dataset_description.json", about)
    (folder / "README").write_text(
        f"{WARNING}\n\nThe group difference is planted: in controls the default mode and the "
        "dorsal attention network oppose each other, in patients they do not.\nOne participant "
        "moves too much and one file is truncated, on purpose.\n"
    )
    table = pd.DataFrame([vars(p) for p in participants]).drop(columns="defect")
    _write_tsv(folder / "participants.tsv", table)
    _write_json(
        folder / "participants.json",
        {
            "diagnosis": {
                "Description": "Synthetic group",
                "Levels": {"control": "", "patient": ""},
            },
            "site": {"Description": "Synthetic scanner"},
            "age": {"Description": "Random", "Units": "years"},
            "sex": {"Description": "Random"},
        },
    )
    _write_json(
        folder / f"{TASK}_bold.json",
        {"TaskName": "rest", "RepetitionTime": synthetic.t_r, "Instructions": WARNING},
    )
    truth = {
        "Name": "Truth behind the synthetic data set (SYNTHETIC)",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": generated_by,
    }
    _write_json(folder / "derivatives" / "truth" / "dataset_description.json", truth)


def _write_participant(folder: Path, synthetic: Synthetic, who: Participant, number: int) -> None:
    rng = np.random.default_rng([synthetic.seed, 1, number])
    site: dict[str, Any] = SITES[who.site]
    head = random_head(rng)
    t1w_pose, bold_pose = random_pose(rng, 6.0, 8.0), random_pose(rng, 5.0, 6.0)
    name = folder / who.participant_id / "anat" / f"{who.participant_id}_T1w"
    _write_image(name, *scan_t1w(rng, head, t1w_pose, site["t1w_noise"]))

    labels = published_labels()
    duration = synthetic.n_volumes * synthetic.t_r
    signals = parcel_signals(rng, list(labels["network"]), who.diagnosis, duration)
    n_slices = bold_shape(synthetic.voxel_size)[2]
    times = interleaved_slice_timing(n_slices, synthetic.t_r, site["odd_first"])
    mean_fd = EXCESSIVE_FD if who.defect == "excessive motion" else rng.uniform(*MEAN_FD)
    motion = random_motion(rng, synthetic.n_volumes, mean_fd)
    rest = head_at_rest(rng, head, bold_pose, synthetic.voxel_size)
    bold, affine = scan_bold(
        rng, rest, signals, motion, times, synthetic.t_r, site["bold_noise"], site["flip"]
    )
    stem = f"{who.participant_id}_{TASK}"
    name = folder / who.participant_id / "func" / f"{stem}_bold"
    _write_image(name, bold, affine, synthetic.t_r)
    _write_json(name.with_suffix(".json"), {"SliceTiming": [round(t, 6) for t in times]})
    if who.defect == "truncated file":
        file = name.with_suffix(".nii.gz")
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    truth = folder / "derivatives" / "truth" / who.participant_id / "func" / stem
    middle = np.arange(synthetic.n_volumes) * synthetic.t_r + times.mean()
    clean = pd.DataFrame(at_times(signals, middle), columns=labels["name"])
    _write_tsv(truth.with_name(f"{stem}_timeseries.tsv"), clean)
    moved = pd.DataFrame(motion, columns=[f"{k}_{a}" for k in ("trans", "rot") for a in "xyz"])
    moved["framewise_displacement"] = [np.nan, *framewise_displacement(motion)]
    _write_tsv(truth.with_name(f"{stem}_motion.tsv"), moved)
    t1w_to_boldref = np.linalg.inv(bold_pose) @ t1w_pose
    _write_json(truth.with_name(f"{stem}_xfm.json"), {"t1w_to_boldref": t1w_to_boldref.tolist()})


def _write_image(stem: Path, data: np.ndarray, affine: np.ndarray, t_r: float = 0.0) -> None:
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    if t_r:
        image.header.set_zooms((*image.header.get_zooms()[:3], t_r))
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    stem.parent.mkdir(parents=True, exist_ok=True)
    # no time stamp inside, so that the same data set has the same bytes
    stem.with_suffix(".nii.gz").write_bytes(gzip.compress(image.to_bytes(), 5, mtime=0))


def _write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def _write_tsv(path: Path, table: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.6g")
