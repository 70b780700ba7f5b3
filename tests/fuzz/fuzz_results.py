"""Readers of configurations and of results of the stages: Parquet tables, kept scans."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fuzz_binary
import fuzz_text
import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from fuzz_contract import contract
from fuzz_judge import Files, Reader, Seed

from brainmass_core.checksums import ChecksumError, sealed
from brainmass_core.config import ConfigError, dump_config, load_config, parse_config
from brainmass_core.pipeline.journal import Journal, from_bytes, to_bytes
from brainmass_core.pipeline.kept import kept_entry
from brainmass_core.pipeline.manifest import Entry
from brainmass_core.predict.compatibility import PredictError
from brainmass_core.predict.inputs import read_fc_table
from brainmass_core.scans.table import Unmatched, read_unmatched, write_scans
from brainmass_core.tables import SCANS, TableError, read_table, write_table

EXAMPLE = Path(__file__).parents[2] / "config.yaml"
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
    text = dump_config(config)
    if dump_config(parse_config(yaml.safe_load(text), check_paths=False)) != text:
        raise AssertionError("written and read again, the configuration is another")
    return config


def _check_config(folder: Path, name: str, config: Any) -> str | None:
    text = (folder / name).read_text(encoding="utf-8")
    raw = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
    return _lost(raw or {}, config.model_dump(mode="json"), "")


def _lost(raw: Any, found: Any, where: str) -> str | None:
    """A setting whose value differs from that in the file."""
    pairs: list[tuple[Any, Any, Any]] = []
    if isinstance(raw, dict) and isinstance(found, dict):
        wanted = {k: v for k, v in raw.items() if v is not None and (where or k != "presets")}
        pairs = [(v, found.get(str(k), "nothing"), k) for k, v in wanted.items()]
    elif isinstance(raw, list) and isinstance(found, list) and len(raw) == len(found):
        pairs = [(a, b, i) for i, (a, b) in enumerate(zip(raw, found, strict=True))]
    elif where.startswith(".tasks.") and isinstance(found, list) and len(found) == 1:
        # one value of a class in place of a list of one
        pairs = [(raw, found[0], 0)]
    elif _plainly(raw, found) != _plainly(found, found):
        return f"{where} is {found!r}, written is {raw!r}"[:300]
    return next((lost for a, b, k in pairs if (lost := _lost(a, b, f"{where}.{k}"))), None)


def _plainly(value: Any, found: Any) -> Any:
    """A number independent of its notation; a path without a trailing slash."""
    if isinstance(found, bool):
        return value if isinstance(value, bool) else f"not a switch: {value!r}"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return repr(value)
    try:
        number = float(value)
        return "nan" if math.isnan(number) else number
    except (ValueError, OverflowError):
        return str(Path(str(value))) if value else value


def _parquet() -> list[Seed]:
    with TemporaryDirectory() as name:
        path = Path(name) / "x.parquet"
        write_table(path, _connectivity(), "connectivity", "abc", row_group_size=3)
        connectivity = path.read_bytes()
        write_scans(path, _scans(), Unmatched("p.tsv", ["sub-9"], []), "abc")
        scans = path.read_bytes()
    return [
        Seed({"c.parquet": connectivity}, ("c.parquet",)),
        Seed({"s.parquet": scans}, ("s.parquet",)),
    ]


def _connectivity() -> pa.Table:
    rng = np.random.default_rng(0)
    fc = [v.tolist() for v in rng.standard_normal((5, 6)).astype("f4")]
    columns = {
        "scan_id": [f"s{i}" for i in range(5)],
        "estimator": ["pearson"] * 5,
        "fc": pa.array(fc, pa.list_(pa.float32(), 6)),
        "v": rng.standard_normal(5),
        "w": rng.standard_normal(5),
    }
    return pa.table(columns).replace_schema_metadata({"n_rois": "4"})


def _scans() -> pd.DataFrame:
    same = {"dataset": "x", "bold_path": "b", "kind": "bids", "t_r": 2.0}
    rows = [{"scan_id": f"x_{i}", "participant_id": f"sub-{i}"} | same for i in range(3)]
    frame = pd.DataFrame(rows).reindex(columns=SCANS.names).astype(object)
    return frame.assign(pheno_dx=["a", "", "b"])


def _read_parquet(folder: Path, name: str) -> Any:
    table = "connectivity" if name == "c.parquet" else "scans"
    found = read_table(folder / name, table)
    if table == "scans":
        return found, read_unmatched(folder / name)
    fed = read_fc_table(folder / name, contract("abcd"), True)
    seen = {name: values.tolist() for name, values in fed.seen.items()}
    return found, (seen, [(r["scan_id"], r["status"]) for r in fed.rows])


def _same_table(a: Any, b: Any) -> bool:
    return a[0].equals(b[0]) and a[0].schema.metadata == b[0].schema.metadata and a[1] == b[1]


def _kept() -> list[Seed]:
    table = pa.table({"scan_id": ["a"], "v": [1.5]})
    entry = Entry("timeseries", "x", 0, "a", "ok", seconds=1.5, measured={"mean_fd": 0.2}).__dict__
    with TemporaryDirectory() as name:
        write_table(Path(name) / "a.parquet", table, "t")
        rows = (Path(name) / "a.parquet").read_bytes()
    record = sealed({"entry": entry, "rows": hashlib.sha256(rows).hexdigest()})
    files = {"a.json": json.dumps(record).encode(), "a.parquet": rows}
    return [Seed(files, tuple(files))]


def _journal() -> list[Seed]:
    with TemporaryDirectory() as name:
        one = Journal(Path(name) / "a.journal")
        for scan_id in ("a", "b"):
            entry = Entry("timeseries", "x", 0, scan_id, "ok", measured={"mean_fd": 0.2})
            one.append(entry, "f" * 16, to_bytes(pa.table({"scan_id": [scan_id], "v": [1.5]})))
        one.close()
        files = {"a.journal": (Path(name) / "a.journal").read_bytes()}
    return [Seed(files, tuple(files))]


def _read_journal(folder: Path, _: str) -> Any:
    one = Journal(folder / "a.journal")
    return {s: (r.entry, r.made_from, from_bytes(one.rows(s))) for s, r in one.records.items()}


def _same_scans(a: Any, b: Any) -> bool:
    """Whether scans are those that were written; the last ones may be missing, as after a kill."""
    return all(a[s] == b[s] for s in a.keys() & b.keys()) and (
        a.keys() <= b.keys() or b.keys() <= a.keys()
    )


def seal_json(name: str, **sums: str) -> Any:
    """Recompute the checksums in a JSON file: of files, by their keys, and of its own content."""

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
        "journal",
        _journal,
        _read_journal,
        (ChecksumError,),
        {".journal": []},
        same=_same_scans,
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
