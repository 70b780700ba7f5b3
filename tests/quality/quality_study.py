"""A small raw BIDS study after the stages before `quality`, with every kind of outcome."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel.affines import apply_affine

from brainmass_core.config import Config, parse_config
from brainmass_core.connectivity import pearson, vectorise
from brainmass_core.pipeline.manifest import Entry, write_manifest
from brainmass_core.pipeline.paths import Paths
from brainmass_core.preprocess.functional.nuisance import temporal_snr
from brainmass_core.preprocess.grids import Volume, save_image
from brainmass_core.preprocess.quality_control.carpet import sample_carpet, save_carpet
from brainmass_core.preprocess.transform_files import save_affine, save_motion, save_normalisation
from brainmass_core.preprocess.transforms import Normalisation
from brainmass_core.scans.table import Unmatched, write_scans
from brainmass_core.tables import (
    PREPROCESS,
    SCANS,
    connectivity_schema,
    from_rows,
    timeseries_schema,
    write_table,
)

N_ROIS, N_VOLUMES = 12, 60
OK, MOVED, BROKEN, LISTED = "raw_ok", "raw_moved", "raw_broken", "raw_listed"


def write_raw_study(folder: Path) -> Config:
    """Four scans: one with everything, one that moves, one damaged, one refused when listed."""
    config = _config(folder)
    paths = Paths(config.results)
    rows = [_scan(folder, s, i) for i, s in enumerate((OK, MOVED, BROKEN, LISTED))]
    rows[3]["excluded_reason"] = "/raw/listed: sidecar and header disagree on t_r; mend one"
    scans = pd.DataFrame(rows).reindex(columns=[*SCANS.names, "pheno_dx"]).astype(object)
    scans = scans.where(scans.notna(), None)
    write_scans(paths.scans("raw"), scans, Unmatched("participants.tsv", [], []), "hash")
    outputs = _write_derivatives(paths)
    _write_preprocess(paths, outputs)
    _write_series(paths)
    return config


def _config(folder: Path) -> Config:
    folder.mkdir(parents=True, exist_ok=True)
    labels = folder / "labels.tsv"
    angle = np.linspace(0, 2 * np.pi, N_ROIS, endpoint=False)
    pd.DataFrame(
        {
            "index": np.arange(1, N_ROIS + 1),
            "name": [f"roi-{i}" for i in range(N_ROIS)],
            "network": ["Vis", "Default", "SomMot"] * (N_ROIS // 3),
            "x": 50 * np.cos(angle),
            "y": 60 * np.sin(angle),
            "z": np.linspace(-20, 50, N_ROIS),
        }
    ).to_csv(labels, sep="\t", index=False)
    data = {"kind": "bids", "role": "internal", "path": str(folder)}
    raw = {
        "results": str(folder / "results"),
        "datasets": {"raw": data},
        "atlas": {
            "name": "rings",
            "labels": str(labels),
            "path": str(_label_image(folder)),
            "space": "MNI152NLin2009aSym",
        },
        "preprocess": {"resolution": 4},
        "timeseries": {"n_compcor": 2, "censor": {"method": "interpolate", "fd_threshold": 0.3}},
    }
    return parse_config(raw)


def _label_image(folder: Path) -> Path:
    """Any image with the labels; only their names and networks are used here."""
    path = folder / "atlas.nii.gz"
    data = np.arange(27, dtype=np.int16).reshape(3, 3, 3) % (N_ROIS + 1)
    save_image(path, Volume(data, np.diag([40.0, 40, 40, 1])))
    return path


def _scan(folder: Path, scan_id: str, i: int) -> dict:
    return {
        "scan_id": scan_id,
        "dataset": "raw",
        "participant_id": f"sub-{i}",
        "task": "rest",
        "kind": "bids",
        "bold_path": str(folder / f"{scan_id}_bold.nii.gz"),
        "t1w_path": str(folder / f"{scan_id}_T1w.nii.gz"),
        "t_r": 2.0,
        "n_volumes": N_VOLUMES,
        "role": "internal",
        "split": "train",
        "batch": 0,
        "pheno_dx": "ab"[i % 2],
    }


def _ball(shape: tuple[int, int, int], affine: np.ndarray, radius: float) -> np.ndarray:
    points = apply_affine(affine, np.indices(shape).reshape(3, -1).T)
    return (np.linalg.norm(points, axis=1) < radius).reshape(shape)


def _write_derivatives(paths: Paths) -> dict[str, str]:
    """A head of three shells, on its T1w grid and on a flipped and permuted BOLD grid."""
    folder = paths.derivatives("raw") / "sub-0"
    fine = np.diag([4.0, 4, 4, 1])
    fine[:3, 3] = -90
    shape = (46, 46, 46)
    tissue = np.zeros(shape, np.uint8)
    for label, radius in ((1, 70.0), (2, 50.0), (3, 15.0)):
        tissue[_ball(shape, fine, radius)] = label
    coarse = np.array([[0, -6.0, 0, 90], [0, 0, 6, -90], [6, 0, 0, -90], [0, 0, 0, 1]])
    mask = _ball((30, 30, 30), coarse, 70.0)
    rng = np.random.default_rng(0)
    series = 500 + rng.standard_normal((N_VOLUMES, int(mask.sum()))) * 5
    distance = np.linalg.norm(apply_affine(coarse, np.argwhere(mask)), axis=1)
    labels = np.digitize(distance, [15.0, 50.0])
    files = {
        name: folder / f"{name}{end}"
        for name, end in {
            **dict.fromkeys(("t1w_preproc", "tissue", "boldref", "bold_mask", "tsnr"), ".nii.gz"),
            **{"normalisation": ".npz", "coregistration": ".txt", "motion": ".npy"},
            **{"confounds": ".tsv", "carpet": ".npz"},
        }.items()
    }
    shade = np.array([0, 60, 100, 20], np.int16)[tissue]
    save_image(files["t1w_preproc"], Volume(shade, fine))
    save_image(files["tissue"], Volume(tissue, fine))
    save_image(files["boldref"], Volume((500 * mask).astype(np.int16), coarse))
    save_image(files["bold_mask"], Volume(mask.astype(np.uint8), coarse))
    ratio = np.zeros(mask.shape, np.float32)
    ratio[mask] = temporal_snr(series)[0]
    save_image(files["tsnr"], Volume(ratio, coarse))
    save_carpet(files["carpet"], sample_carpet(series, np.array([3, 2, 1])[labels]))
    still = np.zeros((4, 4, 4, 3), np.float32)
    save_normalisation(files["normalisation"], Normalisation(np.eye(4), still, np.eye(4)))
    save_affine(files["coregistration"], np.eye(4))
    save_motion(files["motion"], np.repeat(np.eye(4)[None], N_VOLUMES, axis=0))
    confounds().to_csv(files["confounds"], sep="\t", index=False, na_rep="n/a")
    return {k: str(f.relative_to(paths.results)) for k, f in files.items()}


def confounds() -> pd.DataFrame:
    """Confounds of a run; volumes 20 and 21 move too much."""
    rng = np.random.default_rng(1)
    columns = {
        f"{k}_{a}": 0.01 * rng.standard_normal(N_VOLUMES) for k in ("trans", "rot") for a in "xyz"
    }
    fd = np.abs(0.1 + 0.02 * rng.standard_normal(N_VOLUMES))
    fd[0], fd[20:22] = np.nan, 0.7
    columns |= {"framewise_displacement": fd, "rmsd": 0.7 * fd, "std_dvars": 1 + fd}
    for name in ("csf", "white_matter", "global_signal"):
        columns[name] = 500 + rng.standard_normal(N_VOLUMES)
    columns |= {f"a_comp_cor_{i:02d}": rng.standard_normal(N_VOLUMES) for i in range(3)}
    return pd.DataFrame(columns)


def _write_preprocess(paths: Paths, outputs: dict[str, str]) -> None:
    sums = {
        k: hashlib.sha256((paths.results / v).read_bytes()).hexdigest() for k, v in outputs.items()
    }
    rows = [
        {
            **{"scan_id": OK, "status": "ok", "outputs": list(outputs.items())},
            **{"sha256": list(sums.items()), "mean_fd": 0.12, "max_fd": 0.7, "mask_dice": 0.9},
            **{"n_volumes": N_VOLUMES, "n_volumes_censored": 2, "tsnr": 80.0, "seconds": 3.3},
            **{"slice_timing": "corrected", "engines": [("motion", "embedded")], "t_r": 2.0},
        },
        {"scan_id": MOVED, "status": "excluded", "reason": "moved <b>a lot</b>", "mean_fd": 0.9},
        {"scan_id": BROKEN, "status": "failed", "reason": "truncated"},
    ]
    write_table(paths.batch("preprocess", "raw", 0), from_rows(rows, PREPROCESS), "preprocess")
    entries = [
        Entry("preprocess", "raw", 0, OK, "ok"),
        Entry("preprocess", "raw", 0, MOVED, "excluded", "moved <b>a lot</b>", "motion"),
        Entry("preprocess", "raw", 0, BROKEN, "failed", "truncated", "load", "copy it again"),
    ]
    write_manifest(paths.manifest("preprocess", "raw", 0), entries, "hash")


def _write_series(paths: Paths) -> None:
    rng = np.random.default_rng(2)
    bold = rng.standard_normal((N_VOLUMES - 2, N_ROIS)).astype(np.float32)
    row = {
        **{"scan_id": OK, "status": "ok", "atlas": "rings", "denoise": "cpac-default"},
        **{"order": "regress_then_filter", "filter": "ideal", "n_censored": 2, "t_r": 2.0},
        **{"n_timepoints": len(bold), "residual_dof": 21.5, "n_rois": N_ROIS, "n_empty_rois": 0},
        **{"coverage": np.linspace(0.4, 1, N_ROIS).tolist(), "bold": bold.tolist()},
    }
    table = from_rows([row], timeseries_schema(N_ROIS))
    write_table(paths.batch("timeseries", "raw", 0), table, "timeseries")
    fc = {"scan_id": OK, "estimator": "pearson", "n_timepoints": len(bold)}
    fc["fc"] = vectorise(pearson(bold)).astype(np.float32).tolist()
    table = from_rows([fc], connectivity_schema(N_ROIS))
    write_table(paths.batch("connectivity", "raw", 0), table, "connectivity")
    for stage in ("timeseries", "connectivity"):
        write_manifest(paths.manifest(stage, "raw", 0), [Entry(stage, "raw", 0, OK, "ok")], "hash")
