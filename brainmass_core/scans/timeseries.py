"""A folder of ready parcel series: one row per array.

A scan is called after its file, without suffix and without the ``_rois_<atlas>`` that the
Preprocessed Connectomes Project appends. Arrays of an ``.npz`` file are called after their keys;
a single array after its file, unless the phenotype table lists its key.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import bids2table
import pandas as pd

from brainmass_core.config import Dataset
from brainmass_core.readers import ReadError
from brainmass_core.scans.bids import Row
from brainmass_core.scans.image import LONGEST_T_R
from brainmass_core.scans.phenotype import numeric, phenotype_path
from brainmass_core.scans.rows import canonical
from brainmass_core.scans.series import (
    SUFFIXES,
    SeriesError,
    series_shapes,
    series_suffix,
)
from brainmass_core.scans.table import PHENO, ScansError

log = logging.getLogger(__name__)
PCP_NAME = re.compile(r"_rois_\w+$")


def list_timeseries(name: str, dataset: Dataset, table: pd.DataFrame | None) -> list[Row]:
    """Rows of a folder of series, before phenotypes and split; `label` is the scan's own name.

    Raises
    ------
    ScansError
        If no file of a known kind matches the pattern, or a scan's name cannot be a file name.
    """
    known = _known_names(dataset, table)
    rows = []
    for path in series_files(name, dataset):
        rows += _rows_of_file(name, dataset, path, known)
    bad = [r["label"] for r in rows if not re.fullmatch(r"[^/\\\x00-\x1f]{1,150}", r["label"])]
    if bad:
        raise ScansError(
            f"datasets.{name}: scans are called {bad[:5]}, which cannot be file names (no slash, "
            "at most 150 characters); rename them"
        )
    return rows


def series_files(name: str, dataset: Dataset) -> list[Path]:
    """Files that match the pattern and are series by their suffix, ordered by path.

    Raises
    ------
    ScansError
        If there is none.
    """
    found = [p for p in dataset.path.absolute().glob(dataset.pattern) if not p.is_dir()]
    files = matching_files(dataset, found)
    if not files:
        raise ScansError(
            f"datasets.{name}.pattern: {dataset.pattern!r} matches {len(found)} files in "
            f"{dataset.path}, none of them a series; expected {', '.join(SUFFIXES)}; correct "
            "path or pattern (`**/*.npy` looks into sub-folders)"
        )
    skipped = [p.name for p in found if not series_suffix(p)]
    if skipped:
        log.warning("%s: left out, no series: %s", name, ", ".join(sorted(skipped)[:20]))
    return files


def matching_files(dataset: Dataset, found: list[Path] | None = None) -> list[Path]:
    """Of the files that match the pattern those that are series by their suffix, by path."""
    if found is None:
        found = [p for p in dataset.path.absolute().glob(dataset.pattern) if not p.is_dir()]
    table = phenotype_path(dataset)
    others = {table.absolute()} if table else set()
    return sorted(p for p in found if series_suffix(p) and p not in others)


def named_in(path: Path) -> str:
    """What a file calls its scan."""
    return PCP_NAME.sub("", path.name.removesuffix(series_suffix(path) or ""))


def participant_of(label: str) -> str:
    """The participant of a scan without a phenotype table of scans, by the scan's own name."""
    entities = bids2table.parse_bids_entities(f"{label}_x") if label.startswith("sub-") else {}
    return f"sub-{entities['sub']}" if "sub" in entities else label


def _known_names(dataset: Dataset, table: pd.DataFrame | None) -> set[str]:
    if table is None:
        return set()
    column = dataset.phenotype.scan_column or dataset.phenotype.id_column
    return set(table[column].dropna().map(canonical))


def _rows_of_file(name: str, dataset: Dataset, path: Path, known: set[str]) -> list[Row]:
    stem = named_in(path)
    try:
        shapes = series_shapes(path, dataset.orientation)
    except SeriesError as error:
        shapes = {None: error}
    rows = []
    for key, shape in shapes.items():
        by_key = key is not None and (len(shapes) > 1 or canonical(key) in known)
        row = _row(name, path, str(key) if by_key else stem) | {"bold_key": key}
        if isinstance(shape, SeriesError):
            row["excluded_reason"] = str(shape)
        elif shape[0] < 2:
            row["excluded_reason"] = f"{path}: found {shape[0]} timepoint, expected a series"
        else:
            row["n_volumes"] = shape[0]
        rows.append(row)
    return rows


def _row(name: str, path: Path, label: str) -> Row:
    entities = bids2table.parse_bids_entities(f"{label}_x") if label.startswith("sub-") else {}
    return {
        "scan_id": f"{name}_{label}",
        "label": label,
        "participant_id": participant_of(label),
        "session": entities.get("ses"),
        "task": entities.get("task"),
        "run": entities.get("run"),
        "bold_path": str(path),
    }


def add_t_r(name: str, dataset: Dataset, scans: pd.DataFrame) -> pd.DataFrame:
    """Repetition time in s: the phenotype column, else the configured value.

    Parameters
    ----------
    scans : DataFrame
        Phenotypes joined. Scans without a plausible t_r are excluded.

    Raises
    ------
    ScansError
        If neither is configured.
    """
    column = dataset.phenotype.t_r_column
    if column is None and dataset.t_r is None:
        raise ScansError(
            f"datasets.{name}: ready series do not carry their t_r; set t_r (s), or "
            "phenotype.t_r_column if it differs between scans"
        )
    values = None
    if column is not None:
        try:
            values = numeric(scans, column, dataset, prefix=PHENO)
        except ReadError as error:
            raise ScansError(str(error)) from None
    t_r = pd.Series(dataset.t_r, index=scans.index, dtype="float64")
    if values is not None:
        t_r = values.fillna(t_r)
    wrong = ~((t_r > 0) & (t_r <= LONGEST_T_R)) & scans["excluded_reason"].isna()
    scans = scans.assign(t_r=t_r.where((t_r > 0) & (t_r <= LONGEST_T_R)))
    found = t_r[wrong].map(lambda v: "missing" if pd.isna(v) else f"{v:g} s")
    scans.loc[wrong, "excluded_reason"] = scans.loc[wrong, "bold_path"] + (
        ": t_r of "
        + scans.loc[wrong, "label"]
        + " is "
        + found
        + f" in column {column!r}, expected up to {LONGEST_T_R:g} s; correct it, or set "
        f"datasets.{name}.t_r for scans without one"
    )
    return scans
