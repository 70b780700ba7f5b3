"""Readers of tables: look-up tables, confounds, phenotypes."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import fuzz_plain as plain
import fuzz_text
import numpy as np
import pandas as pd
from fuzz_judge import Reader, Seed, alone

from brainmass_core.atlas import AtlasError, read_lut
from brainmass_core.config import parse_config
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.predict.compatibility import PredictError
from brainmass_core.predict.inputs import Found
from brainmass_core.predict.phenotype import add_phenotype
from brainmass_core.readers import FileError, read_delimited
from brainmass_core.readers.confounds import read_confounds_table
from brainmass_core.scans.phenotype import join, read_phenotype
from brainmass_core.scans.table import ScansError
from brainmass_core.timeseries.inputs import read_confounds
from brainmass_core.timeseries.motion_limits import displacement, n_non_steady

PEOPLE = """participant_id\tage\tsex\tsite\tdx\tmean_fd\tnote
sub-01\t21.5\tF\tNYU\tpatient\t0.12\tn/a
sub-02\t30\tM\tUSM\tcontrol\t0.20\tleft "handed"
sub-03\tn/a\tF\tNYU\tpatient\t0.08\t5,5
sub-04\t44\tM\tUSM\tcontrol\t0.31\tJosé
sub-05\t19\tF\tNYU\tcontrol\t1e-1\tx
"""
CSV = (
    PEOPLE.replace("5,5", '"5,5"').replace('left "handed"', '"left ""handed"""').replace("\t", ",")
)
CONFOUNDS = (
    "framewise_displacement\ttrans_x\ttrans_y\ttrans_z\trot_x\trot_y\trot_z\tcsf\tglobal_signal\t"
    "non_steady_state_outlier00\n"
)
OLD = "WhiteMatter\tGlobalSignal\tFramewiseDisplacement\tX\tY\tZ\tRotX\tRotY\tRotZ\taCompCor00\n"
LUT = "index\tname\tnetwork\tx\ty\tz\n" + "".join(
    f"{i}\t7Networks_LH_Vis_{i}\tVis\t{i}.5\t-{i}\t{3 * i}\n" for i in range(1, 6)
)
ORDER = "".join(f"{i}\t7Networks_RH_Default_{i}\t{i}\t20\t30\t0\n" for i in range(1, 6))
CPAC = (
    "# C-PAC 1.8\n# GlobalSignalMean0\tCerebrospinalFluidMean0\tRotY\tRotX\tRotZ\tY\tX\tZ\t"
    "aCompCorPC0\n"
)
FREESURFER = (
    "#No. Label Name: R G B A\n0  Unknown 0 0 0 0\n2  Left-WM 245 245 245 0\n"
    "3  Left-Cx 205 62 78 0\n"
)
CENTROIDS = (
    "ROI Label,ROI Name,R,A,S\n1,7Networks_LH_Vis_1,-30,-40,-20\n2,7Networks_LH_Vis_2,5,6,7\n"
)
TABLE = {"": [fuzz_text.table]}


def _rows(header: str, n: int = 8, seed: int = 0) -> str:
    values = np.abs(np.random.default_rng(seed).standard_normal((n, header.count("\t") + 1)))
    rows = ["\t".join(f"{v:.6f}" for v in row) for row in values]
    rows[0] = rows[0].replace(rows[0].split("\t")[0], "n/a", 1)
    return header + "\n".join(rows) + "\n"


def _tables() -> list[Seed]:
    return alone(
        ("participants.tsv", PEOPLE),
        ("people.csv", CSV),
        ("people.txt", PEOPLE.replace("5,5", "55").replace("\t", ";")),
        ("people.tsv.gz", gzip.compress(PEOPLE.encode(), mtime=0)),
        ("sixteen.tsv", PEOPLE.encode("utf-16")),
        ("counted.csv", "".join(f"{i or ''},{s}\n" for i, s in enumerate(CSV.splitlines()))),
    )


def _phenotypes() -> list[Seed]:
    return alone(("participants.tsv", PEOPLE), ("participants.csv", CSV))


def _phenotype(folder: Path, name: str) -> Any:
    columns = {
        "site_column": "site",
        "sex_column": "sex",
        "age_column": "age",
        "mean_fd_column": "mean_fd",
    }
    raw: dict[str, Any] = {"kind": "bids", "role": "internal", "path": str(folder)}
    raw["phenotype"] = columns | {"path": str(folder / name)}
    dataset = parse_config({"datasets": {"x": raw}}).datasets["x"]
    table = read_phenotype("x", dataset, ["dx"])
    ids = [f"sub-{i:02d}" for i in range(1, 6)]
    scans = pd.DataFrame({"participant_id": ids, "session": None, "excluded_reason": None})
    joined, _ = join(scans, table, dataset, ["dx"])
    added = Found([{"scan_id": f"x_{i}", "participant_id": i} | dict.fromkeys(NAMED) for i in ids])
    add_phenotype(added, folder / name)
    return joined, added


NAMED = ("site", "sex", "age", "mean_fd")


