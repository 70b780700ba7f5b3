"""Readers of series, FC matrices and sidecars."""

from __future__ import annotations

import gzip
import io
import json
import math
from pathlib import Path
from typing import Any

import fuzz_binary
import fuzz_plain as plain
import fuzz_text
import numpy as np
from fuzz_contract import contract
from fuzz_judge import Reader, Seed, alone

from brainmass_core.predict.compatibility import PredictError
from brainmass_core.predict.inputs import read_matrices
from brainmass_core.readers.files import FileError
from brainmass_core.readers.series import SeriesError, read_named_series, series_shapes
from brainmass_core.readers.sidecar import read_object

SIDECAR = {
    "RepetitionTime": 2.0,
    "SliceTiming": [0.0, 0.5, 1.0, 1.5],
    "EchoTime": 0.03,
    "PhaseEncodingDirection": "j-",
    "TotalReadoutTime": 0.05,
    "Manufacturer": "Siemens",
    "ImageType": ["ORIGINAL", "PRIMARY"],
    "Nested": {"a": {"b": [1, None, True]}},
}


def _check_object(folder: Path, name: str, value: Any) -> str | None:
    expected = plain.metadata(folder / name)
    return None if repr(value) == repr(expected) else f"{value!r}, expected {expected!r}"[:300]


def _series() -> list[Seed]:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((20, 4))
    lines = [[f"{v:.6f}" for v in row] for row in values]
    names = ["LH_Vis_1", "LH_Vis_2", "RH_Vis_1", "RH_Vis_2"]
    with_time = "\n".join(
        [f"t {' '.join(names)}", *(f"{2 * i} {' '.join(r)}" for i, r in enumerate(lines))]
    )
    return [
        *alone(
            ("s.npy", _npy(values)),
            ("f.npy", _npy(np.asfortranarray(values.astype("f4")))),
            ("s.npz", npz(sub=values)),
            ("s.tsv", "\n".join(map("\t".join, [names, *lines])) + "\n"),
            (
                "s.csv",
                "\n".join(
                    map(",".join, [["", *names], *([str(i), *r] for i, r in enumerate(lines))])
                ),
            ),
            ("s.1D", "# x\n#ROI1\t#ROI2\t#ROI3\t#ROI4\n" + "\n".join(map("\t".join, lines))),
            ("s.txt", with_time),
            ("s.csv.gz", gzip.compress("\n".join(map(",".join, lines)).encode(), mtime=0)),
        ),
    ]


def _npy(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def _read_series(folder: Path, name: str) -> Any:
    path = folder / name
    found = read_named_series(path)
    shapes = series_shapes(path)
    if isinstance(error := next(iter(shapes.values())), SeriesError):
        raise AssertionError(f"series_shapes refuses what is read: {error}")
    return found, list(shapes.values())


def _check_series(folder: Path, name: str, value: Any) -> str | None:
    found, shapes = value
    if shapes != [found.values.shape]:
        return f"series_shapes says {shapes}, read were {found.values.shape}"
    if name.endswith((".npy", ".npz")):
        expected: Any = plain.array(folder / name)
        same = np.array_equal(found.values, expected.astype(np.float64), equal_nan=True)
        return None if same else "other numbers"
    rows: Any = plain.series(folder / name)[-len(found.values) :]
    while (
        rows and len(rows[0]) > found.values.shape[1] and all(len(r) == len(rows[0]) for r in rows)
    ):
        # a delimiter at the end of each row, AFNI's columns, the number of the row
        last = all(r[-1] is None for r in rows)
        rows = [r[:-1] if last else r[1:] for r in rows]
    if any(None in row for row in rows) or {len(r) for r in rows} != {found.values.shape[1]}:
        return f"{found.values.shape}, but the file has {str(rows[:3])[:200]}"
    return None if plain.alike(found.values, rows) else "other numbers"


def _matrices() -> list[Seed]:
    matrix = np.atleast_2d(np.corrcoef(np.random.default_rng(0).standard_normal((4, 50))))
    rows = [["a", "b", "c", "d"], *([f"{v:.6f}" for v in row] for row in matrix)]
    about = SIDECAR | {
        "Estimator": "pearson",
        "Denoise": "36p",
        "FilterOrder": "joint",
        "Filter": "cosine",
    }
    name = "sub-01_atlas-rings_stat-pearsoncorrelation_relmat"
    files = {
        f"{name}.tsv": "\n".join(map("\t".join, rows)).encode(),
        f"{name}.json": json.dumps(about).encode(),
    }
    return [Seed(files, tuple(files))]


def _fc(folder: Path, _: str) -> Any:
    done = [{"denoise": "36p", "order": "joint", "filter": "cosine"}]
    found = read_matrices(folder, contract("abcd", done=done), False)
    (row,) = found.rows
    if row["status"] != "ok":
        raise PredictError(row["reason"])
    return found.seen[row["scan_id"]]


def _check_fc(folder: Path, _: str, value: np.ndarray) -> str | None:
    (path,) = folder.glob("*.tsv")
    header, *body = plain.rows(path)
    cells = {
        frozenset((header[i], header[j])): plain.number(body[i][j])
        for i in range(4)
        for j in range(i)
    }
    expected = [cells[frozenset(p)] for p in ("ab", "ac", "ad", "bc", "bd", "cd")]
    same = np.allclose(value, [0 if math.isnan(v) else v for v in expected], atol=1e-5)
    return None if same else f"{value}, expected {expected}"


READERS = (
    Reader(
        "sidecar",
        lambda: alone(
            ("bold.json", json.dumps(SIDECAR, indent=1)),
            ("mark.json", b"\xef\xbb\xbf" + json.dumps(SIDECAR).encode()),
        ),
        lambda f, n: read_object(f / n),
        (FileError,),
        {".json": [fuzz_text.json_value]},
        _check_object,
    ),
    Reader(
        "series",
        _series,
        _read_series,
        (SeriesError,),
        {
            ".npy": [fuzz_binary.npy],
            ".npz": [fuzz_binary.members(fuzz_binary.npy)],
            "": [fuzz_text.table],
        },
        _check_series,
    ),
    Reader(
        "fc_matrix",
        _matrices,
        _fc,
        (PredictError,),
        {".tsv": [fuzz_text.table], ".json": [fuzz_text.json_value]},
        _check_fc,
    ),
)
