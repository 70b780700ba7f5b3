"""Readers of data sets: raw BIDS, derivatives, ready series."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import fuzz_binary
import fuzz_nifti
import fuzz_plain as plain
import fuzz_text
import numpy as np
from fuzz_images import SHAPE, image
from fuzz_judge import Reader, Seed
from fuzz_series import npz

from brainmass_core.config import parse_config
from brainmass_core.scans.bids import list_bids
from brainmass_core.scans.derivatives import list_derivatives
from brainmass_core.scans.table import ScansError
from brainmass_core.scans.timeseries import list_timeseries
from brainmass_core.tables import SCANS, from_rows


def _bids() -> list[Seed]:
    bold, t1w = image(np.ones(SHAPE, np.int16)), image(np.ones(SHAPE[:3], np.int16))
    about = {"RepetitionTime": 2.0, "SliceTiming": [0.0, 1.0], "PhaseEncodingDirection": "j-"}
    about |= {"EffectiveEchoSpacing": 0.0005, "EchoTime": 0.03, "SliceEncodingDirection": "k"}
    files = {
        "dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.8.0", "DatasetType": "raw"}',
        "task-rest_bold.json": b'{"EchoTime": 0.03, "ReconMatrixPE": 64}',
        "sub-01/anat/sub-01_T1w.nii": t1w,
        "sub-01/func/sub-01_task-rest_bold.nii": bold,
        "sub-01/func/sub-01_task-rest_bold.json": json.dumps(about).encode(),
    }
    return [Seed(files, tuple(files))]


def _list(folder: Path, _: str) -> Any:
    return _kept(list_bids("x", _dataset(folder, "bids")))[0]


def _dataset(folder: Path, kind: str, **over: Any) -> Any:
    raw = {"kind": kind, "role": "internal", "path": str(folder), **over}
    return parse_config({"datasets": {"x": raw}}).datasets["x"]


def _kept(rows: list[dict]) -> list[dict]:
    """Rows that are valid for the table of scans; an omitted row counts as a refusal."""
    for row in rows:
        if row.get("excluded_reason"):
            raise ScansError(row["excluded_reason"])
    from_rows([{k: v for k, v in row.items() if k in SCANS.names} for row in rows], SCANS)
    return rows


def _check_list(folder: Path, _: str, row: dict) -> str | None:
    (path,) = folder.rglob("sub-01_task-rest_bold.json")
    about = plain.metadata(folder / "task-rest_bold.json") | plain.metadata(path)
    if other := _other_t_r(about, row["t_r"]):
        return other
    times = about.get("SliceTiming")
    if times and sorted(row["slice_timing"] or []) != sorted(times):
        return f"slice timing {row['slice_timing']}, the sidecar has {times!r}"
    return None


def _other_t_r(about: dict, t_r: float) -> str | None:
    said = about.get("RepetitionTime")
    if said is not None and t_r != said:
        return f"t_r {t_r}, the sidecar has {said!r}"
    return None if 0.1 <= t_r <= 20 else f"t_r {t_r}"


STEM = "func/sub-01_task-rest_space-MNI152NLin6Asym_"


def _derivatives() -> list[Seed]:
    about = {"RepetitionTime": 2.0, "SkullStripped": True}
    fixed = {
        "dataset_description.json": b'{"Name": "x", "DatasetType": "derivative"}',
        "sub-01/func/sub-01_task-rest_desc-confounds_timeseries.tsv": b"csf\n" + b"1.5\n" * 6,
    }
    changed = {
        f"sub-01/{STEM}desc-preproc_bold.nii": image(np.ones(SHAPE, np.int16)),
        f"sub-01/{STEM}desc-preproc_bold.json": json.dumps(about).encode(),
        f"sub-01/{STEM}desc-brain_mask.nii": image(np.ones(SHAPE[:3], np.uint8)),
    }
    return [Seed(fixed | changed, tuple(changed)[:2])]


def _check_derivatives(folder: Path, _: str, row: dict) -> str | None:
    bold = folder / f"sub-01/{STEM}desc-preproc_bold.nii"
    _, shape = plain.shape_of(bold.read_bytes())
    while len(shape) > 4 and 1 in shape[3:]:
        at = shape.index(1, 3)
        shape = (*shape[:at], *shape[at + 1 :])
    if shape[3:] != (row["n_volumes"],):
        return f"{row['n_volumes']} volumes, the file has shape {shape}"
    return _other_t_r(plain.metadata(bold.with_suffix(".json")), row["t_r"])


def _series_folder() -> list[Seed]:
    rng = np.random.default_rng(0)
    one, two = (rng.standard_normal((n, 4)) for n in (21, 22))
    rows = [[f"{v:.6f}" for v in row] for row in one]
    text = "\n".join(map("\t".join, rows))
    files = {"all.npz": npz(**{"sub-01": one, "sub-02": two}), "sub-03_x.tsv": text.encode()}
    return [Seed(files, tuple(files))]


def _list_series(folder: Path, _: str) -> Any:
    dataset = _dataset(folder, "timeseries", task="rest", t_r=2.0)
    return _kept(list_timeseries("x", dataset, None))


def _check_series(folder: Path, _: str, rows: list[dict]) -> str | None:
    lengths = {}
    with zipfile.ZipFile(folder / "all.npz") as archive:
        for name in [n for n in archive.namelist() if n.endswith(".npy")]:
            with archive.open(name) as file:
                lengths[name[:-4]] = len(np.lib.format.read_array(file))
    found = {r["bold_key"]: r["n_volumes"] for r in rows if r["bold_path"].endswith("all.npz")}
    if len(lengths) == 1:  # a single array has the name of its file
        found = dict(zip(lengths, found.values(), strict=True))
    if found != lengths or len(rows) != len(lengths) + 1:
        return f"{found}, the file has {lengths}"
    return None


READERS = (
    Reader(
        "bids",
        _bids,
        _list,
        (ScansError,),
        {".json": [fuzz_text.json_value], ".nii": [fuzz_nifti.nifti]},
        _check_list,
    ),
    Reader(
        "derivatives",
        _derivatives,
        lambda f, _: _kept(list_derivatives("x", _dataset(f, "derivatives")))[0],
        (ScansError,),
        {".json": [fuzz_text.json_value], ".nii": [fuzz_nifti.nifti]},
        _check_derivatives,
    ),
    Reader(
        "series_folder",
        _series_folder,
        _list_series,
        (ScansError,),
        {".npz": [fuzz_binary.members(fuzz_binary.npy)], ".tsv": [fuzz_text.table]},
        _check_series,
    ),
)