def _check_phenotype(folder: Path, name: str, value: Any) -> str | None:
    joined, added = value
    header, *body = plain.rows(folder / name)
    for (_, scan), new in zip(joined.iterrows(), added.rows, strict=True):
        mine = [
            r for r in body if _same_id(r[header.index("participant_id")], scan["participant_id"])
        ]
        if len(mine) > 1 and len({tuple(r) for r in mine}) > 1:
            return f"{scan['participant_id']} has several rows"
        for column in ("age", "mean_fd", "dx", "site"):
            if column not in header:  # of a task, which is reported
                continue
            cell = mine[0][header.index(column)] if mine else "n/a"
            found = scan["pheno_dx" if column == "dx" else column]
            if column in ("dx", "site"):
                right = pd.isna(found) if cell in plain.MISSING else found == cell
            else:
                right = plain.alike([np.nan if found is None else found], [plain.number(cell)])
                right &= new[column] is None or plain.alike([new[column]], [plain.number(cell)])
                right |= pd.isna(found) and column == "age" and not 0 <= plain.number(cell) <= 120
                right |= pd.isna(found) and column == "mean_fd" and plain.number(cell) < 0
            if not right:
                return f"{scan['participant_id']}: {column} is {found!r}, the file has {cell!r}"
    return None


def _same_id(a: str, b: str) -> bool:
    a, b = (re.sub("(?i)^sub-", "", t.strip()).removesuffix(".0") for t in (a, b))
    return a.lstrip("0") == b.lstrip("0") if a.isdecimal() and b.isdecimal() else a == b


def _confounds(folder: Path, name: str) -> Any:
    table = read_confounds_table(folder / name)
    try:
        read = read_confounds(folder / name, len(table))
        displacement(read), n_non_steady(read)
    except ScanFailed as error:
        raise FileError(f"{folder / name}: {error}") from None
    return table


def _cpac(folder: Path, name: str) -> Any:
    read = read_confounds(folder / name, 8)
    displacement(read), n_non_steady(read)
    return read


def _check_confounds(folder: Path, name: str, table: pd.DataFrame) -> str | None:
    _, *body = plain.rows(folder / name)
    if table.shape != (len(body), len(body[0])):
        return f"shape {table.shape}, expected {(len(body), len(body[0]))}"
    for i, column in enumerate(table.columns):
        cells = [row[i] for row in body]
        found = table.iloc[:, i]
        if found.dtype != object:
            if not plain.alike(found, [plain.number(c) for c in cells]):
                return f"column {column!r}: {found.tolist()[:8]}, the file has {cells[:8]}"
        elif [c for c in cells if c not in plain.MISSING] != found.dropna().tolist():
            return f"column {column!r}: {found.tolist()[:8]}, the file has {cells[:8]}"
    return None


def _luts() -> list[Seed]:
    return alone(
        ("lut.tsv", LUT),
        ("lut.csv", CENTROIDS),
        ("order.txt", ORDER),
        ("colours.txt", FREESURFER),
        ("bids.tsv", "index\tname\tabbreviation\n1\tA\ta\n2\tNA\tb\n10\tnull\tc\n"),
    )


def _check_lut(folder: Path, name: str, table: pd.DataFrame) -> str | None:
    written = [line.replace('"', "") for line in plain.lines(folder / name)]
    for index, label in zip(table["index"], table["name"], strict=True):
        lines = [line for line in written if str(index) in line]
        first = label.replace('"', "").split("\n")[0]
        if index < 1 or not any(first in line for line in lines):
            return f"{index} is called {label!r}, which no line says"
        words = [c for line in lines for c in re.split('[\\s,;"]+', line)]
        words += [c.replace(",", ".") for line in lines for c in re.split('[\\t;"]+', line)]
        cells = [plain.number(word) for word in words]  # the latter: decimal commas
        for axis in {"x", "y", "z"} & set(table):
            value = table[axis][table["index"] == index].iloc[0]
            if not np.isnan(value) and not any(plain.alike(value, cell) for cell in cells):
                return f"{axis} of {index} is {value!r}, which no line says"
    return None if table["index"].is_unique and table["name"].is_unique else "a row twice"


def _check_cpac(folder: Path, name: str, table: pd.DataFrame) -> str | None:
    names = (
        [s.lstrip() for s in plain.lines(folder / name) if s.lstrip().startswith("#")][-1]
        .lstrip("# ")
        .split("\t")
    )
    # a number larger than any float is infinite, and counts as missing
    rows = pd.DataFrame(plain.series(folder / name)).astype(float)
    rows = rows.replace([np.inf, -np.inf], np.nan)
    for old, new in {"GlobalSignalMean0": "global_signal", "X": "trans_x"}.items():
        if (old in names) != (new in table):
            return f"{old} is lost"
        if old in names and not plain.alike(table[new], rows[names.index(old)]):
            return f"other numbers of {old}"
    return None


READERS = (
    Reader(
        "table",
        _tables,
        lambda f, n: read_delimited(f / n),
        (FileError,),
        TABLE,
        lambda f, n, v: plain.difference(f / n, v),
    ),
    Reader(
        "phenotype", _phenotypes, _phenotype, (ScansError, PredictError), TABLE, _check_phenotype
    ),
    Reader(
        "confounds",
        lambda: alone(("c.tsv", _rows(CONFOUNDS)), ("old.tsv", _rows(OLD, seed=1))),
        _confounds,
        (FileError,),
        TABLE,
        _check_confounds,
    ),
    Reader(
        "cpac",
        lambda: alone(("sub-1_regressors.1D", _rows(CPAC).replace("n/a", "0.5", 1))),
        _cpac,
        (ScanFailed,),
        TABLE,
        _check_cpac,
    ),
    Reader("lut", _luts, lambda f, n: read_lut(f / n), (AtlasError,), TABLE, _check_lut),
)
