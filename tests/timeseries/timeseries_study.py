"""Studies of one small data set, for the tests of the stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from brainmass_core import timeseries
from brainmass_core.config import Config, parse_config
from brainmass_core.pipeline.manifest import Entry, read_manifest
from brainmass_core.pipeline.paths import Paths
from brainmass_core.tables import SCANS, from_rows, read_table, write_table
from brainmass_core.timeseries.design import MOTION

N, N_ROIS, T_R = 60, 6, 2.0


def study(folder: Path, kind: str, rows: list[dict], **sections: Any) -> Config:
    """A study of one data set whose scans table holds these rows."""
    dataset = {"kind": kind, "role": "internal", "path": str(folder)}
    dataset |= {"t_r": T_R} if kind == "timeseries" else {}
    dataset |= sections.pop("dataset", {})
    config = parse_config(
        {
            "results": str(folder / "results"),
            "max_failed_fraction": 1.0,
            "datasets": {"lab": dataset},
            "atlas": {"name": "six", "n_rois": N_ROIS},
            **sections,
        }
    )
    full = [{"dataset": "lab", "kind": kind, "batch": 0, "t_r": T_R, **row} for row in rows]
    write_table(Paths(config.results).scans("lab"), from_rows(full, SCANS), "scans")
    return config


def outcome(config: Config, stage: Any = timeseries) -> tuple[dict[str, Entry], dict[str, dict]]:
    """Run a stage; its manifest and its rows by scan."""
    stage.run(config, "lab", 0, 1)
    name = stage.__name__.split(".")[1]
    paths = Paths(config.results)
    entries = read_manifest(paths.manifest(name, "lab", 0))
    rows = read_table(paths.batch(name, "lab", 0), name).to_pylist()
    return {e.scan_id: e for e in entries}, {r["scan_id"]: r for r in rows}


def six(folder: Path) -> dict[str, str]:
    """The atlas that `preprocessed_run` wrote."""
    return {"name": "six", "path": str(folder / "six.nii.gz"), "space": "MNI152NLin6Asym"}


def preprocessed_run(folder: Path, spikes: list[int] | None = None) -> list[dict]:
    """An atlas, and a run in its space with mask and confounds; its row of the scans table.

    `spikes` are volumes with a framewise displacement of 1 mm, the others have less than 0.3.
    """
    rng = np.random.default_rng(1)
    affine = np.diag([3.0, 3, 3, 1])
    labels = np.zeros((8, 8, 8), dtype=np.int16)
    labels[1:7, 1:7, 1:7] = np.kron(np.arange(1, 9).reshape(2, 2, 2), np.ones((3, 3, 3)))
    labels[labels > N_ROIS] = 0
    nib.save(nib.Nifti1Image(labels, affine), folder / "six.nii.gz")
    confounds = pd.DataFrame(rng.normal(0, 0.1, (N, 6)), columns=MOTION)
    for name in [*(f"a_comp_cor_{i:02d}" for i in range(5)), "csf"]:
        confounds[name] = rng.standard_normal(N)
    confounds["framewise_displacement"] = [np.nan, *rng.uniform(0.1, 0.3, N - 1)]
    confounds.loc[spikes or [], "framewise_displacement"] = 1.0
    confounds.to_csv(folder / "confounds.tsv", sep="\t", na_rep="n/a", index=False)
    bold = rng.normal(1000, 20, (8, 8, 8, N)).astype(np.float32)
    nib.save(nib.Nifti1Image(bold, affine), folder / "bold.nii.gz")
    mask = np.ones((8, 8, 8), dtype=np.uint8)
    nib.save(nib.Nifti1Image(mask, affine), folder / "mask.nii.gz")
    row = {
        "scan_id": "lab_sub-01_task-rest",
        "bold_path": str(folder / "bold.nii.gz"),
        "mask_path": str(folder / "mask.nii.gz"),
        "space": "MNI152NLin6Asym",
        "confounds_path": str(folder / "confounds.tsv"),
    }
    return [row]
