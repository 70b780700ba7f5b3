"""Readers of images, BIDS folders, configurations, Parquet tables and kept scans."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fuzz_binary
import fuzz_plain as plain
import fuzz_text
import nibabel as nib
import numpy as np
import pyarrow as pa
import yaml
from fuzz_judge import Files, Reader, Seed

from brainmass_core.atlas import AtlasError, atlas_from_image
from brainmass_core.batch import kept_entry
from brainmass_core.checksums import sealed
from brainmass_core.config import ConfigError, load_config, parse_config
from brainmass_core.manifest import ScanFailed
from brainmass_core.predict.inputs import read_fc_table
from brainmass_core.predict.misfit import PredictError
from brainmass_core.preprocess.functional import load_bold
from brainmass_core.scans.bids import list_bids
from brainmass_core.scans.image import read_header
from brainmass_core.scans.table import ScansError, Unmatched, read_unmatched, write_scans
from brainmass_core.tables import SCANS, TableError, from_rows, read_table, write_table

SHAPE = (3, 4, 2, 6)
EXAMPLE = Path(__file__).parents[2] / "config.yaml"


def _image(
    data: np.ndarray, t_r: float = 2.0, slope: float | None = None, kind: Any = nib.Nifti1Image
) -> bytes:
    image = kind(data, np.diag([3.0, 3.0, 4.0, 1.0]))
    if data.ndim > 3:
        image.header["pixdim"][4] = t_r
    image.header.set_xyzt_units("mm", "sec")
    if slope:
        image.header.set_slope_inter(slope, 1.5)
    with TemporaryDirectory() as name:
        nib.save(image, Path(name) / "x.nii")
        return (Path(name) / "x.nii").read_bytes()


def _images() -> list[Seed]:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 1000, SHAPE).astype(np.int16)
    whole = _image(data)
    return [
        Seed({"a_bold.nii": whole}, ("a_bold.nii",)),
        Seed({"a_bold.nii.gz": gzip.compress(whole, mtime=0)}, ("a_bold.nii.gz",)),
        Seed(
            {"f_bold.nii": _image(rng.standard_normal(SHAPE).astype(np.float32))}, ("f_bold.nii",)
        ),
        Seed({"s_bold.nii": _image(data, slope=0.5)}, ("s_bold.nii",)),
    ]


def _bold(folder: Path, name: str) -> Any:
    header = read_header(folder / name)
    return header, load_bold(folder / name)


def _check_bold(folder: Path, name: str, value: Any) -> str | None:
    header, bold = value
    shape, numbers = plain.image(folder / name)
    while len(shape) > 4 and 1 in shape[3:]:
        at = len(shape) - 1 - shape[::-1].index(1)
        shape = (*shape[:at], *shape[at + 1 :])
    found = bold.data.shape
    if sorted(found[:3]) != sorted(shape[:3]) or found[3:] != shape[3:]:
        return f"shape {found} of {header.shape}, the file has {shape}"
    volumes = numbers.reshape(-1, shape[3], order="F")
    mine = bold.data.reshape(-1, shape[3])
    same = np.allclose(
        np.sort(mine, 0), np.sort(volumes.astype(np.float32), 0), rtol=1e-5, atol=1e-30
    )
    return None if same else "other numbers"


def _atlases() -> list[Seed]:
    labels = np.zeros((4, 4, 4), np.int16)
    labels[1:3, 1:3, 1:3] = np.arange(1, 9).reshape(2, 2, 2)
    return [
        Seed({"atlas.nii": _image(labels)}, ("atlas.nii",)),
        Seed(
            {"atlas.nii.gz": gzip.compress(_image(labels.astype(np.float32)), mtime=0)},
            ("atlas.nii.gz",),
        ),
        Seed({"atlas.nii": _image(labels.astype(np.uint8)[..., None])}, ("atlas.nii",)),
    ]


def _check_atlas(folder: Path, name: str, atlas: Any) -> str | None:
    _, numbers = plain.image(folder / name)
    expected = sorted(set(numbers.tolist()) - {0})
    if atlas.labels["index"].tolist() != expected:
        return f"labels {atlas.labels['index'].tolist()[:9]}, the file has {expected[:9]}"
    numbers_there = atlas.labels[["x", "y", "z"]].to_numpy(float)
    return None if np.isfinite(numbers_there).all() else "a parcel lies nowhere"


def _bids() -> list[Seed]:
    bold, t1w = _image(np.ones(SHAPE, np.int16)), _image(np.ones(SHAPE[:3], np.int16))
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
    raw = {"kind": "bids", "role": "internal", "path": str(folder)}
    dataset = parse_config({"datasets": {"x": raw}}).datasets["x"]
    (row,) = list_bids("x", dataset)
    if row["excluded_reason"]:
        raise ScansError(row["excluded_reason"])
    from_rows([{k: v for k, v in row.items() if k in SCANS.names}], SCANS)
    return row


def _check_list(folder: Path, _: str, row: dict) -> str | None:
    (path,) = folder.rglob("sub-01_task-rest_bold.json")
    about = plain.metadata(folder / "task-rest_bold.json") | plain.metadata(path)
    if (
        "RepetitionTime" in about
        and about["RepetitionTime"] is not None
        and row["t_r"] != about["RepetitionTime"]
    ):
        return f"t_r {row['t_r']}, the sidecar has {about['RepetitionTime']!r}"
    if not 0.1 <= row["t_r"] <= 20:
        return f"t_r {row['t_r']}"
    times = about.get("SliceTiming")
    if times and sorted(row["slice_timing"] or []) != sorted(times):
        return f"slice timing {row['slice_timing']}, the sidecar has {times!r}"
    return None


RAW = {
    "results": "results",
    "datasets": {
        "a": {
            "kind": "bids",
            "role": "internal",
            "path": "a",
            "t_r": 2.0,
            "missing_values": [-9999],
        },
        "b": {"kind": "timeseries", "role": "external", "path": "b", "task": "rest", "t_r": 2.0},
    },
    "atlas": {"name": "Schaefer2018-100-7networks"},
    "preprocess": {"max_mean_fd": 0.5, "n_dummy_volumes": 4, "slice_timing": False},
    "timeseries": {"low_hz": 0.01, "high_hz": 0.1, "global_signal": True},
    "tasks": {
        "dx": {
            "kind": "classification",
            "label": "dx",
            "classes": {"p": ["1"], "c": ["2"]},
            "datasets": ["a"],
        }
    },
}


def _configs() -> list[Seed]:
    for extra in (RAW,):
        parse_config(extra, check_paths=False)
    return [
        Seed({"config.yaml": EXAMPLE.read_bytes()}, ("config.yaml",)),
        Seed({"config.yaml": yaml.safe_dump(RAW).encode()}, ("config.yaml",)),
        Seed({"config.json": json.dumps(RAW, indent="\t").encode()}, ("config.json",)),
    ]


def _config(folder: Path, name: str) -> Any:
    config = load_config(folder / name, check_paths=False)
    from brainmass_core.config import dump_config

    text = dump_config(config)
    if dump_config(parse_config(yaml.safe_load(text), check_paths=False)) != text:
        raise AssertionError("written and read again, the configuration is another")
    return config


def _check_config(folder: Path, name: str, config: Any) -> str | None:
    text = (folder / name).read_text(encoding="utf-8")
    raw = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
    return _lost(raw or {}, config.model_dump(mode="json"), "")


def _lost(raw: Any, found: Any, where: str) -> str | None:
    """A setting that the configuration does not have as it is written."""
    if isinstance(raw, dict) and isinstance(found, dict):
        for key, value in raw.items():
            if value is None or (where == "" and key == "presets"):
                continue
            if str(key) not in found:
                return f"{where}.{key} is lost"
            if lost := _lost(value, found[str(key)], f"{where}.{key}"):
                return lost
        return None
    if isinstance(raw, list) and isinstance(found, list) and len(raw) == len(found):
        return next(
            (
                x
                for i, (a, b) in enumerate(zip(raw, found, strict=True))
                if (x := _lost(a, b, f"{where}.{i}"))
            ),
            None,
        )
    if raw == found and type(raw) is type(found):
        return None
    if (
        isinstance(raw, int | float | str)
        and isinstance(found, int | float | str)
        and _plainly(raw) == _plainly(found)
    ):
        return None
    return f"{where} is {found!r}, written is {raw!r}"[:300]


def _plainly(value: Any) -> Any:
    """A number as such, however it is written; a path without a slash at its end."""
    if isinstance(value, bool):
        return str(value).lower()
    try:
        return float(value)
    except ValueError:
        return str(Path(value)) if value else value


def _parquet() -> list[Seed]:
    rng = np.random.default_rng(0)
    fc = pa.array(
        [list(map(float, v)) for v in rng.standard_normal((5, 6)).astype("f4")],
        pa.list_(pa.float32(), 6),
    )
    table = pa.table(
        {
            "scan_id": [f"s{i}" for i in range(5)],
            "estimator": ["pearson"] * 5,
            "fc": fc,
            "v": rng.standard_normal(5),
            "w": rng.standard_normal(5),
        }
    )
    table = table.replace_schema_metadata({"n_rois": "4"})
    with TemporaryDirectory() as name:
        path = Path(name) / "x.parquet"
        write_table(path, table, "connectivity", "abc", row_group_size=3)
        connectivity = path.read_bytes()
        rows = [
            {
                "scan_id": f"x_{i}",
                "dataset": "x",
                "participant_id": f"sub-{i}",
                "bold_path": "b",
                "kind": "bids",
                "t_r": 2.0,
            }
            for i in range(3)
        ]
        import pandas as pd

        frame = (
            pd.DataFrame(rows)
            .reindex(columns=SCANS.names)
            .astype(object)
            .assign(pheno_dx=["a", None, "b"])
        )
        write_scans(path, frame, Unmatched("p.tsv", ["sub-9"], []), "abc")
        scans = path.read_bytes()
    return [
        Seed({"c.parquet": connectivity}, ("c.parquet",)),
        Seed({"s.parquet": scans}, ("s.parquet",)),
    ]


def _read_parquet(folder: Path, name: str) -> Any:
    from fuzz_models import contract

    table = "connectivity" if name == "c.parquet" else "scans"
    found = read_table(folder / name, table)
    if table == "scans":
        return found, read_unmatched(folder / name)
    labels = [{"index": i, "name": n} for i, n in enumerate("abcd", 1)]
    fed = read_fc_table(folder / name, contract(labels), True)
    seen = {name: values.tolist() for name, values in fed.seen.items()}
    return found, (seen, [(r["scan_id"], r["status"]) for r in fed.rows])


def _same_table(a: Any, b: Any) -> bool:
    return a[0].equals(b[0]) and a[0].schema.metadata == b[0].schema.metadata and a[1] == b[1]


def _kept() -> list[Seed]:
    from brainmass_core.manifest import Entry

    table = pa.table({"scan_id": ["a"], "v": [1.5]})
    entry = Entry("timeseries", "x", 0, "a", "ok", seconds=1.5, measured={"mean_fd": 0.2}).__dict__
    with TemporaryDirectory() as name:
        write_table(Path(name) / "a.parquet", table, "t")
        rows = (Path(name) / "a.parquet").read_bytes()
    record = sealed({"entry": entry, "rows": hashlib.sha256(rows).hexdigest()})
    files = {"a.json": json.dumps(record).encode(), "a.parquet": rows}
    return [Seed(files, tuple(files))]


def seal_json(name: str, **sums: str) -> Any:
    """Writes the checksums in a JSON file anew: of files, by their keys, and of its own content."""

    def seal(files: Files) -> None:
        try:
            record = json.loads(files[name])
            for key, other in sums.items():
                place = record
                *parts, last = key.split("/")
                for part in parts:
                    place = place[part]
                place[last] = hashlib.sha256(files[other]).hexdigest()
            files[name] = json.dumps(sealed(record)).encode()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return

    return seal


READERS = (
    Reader("nifti", _images, _bold, (ScanFailed,), {".nii": [fuzz_binary.images]}, _check_bold),
    Reader(
        "atlas",
        _atlases,
        lambda f, n: atlas_from_image(f / n, "a", "MNI152"),
        (AtlasError,),
        {".nii": [fuzz_binary.images]},
        _check_atlas,
    ),
    Reader(
        "bids",
        _bids,
        _list,
        (ScansError,),
        {".json": [fuzz_text.json_value], ".nii": [fuzz_binary.nifti]},
        _check_list,
    ),
    Reader(
        "config",
        _configs,
        _config,
        (ConfigError,),
        {".yaml": [fuzz_text.yaml_text], ".json": [fuzz_text.json_value]},
        _check_config,
    ),
    Reader(
        "parquet",
        _parquet,
        _read_parquet,
        (TableError, PredictError),
        {".parquet": [fuzz_binary.parquet]},
        same=_same_table,
        covered=True,
    ),
    Reader(
        "kept",
        _kept,
        lambda f, n: kept_entry(f / "a.json"),
        (),
        {".json": [fuzz_text.json_value], ".parquet": [fuzz_binary.parquet]},
        same=lambda a, b: a == b,
        sealed=seal_json("a.json", rows="a.parquet"),
        covered=True,
    ),
)
